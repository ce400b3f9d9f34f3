#include "agents/engine/train/decoder/attention.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <utility>

#include "agents/engine/train/decoder/share_out.h"

namespace slipway::train {

namespace {

// Calls use(document, kv head) for all of them, on all threads.
template <typename Use>
void for_each_task(const std::vector<int64_t>& starts, int64_t kv_heads, Use use) {
  share_out((static_cast<int64_t>(starts.size()) - 1) * kv_heads, 1, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) use(task / kv_heads, task % kv_heads);
  });
}

// Pointers to the part of one document and one key head.
class Places {
 public:
  Places(const AttentionOptions& options, const std::vector<int64_t>& starts, int64_t element_size)
      : options_(options), starts_(starts), element_size_(element_size) {}

  AttentionShape shape(int64_t document) const {
    AttentionShape shape;
    shape.length = starts_[static_cast<size_t>(document) + 1] - starts_[static_cast<size_t>(document)];
    shape.heads_per_kv = options_.heads / options_.kv_heads;
    shape.head_dim = options_.head_dim;
    shape.row_stride = (options_.heads + 2 * options_.kv_heads) * options_.head_dim;
    shape.output_row_stride = options_.heads * options_.head_dim;
    shape.scale = static_cast<float>(options_.scale);
    shape.softcap = static_cast<float>(options_.softcap);
    shape.window = options_.window;
    return shape;
  }

  // The heads that begin with `head` of qkv, or of attended.
  std::byte* at(const at::Tensor& rows, int64_t document, int64_t head) const {
    return static_cast<std::byte*>(rows.data_ptr()) +
           (starts_[static_cast<size_t>(document)] * rows.size(1) + head * options_.head_dim) * element_size_;
  }
  float* log_sum_exp(const at::Tensor& tensor, int64_t document, int64_t kv) const {
    const int64_t start = starts_[static_cast<size_t>(document)], group = options_.heads / options_.kv_heads;
    return tensor.data_ptr<float>() + start * options_.heads + kv * group * shape(document).length;
  }

 private:
  const AttentionOptions& options_;
  const std::vector<int64_t>& starts_;
  int64_t element_size_;
};

AttentionHeads heads_of(const Places& places, const AttentionOptions& options, const at::Tensor& qkv,
                        const at::Tensor& attended, const at::Tensor& log_sum_exp, int64_t document, int64_t kv) {
  AttentionHeads heads;
  const int64_t group = options.heads / options.kv_heads;
  heads.query = places.at(qkv, document, kv * group);
  heads.key = places.at(qkv, document, options.heads + kv);
  heads.value = places.at(qkv, document, options.heads + options.kv_heads + kv);
  heads.output = places.at(attended, document, kv * group);
  heads.log_sum_exp = places.log_sum_exp(log_sum_exp, document, kv);
  return heads;
}

// Tokens [length, length] that may see each other, when there is a window that hides some.
at::Tensor window_mask(const AttentionOptions& options, int64_t length, at::Device device) {
  const at::Tensor all = at::ones({length, length}, at::TensorOptions().dtype(at::kBool).device(device));
  return options.window > 0 ? at::tril(all).logical_and_(at::triu(all, 1 - options.window)) : at::tril(all);
}

at::Tensor document_attention(const AttentionOptions& options, const DocumentAttention& part) {
  const int64_t length = part.query.size(2);
  const bool grouped = options.heads != options.kv_heads;
  const bool windowed = options.window > 0 && options.window < length;
  if (options.softcap <= 0) {
    return at::scaled_dot_product_attention(
        part.query, part.key, part.value,
        windowed ? std::optional(window_mask(options, length, part.query.device())) : std::nullopt, 0.0,
        length > 1 && !windowed, options.scale, grouped);
  }
  const int64_t group = options.heads / options.kv_heads;
  const at::Tensor key = grouped ? part.key.repeat_interleave(group, 1) : part.key;
  const at::Tensor value = grouped ? part.value.repeat_interleave(group, 1) : part.value;
  at::Tensor scores = at::matmul(part.query, key.transpose(2, 3)).to(at::kFloat) * options.scale;
  scores = at::tanh(scores / options.softcap) * options.softcap;
  scores = scores.masked_fill(window_mask(options, length, scores.device()).logical_not(), -INFINITY);
  return at::matmul(at::softmax(scores, -1).to(value.scalar_type()), value);
}

}  // namespace

at::Tensor attend(const Compute& compute, const AttentionOptions& options, const at::Tensor& qkv,
                  const std::vector<int64_t>& document_starts, AttentionMemory* memory, at::Tensor attended) {
  const int64_t heads = options.heads, kv_heads = options.kv_heads, n = qkv.size(0), d = options.head_dim;
  if (!attended.defined()) attended = at::empty({n, heads * d}, qkv.options());
  if (compute.kernels != nullptr) {
    const at::Tensor log_sum_exp = at::empty({n * heads}, qkv.options().dtype(at::kFloat));
    const Places places(options, document_starts, qkv.element_size());
    for_each_task(document_starts, kv_heads, [&](int64_t document, int64_t kv) {
      compute.kernels->attention_forward(places.shape(document),
                                         heads_of(places, options, qkv, attended, log_sum_exp, document, kv));
    });
    if (memory != nullptr) *memory = {qkv, attended, log_sum_exp, {}};
    return attended;
  }
  const at::Tensor split = qkv.view({n, heads + 2 * kv_heads, d});
  for (size_t i = 0; i + 1 < document_starts.size(); ++i) {
    const int64_t begin = document_starts[i], length = document_starts[i + 1] - begin;
    // [1, heads, length, d] views of the projection.
    const at::Tensor document = split.narrow(0, begin, length).transpose(0, 1).unsqueeze(0);
    DocumentAttention part{document.narrow(1, 0, heads).detach(),
                           document.narrow(1, heads, kv_heads).detach(),
                           document.narrow(1, heads + kv_heads, kv_heads).detach(),
                           {}};
    const bool keep = memory != nullptr;
    c10::AutoGradMode with_gradient(keep);
    if (keep) {
      part.query.requires_grad_();
      part.key.requires_grad_();
      part.value.requires_grad_();
    }
    part.output = document_attention(options, part);
    attended.narrow(0, begin, length).view({length, heads, d}).copy_(part.output.detach().squeeze(0).transpose(0, 1));
    if (keep) memory->documents.push_back(std::move(part));
  }
  return attended;
}

at::Tensor attend_backward(const Compute& compute, const AttentionOptions& options, const at::Tensor& dattended,
                           const std::vector<int64_t>& document_starts, AttentionMemory& memory) {
  const int64_t heads = options.heads, kv_heads = options.kv_heads, n = dattended.size(0), d = options.head_dim;
  at::Tensor dqkv = at::empty({n, (heads + 2 * kv_heads) * d}, dattended.options());
  if (compute.kernels != nullptr) {
    const Places places(options, document_starts, dqkv.element_size());
    for_each_task(document_starts, kv_heads, [&](int64_t document, int64_t kv) {
      AttentionHeads part = heads_of(places, options, memory.qkv, memory.attended, memory.log_sum_exp, document, kv);
      const int64_t group = heads / kv_heads;
      part.doutput = places.at(dattended, document, kv * group);
      part.dquery = places.at(dqkv, document, kv * group);
      part.dkey = places.at(dqkv, document, heads + kv);
      part.dvalue = places.at(dqkv, document, heads + kv_heads + kv);
      compute.kernels->attention_backward(places.shape(document), part);
    });
    memory = {};
    return dqkv;
  }
  const at::Tensor split = dqkv.view({n, heads + 2 * kv_heads, d});
  for (size_t i = 0; i + 1 < document_starts.size(); ++i) {
    const int64_t begin = document_starts[i], length = document_starts[i + 1] - begin;
    DocumentAttention& part = memory.documents[i];
    const at::Tensor doutput = dattended.narrow(0, begin, length).view({length, heads, d}).transpose(0, 1).unsqueeze(0);
    part.output.backward(doutput);
    const at::Tensor target = split.narrow(0, begin, length).transpose(0, 1).unsqueeze(0);
    target.narrow(1, 0, heads).copy_(part.query.grad());
    target.narrow(1, heads, kv_heads).copy_(part.key.grad());
    target.narrow(1, heads + kv_heads, kv_heads).copy_(part.value.grad());
    part = {};
  }
  memory = {};
  return dqkv;
}

}  // namespace slipway::train
