#include "agents/engine/model/decoder_tensors.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "agents/engine/model/dequantize.h"
#include "agents/engine/model/family.h"
#include "agents/engine/model/shape_text.h"
#include "backend/base/error.h"

namespace slipway::model {
namespace {

// By Role.
constexpr std::array<std::string_view, kRoles> kNames = {
    "model.embed_tokens",
    "model.embed_positions",
    "model.norm",
    "lm_head",
    "model.layers.{}.input_layernorm",
    "model.layers.{}.self_attn.q_proj",
    "model.layers.{}.self_attn.k_proj",
    "model.layers.{}.self_attn.v_proj",
    "model.layers.{}.self_attn.q_norm",
    "model.layers.{}.self_attn.k_norm",
    "model.layers.{}.self_attn.o_proj",
    "model.layers.{}.attention_output_norm",
    "model.layers.{}.post_attention_layernorm",
    "model.layers.{}.mlp.gate_proj",
    "model.layers.{}.mlp.up_proj",
    "model.layers.{}.mlp.down_proj",
    "model.layers.{}.mlp_output_norm",
};

class Collector {
 public:
  explicit Collector(const Architecture& architecture) : architecture_(architecture) {}

  void matrix(Role role, int64_t rows, int64_t columns, bool bias) {
    out.push_back({role, layer, false, {rows, columns}});
    if (bias) out.push_back({role, layer, true, {rows}});
  }
  void norm(Role role) {
    out.push_back({role, layer, false, {architecture_.hidden_size}});
    if (architecture_.norm == NormKind::kLayer) out.push_back({role, layer, true, {architecture_.hidden_size}});
  }
  void head_norm(Role role) { out.push_back({role, layer, false, {architecture_.head_dim}}); }

  int64_t layer = 0;
  std::vector<DecoderTensor> out;

 private:
  const Architecture& architecture_;
};

// The shape of the file's tensor that holds `tensor` at `place`.
std::vector<int64_t> file_shape(const DecoderTensor& tensor, const TensorPlace& place) {
  std::vector<int64_t> shape = tensor.shape;
  if (place.file_rows > 0) shape[0] = place.file_rows;
  if (place.transposed) std::reverse(shape.begin(), shape.end());
  return shape;
}

// The row of the file's tensor where the decoder's row lies.
int64_t file_row(const TensorPlace& place, int64_t row) {
  return place.run == 0 ? place.first + row : place.first + row / place.run * place.stride + row % place.run;
}

// Where the family keeps its tensors.
auto places(const Architecture& architecture, FileLayout layout) {
  const Family* family = find_family(architecture.family);
  if (layout == FileLayout::kHuggingFace) return family->place;
  return family->gguf_place != nullptr ? family->gguf_place : &llama_place;
}

// Names that a base model without its head, or a model that also sees images, has for the same tensor.
std::vector<std::string> spellings(const std::string& name) {
  std::vector<std::string> out = {name};
  const size_t dot = name.find('.');
  if (dot != std::string::npos) out.push_back(name.substr(dot + 1));
  if (name.starts_with("model.")) {
    out.push_back("language_model." + name);
    out.push_back("model.language_model." + name.substr(6));
  } else if (name.starts_with("lm_head.")) {
    out.push_back("language_model." + name);
  }
  return out;
}

class DecoderWeights final : public Weights {
 public:
  DecoderWeights(const std::filesystem::path& path, const Architecture& architecture)
      : origin_(path.string()), files_(open_weights(path)) {
    const bool gguf = path.extension() == ".gguf" && !std::filesystem::is_directory(path);
    const auto place_of = places(architecture, gguf ? FileLayout::kGguf : FileLayout::kHuggingFace);
    for (DecoderTensor& tensor : decoder_tensors(architecture)) {
      std::string name = tensor.name();
      TensorPlace place = place_of(architecture, tensor);
      for (const std::string& spelling : spellings(place.name)) {
        if (!files_->contains(spelling)) continue;
        place.name = spelling;
        break;
      }
      names_.push_back(name);
      tensors_.emplace(std::move(name), Entry{std::move(tensor), std::move(place)});
    }
    std::sort(names_.begin(), names_.end());
  }

  const std::vector<std::string>& names() const override { return names_; }
  bool contains(const std::string& name) const override { return tensors_.count(name) != 0; }

  void leave_memory() const override { files_->leave_memory(); }

  TensorView get(const std::string& name) const override {
    const auto& [tensor, place] = require(name);
    TensorView view = stored(tensor, place);
    view.name = name;
    view.shape = tensor.shape;
    if (place.run != 0 || place.transposed || place.plus != 0) {
      view.data = {};
    } else if (place.file_rows > 0) {
      const size_t row_bytes = view.data.size() / static_cast<size_t>(place.file_rows);
      view.data = view.data.subspan(static_cast<size_t>(place.first) * row_bytes,
                                    static_cast<size_t>(tensor.shape[0]) * row_bytes);
    }
    return view;
  }

  void read_f32(const std::string& name, std::span<float> out) const override {
    const auto& [tensor, place] = require(name);
    const TensorView view = stored(tensor, place);
    if (tensor.shape.size() == 2) {
      read_rows(name, tensor, place, view, 0, out);
    } else if (place.file_rows == 0) {
      files_->read_f32(place.name, out);
    } else {
      std::vector<float> whole(static_cast<size_t>(view.elements()));
      files_->read_f32(place.name, whole);
      for (size_t row = 0; row < out.size(); ++row)
        out[row] = whole[static_cast<size_t>(file_row(place, static_cast<int64_t>(row)))];
    }
    add(place.plus, out);
  }

  void read_rows_f32(const std::string& name, int64_t first, std::span<float> out) const override {
    const auto& [tensor, place] = require(name);
    read_rows(name, tensor, place, stored(tensor, place), first, out);
    add(place.plus, out);
  }

 private:
  struct Entry {
    DecoderTensor tensor;
    TensorPlace place;
  };

  // Rows of a matrix, as many as `out` holds.
  void read_rows(const std::string& name, const DecoderTensor& tensor, const TensorPlace& place, const TensorView& view,
                 int64_t first, std::span<float> out) const {
    const auto columns = static_cast<size_t>(tensor.shape[1]);
    const auto rows = static_cast<int64_t>(out.size() / columns);
    if (first < 0 || out.size() % columns != 0 || rows > tensor.shape[0] - first) {
      throw base::Error(base::kInvalidModel,
                        origin_ + ": tensor " + name + " does not have the rows that were asked for",
                        "download or export the model again");
    }
    if (!place.transposed) {
      // Rows that lie together in the file at once.
      for (int64_t row = 0; row < rows;) {
        const int64_t left = place.run == 0 ? rows : place.run - (first + row) % place.run;
        const int64_t count = std::min(left, rows - row);
        files_->read_rows_f32(place.name, file_row(place, first + row),
                              out.subspan(static_cast<size_t>(row) * columns, static_cast<size_t>(count) * columns));
        row += count;
      }
      return;
    }
    // Each of the file's rows holds one element of every row here.
    const auto file_columns = static_cast<size_t>(view.shape[1]);
    const auto element = static_cast<size_t>(block_bytes(view.dtype));
    std::vector<float> part(static_cast<size_t>(rows));
    for (size_t column = 0; column < columns; ++column) {
      const size_t at = column * file_columns + static_cast<size_t>(file_row(place, first));
      dequantize(view.dtype, view.data.subspan(at * element, part.size() * element), part);
      for (size_t row = 0; row < part.size(); ++row) out[row * columns + column] = part[row];
    }
  }

  static void add(float number, std::span<float> values) {
    if (number == 0) return;
    for (float& value : values) value = number + value;
  }

  const Entry& require(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      throw base::Error(base::kInvalidModel, origin_ + ": tensor " + name + " is missing",
                        "the configuration describes a decoder without it");
    }
    return found->second;
  }

  TensorView stored(const DecoderTensor& tensor, const TensorPlace& place) const {
    TensorView view = files_->get(place.name);
    const auto expected = file_shape(tensor, place);
    if (view.shape != expected) {
      throw base::Error(
          base::kInvalidModel,
          origin_ + ": tensor " + place.name + " is " + shape_text(view.shape) + ", the configuration says " +
              shape_text(expected),
          "the weights and the configuration are of different models; download or export the model again");
    }
    return view;
  }

  std::string origin_;
  std::unique_ptr<const Weights> files_;
  std::vector<std::string> names_;
  std::map<std::string, Entry> tensors_;
};

}  // namespace

std::string DecoderTensor::name() const {
  std::string text(kNames[static_cast<size_t>(role)]);
  const size_t hole = text.find("{}");
  if (hole != std::string::npos) text.replace(hole, 2, std::to_string(layer));
  return text + (bias ? ".bias" : ".weight");
}

std::vector<DecoderTensor> decoder_tensors(const Architecture& a) {
  const int64_t hidden = a.hidden_size, inner = a.intermediate_size;
  const int64_t queries = a.num_attention_heads * a.head_dim, keys = a.num_key_value_heads * a.head_dim;
  Collector collector(a);
  collector.matrix(Role::kEmbeddings, a.vocab_size, hidden, false);
  if (a.positions == PositionKind::kLearned)
    collector.matrix(Role::kPositions, a.max_position_embeddings, hidden, false);
  for (collector.layer = 0; collector.layer < a.num_hidden_layers; ++collector.layer) {
    collector.norm(Role::kAttentionNorm);
    collector.matrix(Role::kQuery, queries, hidden, a.attention_bias);
    collector.matrix(Role::kKey, keys, hidden, a.attention_bias);
    collector.matrix(Role::kValue, keys, hidden, a.attention_bias);
    if (a.query_key_norm) {
      collector.head_norm(Role::kQueryNorm);
      collector.head_norm(Role::kKeyNorm);
    }
    collector.matrix(Role::kAttentionOutput, hidden, queries, a.attention_output_bias);
    if (a.output_norms) collector.norm(Role::kAttentionOutputNorm);
    collector.norm(Role::kMlpNorm);
    if (a.gated_mlp) collector.matrix(Role::kGate, inner, hidden, a.mlp_bias);
    collector.matrix(Role::kUp, inner, hidden, a.mlp_bias);
    collector.matrix(Role::kDown, hidden, inner, a.mlp_bias);
    if (a.output_norms) collector.norm(Role::kMlpOutputNorm);
  }
  collector.layer = 0;
  collector.norm(Role::kFinalNorm);
  if (!a.tie_word_embeddings) collector.matrix(Role::kOutput, a.vocab_size, hidden, false);
  return std::move(collector.out);
}

std::unique_ptr<const Weights> open_decoder_weights(const std::filesystem::path& path,
                                                    const Architecture& architecture) {
  return std::make_unique<DecoderWeights>(path, architecture);
}

std::vector<ModulePart> parts_of_module(const Architecture& architecture, const std::string& module) {
  const Family* family = find_family(architecture.family);
  std::vector<ModulePart> parts;
  for (DecoderTensor& tensor : decoder_tensors(architecture)) {
    if (tensor.bias || tensor.shape.size() != 2) continue;
    const TensorPlace place = family->place(architecture, tensor);
    if (place.name != module + ".weight") continue;
    ModulePart part{std::move(tensor), 0, {}};
    const int64_t rows = part.tensor.shape[0];
    part.file_rows = place.file_rows > 0 ? place.file_rows : rows;
    for (int64_t row = 0; row < rows; ++row) part.rows.push_back(file_row(place, row));
    parts.push_back(std::move(part));
  }
  return parts;
}

std::vector<FileTensor> file_tensors(const Architecture& architecture, FileLayout layout) {
  const auto place_of = places(architecture, layout);
  std::vector<FileTensor> files;
  std::map<std::string, size_t> index;
  for (DecoderTensor& tensor : decoder_tensors(architecture)) {
    TensorPlace place = place_of(architecture, tensor);
    const auto [entry, is_new] = index.emplace(place.name, files.size());
    if (is_new) files.push_back({place.name, file_shape(tensor, place), {}});
    files[entry->second].parts.push_back({std::move(tensor), std::move(place)});
  }
  return files;
}

std::vector<float> file_values(const FileTensor& file, const ReadTensor& read) {
  size_t elements = 1;
  for (const int64_t size : file.shape) elements *= static_cast<size_t>(size);
  std::vector<float> out(elements), values;
  for (const auto& [tensor, place] : file.parts) {
    const auto rows = static_cast<size_t>(tensor.shape[0]);
    const size_t columns = tensor.shape.size() == 1 ? 1 : static_cast<size_t>(tensor.shape[1]);
    values.resize(rows * columns);
    read(tensor.name(), values);
    const size_t file_rows = elements / std::max<size_t>(columns, 1);
    for (size_t row = 0; row < rows; ++row) {
      const auto to = static_cast<size_t>(file_row(place, static_cast<int64_t>(row)));
      for (size_t column = 0; column < columns; ++column) {
        out[place.transposed ? column * file_rows + to : to * columns + column] =
            values[row * columns + column] - place.plus;
      }
    }
  }
  return out;
}

}  // namespace slipway::model
