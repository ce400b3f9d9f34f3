#include "agents/engine/model/gguf_export.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agents/engine/model/family.h"
#include "agents/engine/model/gguf_names.h"
#include "backend/base/error.h"

namespace slipway::model {
namespace {

// llama.cpp's numbers for general.file_type.
uint32_t file_type(DType dtype) { return dtype == DType::kF32 ? 0 : dtype == DType::kF16 ? 1 : 32; }

std::string_view gguf_architecture(const Architecture& architecture) {
  const auto& names = find_family(architecture.family)->gguf_architectures;
  return names.empty() ? "llama" : names[0];  // Mistral is a "llama"
}

bool has_window_key(std::string_view name) { return name == "gemma2" || name == "gemma3" || name == "phi3"; }

// Divisors of the plain frequencies, which is how GGUF has Llama 3's rule.
std::vector<float> llama3_divisors(const Architecture& architecture) {
  Rope plain = architecture.rope;
  plain.scaling = RopeScaling::kNone;
  std::vector<float> divisors = rope_inverse_frequencies(plain, architecture.rotary_dim);
  const std::vector<float> wanted = rope_inverse_frequencies(architecture);
  for (size_t i = 0; i < divisors.size(); ++i) divisors[i] /= wanted[i];
  return divisors;
}

// Rows in the order that Llama's converter gives those of queries and keys. A vector has rows of one element.
std::vector<float> with_permuted_rows(const std::vector<float>& values, int64_t rows, int64_t heads) {
  const size_t columns = values.size() / static_cast<size_t>(rows);
  std::vector<float> out(values.size());
  for (int64_t row = 0; row < rows; ++row) {
    const auto from = static_cast<size_t>(row) * columns,
               to = static_cast<size_t>(permuted_row(row, rows, heads)) * columns;
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(from), columns,
                out.begin() + static_cast<std::ptrdiff_t>(to));
  }
  return out;
}

// The queries (or the weight of their norm) times `factor`.
ReadTensor with_scaled_queries(const Architecture& architecture, double factor, ReadTensor read) {
  const char* const scaled = architecture.query_key_norm ? ".self_attn.q_norm." : ".self_attn.q_proj.";
  return [=, read = std::move(read)](const std::string& name, std::span<float> out) {
    read(name, out);
    if (name.find(scaled) == std::string::npos) return;
    for (float& value : out) value = static_cast<float>(value * factor);
  };
}

class Exporter {
 public:
  Exporter(GgufWriter& writer, const Architecture& architecture)
      : writer_(writer), architecture_(architecture), name_(gguf_architecture(architecture)) {}

  void sizes() {
    const Architecture& a = architecture_;
    writer_.text("general.architecture", name_);
    int64_t context = a.max_position_embeddings;
    if (a.sliding_window > 0 && !has_window_key(name_)) context = std::min(context, a.sliding_window);
    integer("context_length", context);
    integer("embedding_length", a.hidden_size);
    integer("block_count", a.num_hidden_layers);
    integer("feed_forward_length", a.intermediate_size);
    integer("vocab_size", a.vocab_size);
    integer("attention.head_count", a.num_attention_heads);
    integer("attention.head_count_kv", a.num_key_value_heads);
    integer("attention.key_length", a.head_dim);
    integer("attention.value_length", a.head_dim);
    number(a.norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
           a.rms_norm_eps);
    if (a.sliding_window > 0 && has_window_key(name_)) integer("attention.sliding_window", a.sliding_window);
    if (a.attention_softcap > 0) number("attn_logit_softcapping", a.attention_softcap);
    if (a.logit_softcap > 0) number("final_logit_softcapping", a.logit_softcap);
    if (name_ == "gptneox") writer_.boolean(key("use_parallel_residual"), a.parallel_residual);
  }

  void rope() {
    const Rope& rope = architecture_.rope;
    integer("rope.dimension_count", architecture_.rotary_dim);
    number("rope.freq_base", rope.theta);
    if (name_ == "gemma3") number("rope.freq_base_swa", architecture_.local_rope.theta);
    switch (rope.scaling) {
      case RopeScaling::kNone:
        break;
      case RopeScaling::kLinear:
        writer_.text(key("rope.scaling.type"), "linear");
        number("rope.scaling.factor", rope.factor);
        break;
      case RopeScaling::kYarn:
        writer_.text(key("rope.scaling.type"), "yarn");
        number("rope.scaling.factor", rope.factor);
        integer("rope.scaling.original_context_length", rope.original_max_position);
        number("rope.scaling.yarn_beta_fast", rope.beta_fast);
        number("rope.scaling.yarn_beta_slow", rope.beta_slow);
        break;
      case RopeScaling::kLlama3:
        vector("rope_freqs.weight", llama3_divisors(architecture_));
        break;
      case RopeScaling::kLongRope: {
        // The context ends where other factors would begin, so both sets are the ones that are served.
        const std::vector<float> factors(rope.short_factors.begin(), rope.short_factors.end());
        integer("rope.scaling.original_context_length", rope.original_max_position);
        number("rope.scaling.attn_factor", rope.attention_factor);
        vector("rope_factors_long.weight", factors);
        vector("rope_factors_short.weight", factors);
        break;
      }
    }
  }

  void tensors(DType dtype, const ReadTensor& read) {
    for (FileTensor& file : file_tensors(architecture_, FileLayout::kGguf)) {
      const std::string name = gguf_name(file.name);
      std::vector<int64_t> shape = file.shape;
      const bool permuted = name_ == "llama" && has_permuted_rows(file.name);
      const int64_t heads = file.name.find(".q_proj.") != std::string::npos ? architecture_.num_attention_heads
                                                                            : architecture_.num_key_value_heads;
      const DType type = shape.size() == 1 ? DType::kF32 : dtype;
      // std::function wants to be copied; the plan of the tensor is shared then.
      auto plan = std::make_shared<const FileTensor>(std::move(file));
      writer_.tensor(name, std::move(shape), type, [plan, read, permuted, heads] {
        std::vector<float> values = file_values(*plan, read);
        return permuted ? with_permuted_rows(values, plan->shape[0], heads) : values;
      });
    }
  }

 private:
  std::string key(std::string_view suffix) const { return std::string(name_) + "." + std::string(suffix); }
  void integer(std::string_view suffix, int64_t value) { writer_.integer(key(suffix), static_cast<uint32_t>(value)); }
  void number(std::string_view suffix, double value) { writer_.number(key(suffix), static_cast<float>(value)); }
  void vector(std::string name, std::vector<float> values) {
    const auto size = static_cast<int64_t>(values.size());
    writer_.tensor(std::move(name), {size}, DType::kF32, [values = std::move(values)] { return values; });
  }

  GgufWriter& writer_;
  const Architecture& architecture_;
  std::string_view name_;
};

}  // namespace

void put_model(GgufWriter& writer, const Architecture& architecture, DType dtype, const ReadTensor& read) {
  Exporter exporter(writer, architecture);
  exporter.sizes();
  if (architecture.positions == PositionKind::kRotary) exporter.rope();
  writer.integer("general.file_type", file_type(dtype));
  const double factor = architecture.attention_scale / gguf_attention_scale(architecture);
  const bool scales_alike = std::abs(factor - 1) < 1e-6;
  exporter.tensors(dtype, scales_alike ? read : with_scaled_queries(architecture, factor, read));
}

void require_same_decoder(const Architecture& wanted, const Architecture& written) {
  const auto refuse = [](const std::string& what) {
    throw base::Error(base::kUnsupported, "this model cannot be written as GGUF, which has no key for its " + what,
                      "leave out the GGUF output; the merged folder holds the same model");
  };
  if (wanted.activation != written.activation) refuse("activation function");
  if (wanted.embedding_scale != written.embedding_scale) refuse("scale of embeddings");
  if (has_window_key(gguf_architecture(wanted)) && wanted.windowed_layers != written.windowed_layers) {
    refuse("order of layers with and without a window");
  }
}

}  // namespace slipway::model
