#include "agents/engine/train/decoder/products.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <functional>

#include "agents/engine/train/decoder/product_jobs.h"
#include "agents/engine/train/decoder/share_out.h"

namespace slipway::train {

namespace {

// Tiles of rows that one thread takes at once of products whose left side is packed by the thread that takes it.
constexpr int64_t kOuterTilesAtOnce = 12;
// A vocabulary's master rows that are packed at once: so much of it stays in a cache.
constexpr int64_t kMasterRowsAtOnce = 4096;
// Panels of a master that one thread narrows, packs and multiplies at once: they stay in its own cache.
constexpr int64_t kPanelsAtOnce = 4;
// Tiles of rows from which on it pays to pack a weight for one product.
constexpr int64_t kTilesPerPacking = 8;

ProductOutput forward_output(const ForwardPart& part) {
  ProductOutput output = output_of(part.y, part.added.defined());
  if (part.added.defined()) output.added = part.added.data_ptr<float>();
  if (part.bias.defined()) output.bias = part.bias.data_ptr<float>();
  return output;
}

Job forward_job(const Compute& compute, const at::Tensor& x, const ForwardPart& part) {
  Job job;
  job.add(by_panels(compute, x, part.weight->panels(compute)));
  if (part.delta.left.defined()) job.add(by_panels(compute, part.delta.left, part.delta.right->panels(compute)));
  job.output = forward_output(part);
  job.columns = part.weight->rows().size(0);
  return job;
}

// Whether it is a master that is not of the products' type. It has no delta beside it.
bool is_wide(const Compute& compute, const ProductWeight& weight) {
  return weight.is_master() && weight.rows().scalar_type() != compute.type;
}

// Columns of x·Wᵀ whose weight is a wide master, from panel `begin` on, by one thread.
void multiply_wide(const Compute& compute, const at::Tensor& x, const ForwardPart& part, int64_t begin, int64_t count) {
  const at::Tensor& master = part.weight->rows();
  const int64_t k = master.size(1), first = begin * kPanelColumns;
  const int64_t columns = std::min(count * kPanelColumns, master.size(0) - first);
  const int64_t panel_elements = padded(compute.type, k) * kPanelColumns;
  const at::Tensor narrow = at::empty({kPanelColumns, k}, x.options());
  const at::Tensor panels = at::empty({count * panel_elements}, x.options());
  const auto element = static_cast<int64_t>(panels.element_size());
  for (int64_t panel = 0; panel < count; ++panel) {
    const int64_t column = panel * kPanelColumns, width = std::min(kPanelColumns, columns - column);
    compute.kernels->narrow(master.data_ptr<float>() + (first + column) * master.stride(0), narrow.data_ptr(),
                            width * k);
    compute.kernels->pack_transposed(narrow.data_ptr(), k, k, width,
                                     static_cast<std::byte*>(panels.data_ptr()) + panel * panel_elements * element, 0,
                                     1);
  }
  const Product product = by_panels(compute, x, panels);
  compute.kernels->multiply(&product, 1, columns_from(forward_output(part), first, element), 0, x.size(0), columns);
}

// Each thread narrows and packs what it multiplies, so that it is in its own cache.
void forward_by_wide(const Compute& compute, const at::Tensor& x, const std::vector<ForwardPart>& parts) {
  Ranges panels;
  for (const ForwardPart& part : parts) panels.add(panel_count(part.weight->rows().size(0)));
  share_out(panels.size_of_all(), kPanelsAtOnce, 1, [&](int64_t first, int64_t last) {
    panels.for_each(first, last, [&](size_t part, int64_t begin, int64_t end) {
      multiply_wide(compute, x, parts[part], begin, end - begin);
    });
  });
}

int64_t tile_elements(const Compute& compute, int64_t k) { return padded(compute.type, k) * kTileRows; }

// Tiles [begin, end) of leftᵀ, packed into `packed`, become the product's left side.
void take_tiles(const Compute& compute, const at::Tensor& left, int64_t begin, int64_t end, const at::Tensor& packed,
                Product& product) {
  const int64_t k = left.size(0), first = begin * kTileRows;
  compute.kernels->pack_left(static_cast<const std::byte*>(left.data_ptr()) + first * left.element_size(),
                             left.stride(0), k, left.size(1) - first, packed.data_ptr(), 0, end - begin);
  product.left = packed.data_ptr();
  product.left_row_stride = pair_of(compute.type);
  product.left_k_stride = kTileRows;
  product.left_tile_stride = tile_elements(compute, k);
  product.k = k;
}

void forward_by_libtorch(const at::Tensor& x, const ForwardPart& part) {
  at::Tensor y = part.y;
  if (part.added.defined() && x.scalar_type() != at::kFloat) {
    const at::Tensor result = at::empty(part.y.sizes(), x.options());
    forward_by_libtorch(x, {part.weight, result, part.bias, part.delta});
    at::add_out(y, part.added, result);
    return;
  }
  if (part.added.defined()) {
    at::addmm_out(y, part.added, x, part.weight->rows().t());
  } else {
    at::mm_out(y, x, part.weight->rows().t());
  }
  if (part.bias.defined()) y.add_(part.bias);
  if (part.delta.left.defined()) y.addmm_(part.delta.left, part.delta.right->rows().t());
}

}  // namespace

Compute make_compute(at::Device device, at::ScalarType type, bool portable) {
  Compute compute{device, type, nullptr, false};
  if (portable || !device.is_cpu()) return compute;
  if (type == at::kBFloat16) compute.kernels = cpu_kernels_bf16();
  if (type == at::kFloat) compute.kernels = cpu_kernels_f32();
  compute.own_products = compute.kernels != nullptr && own_products_are_faster();
  return compute;
}

void forward_products(const Compute& compute, const at::Tensor& x, const std::vector<ForwardPart>& parts) {
  if (!compute.own_products) {
    for (const ForwardPart& part : parts) forward_by_libtorch(x, part);
    return;
  }
  if (is_wide(compute, *parts.front().weight)) {
    forward_by_wide(compute, x, parts);
    return;
  }
  compute.workspace->begin();
  std::vector<Job> jobs;
  for (const ForwardPart& part : parts) jobs.push_back(forward_job(compute, x, part));
  run(compute, jobs, x.size(0));
}

namespace {

// Rows of a master that are narrowed and packed at once: they stay in a cache meanwhile.
constexpr int64_t kRowsPacked = 64;

// The right side of a product dy·W as panels for one call: many rows pass each of them, and a panel is read faster than
// 32 columns of a matrix, whose rows lie in as many pages.
struct PackedRight {
  PackedRight(const Compute& compute, const ProductWeight& weight)
      : source(weight.rows()),
        narrows(source.scalar_type() != compute.type),
        panels(compute.workspace->take(panel_count(source.size(1)) * panel_elements(compute), compute.type)),
        shares(narrows ? (source.size(0) + kRowsPacked - 1) / kRowsPacked : panel_count(source.size(1))) {}

  int64_t panel_elements(const Compute& compute) const { return padded(compute.type, source.size(0)) * kPanelColumns; }

  void pack(const Compute& compute, int64_t share) const {
    const int64_t k = source.size(0), columns = source.size(1), stride = source.stride(0);
    if (!narrows) {
      compute.kernels->pack_rows(source.data_ptr(), stride, k, columns, panels.data_ptr(), share, share + 1);
      return;
    }
    const int64_t begin = share * kRowsPacked, count = std::min(kRowsPacked, k - begin);
    const at::Tensor rows = at::empty({count, columns}, panels.options());
    compute.kernels->narrow(source.data_ptr<float>() + begin * stride, rows.data_ptr(), count * columns);
    const auto element = static_cast<int64_t>(rows.element_size());
    for (int64_t panel = 0; panel < panel_count(columns); ++panel) {
      const int64_t column = panel * kPanelColumns;
      compute.kernels->pack_rows(static_cast<const std::byte*>(rows.data_ptr()) + column * element, columns, count,
                                 columns - column,
                                 static_cast<std::byte*>(panels.data_ptr()) +
                                     (panel * panel_elements(compute) + begin * kPanelColumns) * element,
                                 0, 1);
    }
  }

  at::Tensor source;
  bool narrows;  // an f32 master, whose rows are contiguous
  at::Tensor panels;
  int64_t shares;  // that it is packed in
};

// Packs them all, on all threads.
std::vector<at::Tensor> packed(const Compute& compute, const std::vector<PackedRight>& rights) {
  Ranges shares;
  for (const PackedRight& right : rights) shares.add(right.shares);
  share_out(shares.size_of_all(), 1, 1, [&](int64_t first, int64_t last) {
    shares.for_each(first, last, [&](size_t right, int64_t begin, int64_t end) {
      for (int64_t share = begin; share < end; ++share) rights[right].pack(compute, share);
    });
  });
  std::vector<at::Tensor> panels;
  for (const PackedRight& right : rights) panels.push_back(right.panels);
  return panels;
}

// Those of all parts, each before its delta's.
std::vector<at::Tensor> packed_rights(const Compute& compute, const std::vector<GradientPart>& parts) {
  compute.workspace->begin();
  std::vector<PackedRight> rights;
  for (const GradientPart& part : parts) {
    rights.emplace_back(compute, *part.weight);
    if (part.delta.left.defined()) rights.emplace_back(compute, *part.delta.right);
  }
  return packed(compute, rights);
}

}  // namespace

void input_gradients(const Compute& compute, const std::vector<GradientPart>& parts) {
  if (!compute.own_products) {
    for (const GradientPart& part : parts) {
      at::Tensor dx = part.dx;
      at::mm_out(dx, part.dy, part.weight->rows());
      if (part.delta.left.defined()) dx.addmm_(part.delta.left, part.delta.right->rows());
    }
    return;
  }
  const int64_t rows = parts.front().dy.size(0);
  const bool packs = tile_count(rows) >= kTilesPerPacking ||
                     std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part.weight->is_master(); });
  std::vector<at::Tensor> panels;
  if (packs) panels = packed_rights(compute, parts);
  std::vector<Job> jobs;
  size_t next = 0;
  const auto product = [&](const at::Tensor& left, const ProductWeight& right) {
    return packs ? by_panels(compute, left, panels[next++]) : by_rows(left, right.rows());
  };
  for (const GradientPart& part : parts) {
    Job job;
    job.add(product(part.dy, *part.weight));
    if (part.delta.left.defined()) job.add(product(part.delta.left, *part.delta.right));
    job.output = output_of(part.dx, false);
    job.columns = part.dx.size(1);
    jobs.push_back(job);
  }
  run(compute, jobs, rows);
}

namespace {

// Calls with the first of some of a master's rows and their number, so few that they stay in a cache when they are
// packed.
void over_master_rows(const ProductWeight& weight, const std::function<void(int64_t, int64_t)>& use) {
  const int64_t vocabulary = weight.rows().size(0);
  for (int64_t begin = 0; begin < vocabulary; begin += kMasterRowsAtOnce) {
    use(begin, std::min(kMasterRowsAtOnce, vocabulary - begin));
  }
}

}  // namespace

void output_scores(const Compute& compute, const at::Tensor& x, const ProductWeight& weight, at::Tensor scores) {
  // libtorch has no product of bf16 whose sums stay f32.
  if (compute.own_products || (compute.kernels != nullptr && compute.type == at::kBFloat16)) {
    if (is_wide(compute, weight)) return forward_by_wide(compute, x, {{&weight, scores}});
    const auto multiply = [&](const ProductWeight& rows, const at::Tensor& y) {
      const Job job = forward_job(compute, x, {&rows, y});
      // Each thread its columns: a vocabulary's weight is read once.
      if (is_halved(compute, job, x.size(0))) {
        run(compute, {job}, x.size(0));
      } else {
        run_columns(compute, job, x.size(0));
      }
    };
    if (!weight.is_master()) return multiply(weight, scores);
    compute.workspace->begin();
    ProductWeight part = ProductWeight::of_master(compute, weight.rows());
    over_master_rows(weight, [&](int64_t begin, int64_t count) {
      part.assign(weight.rows().narrow(0, begin, count));
      multiply(part, scores.narrow(1, begin, count));
    });
  } else if (x.scalar_type() == at::kFloat) {
    at::mm_out(scores, x, weight.rows().t());
  } else {
    scores.copy_(at::linear(x, weight.rows()));
  }
}

void output_gradient(const Compute& compute, const at::Tensor& dscores, const ProductWeight& weight, at::Tensor dx) {
  if (!compute.own_products) {
    at::mm_out(dx, dscores, weight.rows());
    return;
  }
  // So long a sum is put aside now and then, in f32. By panels: so many rows of the weight lie in as many pages.
  const at::Tensor sums = at::empty(dx.sizes(), dx.options().dtype(at::kFloat));
  const auto multiply = [&](const at::Tensor& left, const at::Tensor& panels, bool add) {
    Job job;
    job.add(by_panels(compute, left, panels));
    job.output = output_of(sums, add);
    job.columns = dx.size(1);
    run(compute, {job}, dx.size(0));
  };
  if (weight.is_master()) {
    over_master_rows(weight, [&](int64_t begin, int64_t count) {
      compute.workspace->begin();
      const ProductWeight rows = ProductWeight::of_master(compute, weight.rows().narrow(0, begin, count));
      const std::vector<at::Tensor> panels = packed(compute, {PackedRight(compute, rows)});
      multiply(dscores.narrow(1, begin, count), panels.front(), begin > 0);
    });
  } else {
    multiply(dscores, weight.row_panels(compute), false);
  }
  dx.copy_(sums);
}

void add_outer(const Compute& compute, at::Tensor target, const at::Tensor& left, const at::Tensor& right,
               double scale) {
  if (compute.kernels == nullptr || (compute.type == at::kFloat && !compute.own_products)) {
    if (compute.type == at::kFloat) {
      target.addmm_(left.t(), right, 1.0, scale);
    } else {
      target.add_(left.t().mm(right), scale);
    }
    return;
  }
  const int64_t m = left.size(1), k = left.size(0), tiles = tile_count(m), columns = right.size(1);
  ProductOutput output = output_of(target, true);
  output.scale = static_cast<float>(scale);
  if (tiles < 2 * kTilesPerShare) {
    const at::Tensor packed = at::empty({tiles * tile_elements(compute, k)}, left.options());
    Job job;
    job.add(by_rows(left, right));
    take_tiles(compute, left, 0, tiles, packed, job.products[0]);
    job.output = output;
    job.columns = columns;
    run(compute, {job}, m);
    return;
  }
  const int64_t panels = panel_count(columns), panel_elements = padded(compute.type, k) * kPanelColumns;
  compute.workspace->begin();
  const at::Tensor packed_right = compute.workspace->take(panels * panel_elements, compute.type);
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    compute.kernels->pack_rows(right.data_ptr(), right.stride(0), k, columns, packed_right.data_ptr(), begin, end);
  });
  // Each thread packs the tiles that it takes, so that they are in its cache when they are used.
  share_out(tiles, kOuterTilesAtOnce, kTilesPerShare, [&](int64_t begin, int64_t end) {
    const at::Tensor packed = at::empty({(end - begin) * tile_elements(compute, k)}, left.options());
    Product product;
    product.right = packed_right.data_ptr();
    product.panel_stride = panel_elements;
    take_tiles(compute, left, begin, end, packed, product);
    ProductOutput part = output;
    part.data = static_cast<float*>(output.data) + begin * kTileRows * output.stride;
    // Row after row: all of a tile's targets on their way through main memory one after the other.
    const int64_t rows = std::min(end * kTileRows, m) - begin * kTileRows;
    for (int64_t row = 0; row < rows; row += kTileRows) {
      compute.kernels->multiply(&product, 1, part, row, std::min(row + kTileRows, rows), columns);
    }
  });
}

}  // namespace slipway::train
