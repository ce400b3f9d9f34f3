#include <cmath>

#include "tests/unit/kernels/levels.h"

namespace slipway::kernels {
namespace {

constexpr int64_t kPages = 40;
constexpr CacheFormat kFormats[] = {CacheFormat::kF32, CacheFormat::kBF16, CacheFormat::kInt8};

double tolerance_of(CacheFormat format) {
  switch (format) {
    case CacheFormat::kBF16:
      return 5e-2;
    case CacheFormat::kInt8:
      return 6e-2;
    case CacheFormat::kF32:
      break;
  }
  return 2e-5;
}

// A cache of one head and one sequence whose pages lie in a scattered order, and its queries.
class Cache {
 public:
  Cache(const Table& table, CacheFormat format, int64_t head_dim, int64_t length, int64_t heads)
      : table_(table),
        format_(format),
        head_dim_(head_dim),
        heads_(heads),
        page_bytes_(page_head_bytes(format, head_dim)),
        k_(random_values(static_cast<size_t>(length * head_dim), 1, 4)),
        v_(random_values(static_cast<size_t>(length * head_dim), 1, 5)),
        q_(random_values(static_cast<size_t>(length * heads * head_dim), 1, 6)),
        keys_(kPages * page_bytes_),
        values_(kPages * page_bytes_),
        scratch_(attention_scratch_bytes(head_dim)) {
    for (int32_t page = 0; page < kPages; ++page) order_.push_back((page * 17 + 5) % static_cast<int32_t>(kPages));
    // What a damaged request left in the pages must not come through.
    std::fill_n(keys_.data<uint32_t>(), kPages * page_bytes_ / 4, 0x7fc07fc0U);
    std::fill_n(values_.data<uint32_t>(), kPages * page_bytes_ / 4, 0x7fc07fc0U);
    for (int64_t t = 0; t < length;) {
      StoreCall call;
      call.slot = t % kPageTokens;
      call.count = std::min<int64_t>({kPageTokens - call.slot, length - t, 1 + t % 7});
      call.keys = k_.data() + t * head_dim;
      call.values = v_.data() + t * head_dim;
      call.stride = head_dim;
      call.head_dim = head_dim;
      call.format = format;
      const int64_t page = order_[static_cast<size_t>(t / kPageTokens)] * page_bytes_;
      call.key_page = keys_.data<std::byte>() + page;
      call.value_page = values_.data<std::byte>() + page;
      table.store_tokens(call);
      t += call.count;
    }
  }

  // Results of positions [first, first + rows), `block` positions a call.
  std::vector<float> run(int64_t first, int64_t rows, int64_t block) {
    const int64_t width = heads_ * head_dim_;
    std::vector<float> out(static_cast<size_t>(rows * width));
    for (int64_t row = 0; row < rows; row += block) {
      AttentionCall call;
      call.queries = q_.data() + (first + row) * width;
      call.query_stride = width;
      call.rows = std::min(block, rows - row);
      call.heads = heads_;
      call.head_dim = head_dim_;
      call.position = first + row;
      call.keys = keys_.data<void>();
      call.values = values_.data<void>();
      call.pages = order_.data();
      call.page_bytes = page_bytes_;
      call.format = format_;
      call.scale = 0.3F;
      call.window = window;
      call.softcap = static_cast<float>(softcap);
      call.scratch = scratch_.data<void>();
      call.out = out.data() + row * width;
      call.out_stride = width;
      table_.attention(call);
    }
    return out;
  }

  std::vector<double> expected(int64_t position, int64_t head) const {
    const float* q = q_.data() + (position * heads_ + head) * head_dim_;
    std::vector<double> sums(static_cast<size_t>(head_dim_));
    double total = 0;
    for (int64_t t = window > 0 ? std::max<int64_t>(0, position + 1 - window) : 0; t <= position; ++t) {
      double score = 0;
      for (int64_t d = 0; d < head_dim_; ++d) score += q[d] * k_[static_cast<size_t>(t * head_dim_ + d)];
      score *= 0.3;
      if (softcap > 0) score = softcap * std::tanh(score / softcap);
      const double weight = std::exp(score);
      total += weight;
      for (int64_t d = 0; d < head_dim_; ++d) {
        sums[static_cast<size_t>(d)] += weight * v_[static_cast<size_t>(t * head_dim_ + d)];
      }
    }
    for (double& sum : sums) sum /= total;
    return sums;
  }

  int64_t window = 0;  // of both
  double softcap = 0;

 private:
  const Table& table_;
  CacheFormat format_;
  int64_t head_dim_, heads_, page_bytes_;
  std::vector<float> k_, v_, q_;
  Aligned keys_, values_, scratch_;
  std::vector<int32_t> order_;
};

TEST_P(Kernels, AttentionIsTheSoftmaxWeightedSumOverThePages) {
  for (const auto format : kFormats) {
    const double tolerance = tolerance_of(format);
    for (const int64_t head_dim : {8, 34, 64, 80}) {
      for (const int64_t length : {1, 15, 16, 17, 50, 128, 129, 300}) {
        for (const int64_t heads : {1, 3, 30}) {
          Cache cache(*table_, format, head_dim, length, heads);
          const auto out = cache.run(length - 1, 1, 1);
          for (int64_t head = 0; head < heads; head += 7) {
            const auto wanted = cache.expected(length - 1, head);
            for (int64_t d = 0; d < head_dim; ++d) {
              ASSERT_NEAR(out[static_cast<size_t>(head * head_dim + d)], wanted[static_cast<size_t>(d)], tolerance)
                  << table_->name << " " << head_dim << " " << length;
            }
          }
        }
      }
    }
  }
}

TEST_P(Kernels, AttentionGivesTheSameBitsHoweverThePromptIsCut) {
  for (const auto format : kFormats) {
    Cache cache(*table_, format, 40, 300, 3);
    const auto whole = cache.run(0, 300, 300);
    for (const int64_t block : {1, 2, 7, 16, 64, 129}) ASSERT_EQ(cache.run(0, 300, block), whole) << table_->name;
    const auto wanted = cache.expected(200, 2);
    for (size_t d = 0; d < 40; ++d) {
      ASSERT_NEAR(whole[(200 * 3 + 2) * 40 + d], wanted[d], tolerance_of(format));
    }
  }
}

TEST_P(Kernels, AttentionSeesOnlyItsWindowAndCapsItsScores) {
  for (const auto format : kFormats) {
    for (const int64_t window : {0, 1, 5, 16, 100, 128, 130, 400}) {
      Cache cache(*table_, format, 24, 300, 2);
      cache.window = window;
      cache.softcap = window % 2 == 0 ? 1.5 : 0;
      const auto whole = cache.run(0, 300, 300);
      for (const int64_t block : {1, 7, 64}) ASSERT_EQ(cache.run(0, 300, block), whole) << table_->name;
      for (const int64_t position : {0, 4, 129, 299}) {
        const auto wanted = cache.expected(position, 1);
        for (size_t d = 0; d < 24; ++d) {
          ASSERT_NEAR(whole[(static_cast<size_t>(position) * 2 + 1) * 24 + d], wanted[d], tolerance_of(format))
              << table_->name << " " << window << " " << position;
        }
      }
    }
  }
}

}  // namespace
}  // namespace slipway::kernels
