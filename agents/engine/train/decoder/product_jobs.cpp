#include "agents/engine/train/decoder/product_jobs.h"

#include <algorithm>
#include <cstddef>

#include "agents/engine/train/decoder/product_weight.h"
#include "agents/engine/train/decoder/share_out.h"

namespace slipway::train {

namespace {

// Tiles of rows that one thread takes at once, and columns.
constexpr int64_t kTilesAtOnce = 24;
constexpr int64_t kColumnsPerShare = 2 * kPanelColumns;

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
  share_out(tiles, kTilesAtOnce / 2, kTilesPerShare, [&](int64_t begin, int64_t end) {
    for (const Job& job : jobs) {
      compute.kernels->multiply_halved(job.products.data(), job.count, job.output,
                                       {begin * kTileRows, end * kTileRows, tiles * kTileRows, rows}, job.columns);
    }
  });
}

void run_rows(const Compute& compute, const std::vector<Job>& jobs, int64_t rows) {
  share_out(tile_count(rows), kTilesAtOnce, kTilesPerShare, [&](int64_t begin, int64_t end) {
    for (const Job& job : jobs) {
      compute.kernels->multiply(job.products.data(), job.count, job.output, begin * kTileRows,
                                std::min(end * kTileRows, rows), job.columns);
    }
  });
}

}  // namespace

void run_columns(const Compute& compute, const Job& job, int64_t rows) {
  const int64_t shares = (job.columns + kColumnsPerShare - 1) / kColumnsPerShare;
  share_out(shares, 1, 1, [&](int64_t begin, int64_t end) {
    const Job part = columns_of(compute, job, begin * kColumnsPerShare, std::min(end * kColumnsPerShare, job.columns));
    compute.kernels->multiply(part.products.data(), part.count, part.output, 0, rows, part.columns);
  });
}

namespace {

// Jobs that are computed in the same way.
void run_alike(const Compute& compute, const std::vector<Job>& jobs, int64_t rows, bool halved) {
  if (halved) {
    run_halved(compute, jobs, rows);
  } else if (tile_count(rows) >= 2 * kTilesPerShare) {
    run_rows(compute, jobs, rows);
  } else {
    for (const Job& job : jobs) run_columns(compute, job, rows);
  }
}

}  // namespace

void run(const Compute& compute, const std::vector<Job>& jobs, int64_t rows) {
  for (size_t begin = 0; begin < jobs.size();) {
    const bool halved = is_halved(compute, jobs[begin], rows);
    size_t end = begin + 1;
    while (end < jobs.size() && is_halved(compute, jobs[end], rows) == halved) ++end;
    run_alike(compute,
              {jobs.begin() + static_cast<std::ptrdiff_t>(begin), jobs.begin() + static_cast<std::ptrdiff_t>(end)},
              rows, halved);
    begin = end;
  }
}

}  // namespace slipway::train
