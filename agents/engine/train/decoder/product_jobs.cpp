#include "agents/engine/train/decoder/product_jobs.h"

#include <algorithm>
#include <cstddef>
#include <functional>

#include "agents/engine/train/decoder/product_weight.h"
#include "agents/engine/train/decoder/share_out.h"

namespace slipway::train {

namespace {

// Tiles of the upper half's rows that one thread takes at once.
constexpr int64_t kHalvedTilesAtOnce = 12;
// Blocks of panels that a thread is to have at least, and panels that it takes at once.
constexpr int64_t kBlocksPerThread = 16;
constexpr int64_t kPanelsAtOnce = 4;

// Rows, steps and columns from which on Strassen's algorithm is worth its sums.
constexpr int64_t kHalvedRowsLeast = 192;
constexpr int64_t kHalvedStepsLeast = 256;
constexpr int64_t kHalvedColumnsLeast = 128;

// The job's columns [begin, end); begin is a panel's first.
Job columns_of(const Compute& compute, Job job, int64_t begin, int64_t end) {
  const int64_t element = compute.type == at::kBFloat16 ? 2 : 4;
  for (Product& product : job.products) {
    const int64_t skipped =
        product.right_side == RightSide::kPanels ? begin / kPanelColumns * product.panel_stride : begin;
    if (product.right != nullptr) product.right = static_cast<const std::byte*>(product.right) + skipped * element;
  }
  job.output = columns_from(job.output, begin, element);
  job.columns = end - begin;
  return job;
}

}  // namespace

ProductOutput output_of(const at::Tensor& y, bool add) {
  ProductOutput output;
  output.data = y.data_ptr();
  output.stride = y.stride(0);
  output.is_f32 = y.scalar_type() == at::kFloat;
  output.add = add;
  return output;
}

Product by_panels(const Compute& compute, const at::Tensor& left, const at::Tensor& panels) {
  Product product;
  product.left = left.data_ptr();
  product.left_row_stride = left.stride(0);
  product.right = panels.data_ptr();
  product.k = left.size(1);
  product.panel_stride = padded(compute.type, product.k) * kPanelColumns;
  return product;
}

Product by_rows(const at::Tensor& left, const at::Tensor& right) {
  Product product;
  product.left = left.data_ptr();
  product.left_row_stride = left.stride(0);
  product.right = right.data_ptr();
  product.right_side = RightSide::kRows;
  product.right_stride = right.stride(0);
  product.k = left.size(1);
  return product;
}

ProductOutput columns_from(ProductOutput output, int64_t begin, int64_t element) {
  output.data = static_cast<std::byte*>(output.data) + begin * (output.is_f32 ? 4 : element);
  if (output.bias != nullptr) output.bias += begin;
  if (output.added != nullptr) output.added += begin;
  return output;
}

bool is_halved(const Compute& compute, const Job& job, int64_t rows) {
  const Product& product = job.products[0];
  return compute.kernels->multiply_halved != nullptr && rows >= kHalvedRowsLeast && product.k >= kHalvedStepsLeast &&
         product.k % 2 == 0 && product.left_tile_stride == 0 && job.columns >= kHalvedColumnsLeast &&
         job.columns % (2 * kPanelColumns) == 0;
}

namespace {

// By Strassen's algorithm; `rows` are the two halves'.
void run_halved(const Compute& compute, const std::vector<Job>& jobs, int64_t rows) {
  const int64_t tiles = tile_count((rows + 1) / 2);
  share_out(tiles, kHalvedTilesAtOnce, kTilesPerShare, [&](int64_t begin, int64_t end) {
    for (const Job& job : jobs) {
      compute.kernels->multiply_halved(job.products.data(), job.count, job.output,
                                       {begin * kTileRows, end * kTileRows, tiles * kTileRows, rows}, job.columns);
    }
  });
}

// Shared out are panels of blocks of rows, block after block, so that a thread has rows of its own, and one that is
// done takes over panels of another's. No job reads what another writes.
void run_blocks(const Compute& compute, const std::vector<Job>& jobs, int64_t rows, int64_t block_tiles) {
  const int64_t block = block_tiles * kTileRows, blocks = (rows + block - 1) / block;
  Ranges units;
  for (const Job& job : jobs) units.add(blocks * panel_count(job.columns));
  share_out(units.size_of_all(), kPanelsAtOnce, 1, [&](int64_t first, int64_t last) {
    units.for_each(first, last, [&](size_t number, int64_t begin, int64_t end) {
      const Job& job = jobs[number];
      const int64_t panels = panel_count(job.columns);
      while (begin < end) {
        const int64_t row = begin / panels * block, panel = begin % panels;
        const int64_t stop = std::min(panel + end - begin, panels);
        const Job part = columns_of(compute, job, panel * kPanelColumns, std::min(stop * kPanelColumns, job.columns));
        compute.kernels->multiply(part.products.data(), part.count, part.output, row, std::min(row + block, rows),
                                  part.columns);
        begin += stop - panel;
      }
    });
  });
}

// Whether a product of `job` reads what `earlier` writes.
bool reads(const Job& job, const Job& earlier) {
  const auto* const begin = static_cast<const std::byte*>(earlier.output.data);
  const auto* const end = begin + earlier.columns * (earlier.output.is_f32 ? 4 : 2);
  return std::any_of(job.products.begin(), job.products.begin() + job.count, [&](const Product& product) {
    const auto* const left = static_cast<const std::byte*>(product.left);
    return !std::less<>()(left, begin) && std::less<>()(left, end);
  });
}

// Few enough that the left side stays in a cache, and that every thread has some blocks of panels to give away.
int64_t tiles_of_block(const Compute& compute, const std::vector<Job>& jobs, int64_t rows) {
  const int64_t tiles = tile_count(rows);
  if (tiles < 2 * kTilesPerShare) return tiles;  // each panel is read once
  int64_t panels = 0, at_once = tiles;
  for (const Job& job : jobs) {
    panels += panel_count(job.columns);
    const int64_t steps = steps_at_once(job.products.data(), job.count, job.output);
    at_once = std::min(at_once, tiles_at_once(compute.type == at::kBFloat16 ? 2 : 4, steps));
  }
  const int64_t threads = at::get_num_threads();
  const int64_t wanted = std::clamp<int64_t>(tiles * panels / (kBlocksPerThread * threads), 1, at_once);
  const int64_t blocks = (tiles + wanted * threads - 1) / (wanted * threads) * threads;
  return (tiles + blocks - 1) / blocks;
}

}  // namespace

void run_columns(const Compute& compute, const Job& job, int64_t rows) {
  run_blocks(compute, {job}, rows, tile_count(rows));
}

void run(const Compute& compute, const std::vector<Job>& jobs, int64_t rows) {
  for (auto begin = jobs.begin(); begin != jobs.end();) {
    const bool halved = is_halved(compute, *begin, rows);
    const auto joins = [&](const Job& job, auto before) {
      if (is_halved(compute, job, rows) != halved) return false;
      // Strassen's are shared out by rows, of which one thread computes all jobs.
      return halved || std::none_of(begin, before, [&](const Job& earlier) { return reads(job, earlier); });
    };
    auto end = begin + 1;
    while (end != jobs.end() && joins(*end, end)) ++end;
    const std::vector<Job> together(begin, end);
    if (halved) {
      run_halved(compute, together, rows);
    } else {
      run_blocks(compute, together, rows, tiles_of_block(compute, together, rows));
    }
    begin = end;
  }
}

}  // namespace slipway::train
