// Products and who computes them: sums of one or two products into one output, shared out among the threads. Used by
// products.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

#include "agents/engine/train/cpu/cpu_kernels.h"
#include "agents/engine/train/decoder/compute.h"

namespace slipway::train {

constexpr int64_t kTilesPerShare = 4;  // that change hands, at least

inline int64_t tile_count(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }

// The sum of one or two products into one output.
struct Job {
  std::array<Product, 2> products;
  int count = 0;
  ProductOutput output;
  int64_t columns = 0;

  void add(const Product& product) { products[static_cast<size_t>(count++)] = product; }
};

// y [n, out], to which sums are added, or not.
ProductOutput output_of(const at::Tensor& y, bool add);
// That of the columns from `begin` on; bytes of an element of the products' type.
ProductOutput columns_from(ProductOutput output, int64_t begin, int64_t element);

// left [n, k] times a right side packed as panels, or as it lies [k, out].
Product by_panels(const Compute& compute, const at::Tensor& left, const at::Tensor& panels);
Product by_rows(const at::Tensor& left, const at::Tensor& right);

// Whether so many rows are computed by Strassen's algorithm.
bool is_halved(const Compute& compute, const Job& job, int64_t rows);
// All jobs, which have the same rows, on all threads. A job may read the rows that earlier ones write. Sums do not
// depend on who computes them.
void run(const Compute& compute, const std::vector<Job>& jobs, int64_t rows);
// Each thread its columns: the right side is read once.
void run_columns(const Compute& compute, const Job& job, int64_t rows);

}  // namespace slipway::train
