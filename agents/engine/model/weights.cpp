#include "agents/engine/model/weights.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>

#include "agents/engine/model/container.h"
#include "agents/engine/model/dequantize.h"
#include "agents/engine/model/family.h"
#include "agents/engine/model/gguf.h"
#include "agents/engine/model/gguf_names.h"
#include "agents/engine/model/mapped_file.h"
#include "agents/engine/model/safetensors.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {
namespace {

// A set of tensors by name; what the two formats share.
class NamedTensors : public Weights {
 public:
  const std::vector<std::string>& names() const override { return names_; }
  bool contains(const std::string& name) const override { return tensors_.count(name) != 0; }

  TensorView get(const std::string& name) const override { return require(name); }

  void read_f32(const std::string& name, std::span<float> out) const override {
    const TensorView& tensor = require(name);
    check(tensor, out);
    dequantize(tensor.dtype, tensor.data, out);
  }

  void read_rows_f32(const std::string& name, int64_t first, std::span<float> out) const override {
    const TensorView& tensor = require(name);
    check_type(tensor);
    const int64_t rows = tensor.shape.empty() ? 0 : tensor.shape[0];
    const auto columns = rows == 0 ? size_t{0} : static_cast<size_t>(tensor.elements() / rows);
    if (tensor.shape.size() > 2 || columns == 0 || first < 0 || out.size() % columns != 0 ||
        static_cast<int64_t>(out.size() / columns) > rows - first) {
      throw base::Error(base::kInvalidModel,
                        origin_ + ": tensor " + name + " does not have the rows that were asked for",
                        "download or export the model again");
    }
    const size_t row_bytes = tensor.data.size() / static_cast<size_t>(rows);
    for (size_t i = 0; i * columns < out.size(); ++i) {
      const int64_t stored = stored_row(tensor, first + static_cast<int64_t>(i));
      dequantize(tensor.dtype, tensor.data.subspan(static_cast<size_t>(stored) * row_bytes, row_bytes),
                 out.subspan(i * columns, columns));
    }
  }

 protected:
  explicit NamedTensors(std::string origin) : origin_(std::move(origin)) {}

  void add(TensorView tensor) {
    const std::string name = tensor.name;
    if (!tensors_.emplace(name, std::move(tensor)).second) {
      throw base::Error(base::kInvalidModel, origin_ + ": tensor " + name + " is there twice",
                        "export the model again");
    }
    names_.push_back(name);
  }

  void sort_names() { std::sort(names_.begin(), names_.end()); }

  const TensorView& require(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      throw base::Error(base::kInvalidModel, origin_ + ": tensor " + name + " is missing",
                        "the files are incomplete or of another architecture; download or export the model again");
    }
    return found->second;
  }

  // Where a row of a matrix lies in the file.
  virtual int64_t stored_row(const TensorView& /*tensor*/, int64_t row) const { return row; }

  // That the tensor can be a weight.
  void check_type(const TensorView& tensor) const {
    if (tensor.dtype == DType::kI64 || tensor.dtype == DType::kI32 || tensor.dtype == DType::kU8) {
      throw base::Error(base::kInvalidModel,
                        origin_ + ": tensor " + tensor.name + " is of type " + dtype_name(tensor.dtype) +
                            ", a floating or quantised type expected",
                        "download or export the model again");
    }
  }

  // That the tensor holds out.size() numbers that can be a weight.
  void check(const TensorView& tensor, std::span<float> out) const {
    check_type(tensor);
    if (tensor.elements() != static_cast<int64_t>(out.size())) {
      throw base::Error(base::kInvalidModel, origin_ + ": tensor " + tensor.name + " has " +
                                                 std::to_string(tensor.elements()) + " elements, " +
                                                 std::to_string(out.size()) + " expected");
    }
  }

  std::string origin_;

 private:
  std::vector<std::string> names_;
  std::unordered_map<std::string, TensorView> tensors_;
};

class SafetensorsWeights : public NamedTensors {
 public:
  SafetensorsWeights(std::string origin, const std::vector<std::filesystem::path>& files)
      : NamedTensors(std::move(origin)) {
    for (const auto& path : files) {
      files_.push_back(std::make_unique<MappedFile>(path));
      for (TensorView& tensor : parse_safetensors(files_.back()->bytes(), path.string())) add(std::move(tensor));
    }
    sort_names();
  }

  void leave_memory() const override {
    for (const auto& file : files_) file->leave_memory();
  }

 private:
  std::vector<std::unique_ptr<const MappedFile>> files_;
};

class GgufWeights : public NamedTensors {
 public:
  explicit GgufWeights(const std::filesystem::path& path) : NamedTensors(path.string()), file_(path) {
    const std::string_view architecture = file_.get_string("general.architecture");
    if (find_gguf_family(architecture) == nullptr) {
      throw base::Error(base::kUnsupported, origin_ + " holds the architecture '" + std::string(architecture) + "'",
                        "known GGUF architectures: " + known_gguf_architectures());
    }
    permuted_ = architecture == "llama";
    if (permuted_) {
      heads_ = file_.get_int("llama.attention.head_count");
      key_value_heads_ = file_.find_int("llama.attention.head_count_kv").value_or(heads_);
    }
    for (const GgufTensor& tensor : file_.tensors()) {
      auto name = decoder_name(tensor.name);
      if (!name) continue;
      add({*name, tensor.dtype, {tensor.dimensions.rbegin(), tensor.dimensions.rend()}, tensor.data});
    }
    sort_names();
  }

  void leave_memory() const override { file_.leave_memory(); }

  void read_f32(const std::string& name, std::span<float> out) const override {
    if (!permuted_ || !has_permuted_rows(name)) {
      NamedTensors::read_f32(name, out);
      return;
    }
    const TensorView& tensor = require(name);
    check(tensor, out);
    if (!tensor.shape.empty() && tensor.shape[0] > 0) read_rows_f32(name, 0, out);
  }

 protected:
  int64_t stored_row(const TensorView& tensor, int64_t row) const override {
    if (!permuted_ || !has_permuted_rows(tensor.name)) return row;
    const int64_t heads = tensor.name.find(".q_proj.") != std::string::npos ? heads_ : key_value_heads_;
    const int64_t rows = tensor.shape[0];
    if (heads < 1 || rows % (2 * heads) != 0) {
      throw base::Error(base::kInvalidModel, origin_ + ": tensor " + tensor.name + " has " + std::to_string(rows) +
                                                 " rows, which are not " + std::to_string(heads) + " even heads");
    }
    return permuted_row(row, rows, heads);
  }

 private:
  GgufFile file_;
  bool permuted_ = false;
  int64_t heads_ = 0, key_value_heads_ = 0;
};

// The files of a sharded model, from model.safetensors.index.json. Names in it must stay inside the folder.
std::vector<std::filesystem::path> shards_of(const std::filesystem::path& folder, const std::filesystem::path& index) {
  const std::string text = base::read_file(index, 100'000'000);
  const auto parsed = nlohmann::json::parse(text, nullptr, false);
  if (!parsed.is_object() || !parsed.contains("weight_map") || !parsed["weight_map"].is_object()) {
    throw base::Error(base::kInvalidModel, index.string() + ": the key weight_map is missing or no object",
                      "download the model again");
  }
  std::set<std::string> files;
  for (const auto& [tensor, file] : parsed["weight_map"].items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (!name.ends_with(".safetensors") || name.find('/') != std::string::npos) {
      throw base::Error(base::kInvalidModel,
                        index.string() + ": weight_map." + tensor + " is not the name of a .safetensors file",
                        "download the model again");
    }
    files.insert(name);
  }
  std::vector<std::filesystem::path> paths;
  for (const std::string& file : files) paths.push_back(folder / file);
  return paths;
}

}  // namespace

int64_t TensorView::elements() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

std::unique_ptr<const Weights> open_weights(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    throw base::Error(base::kNotFound, "there is no model at " + path.string(), "check the path");
  }
  if (std::filesystem::is_directory(path)) {
    const auto single = path / "model.safetensors";
    if (std::filesystem::exists(single)) {
      return std::make_unique<SafetensorsWeights>(path.string(), std::vector{single});
    }
    const auto index = path / "model.safetensors.index.json";
    if (std::filesystem::exists(index)) {
      return std::make_unique<SafetensorsWeights>(path.string(), shards_of(path, index));
    }
    throw base::Error(base::kInvalidModel,
                      path.string() + " has neither model.safetensors nor model.safetensors.index.json",
                      "give a Hugging Face folder with safetensors weights, or a .gguf file");
  }
  if (path.extension() == ".gguf") return std::make_unique<GgufWeights>(path);
  if (path.extension() == ".safetensors") {
    return std::make_unique<SafetensorsWeights>(path.string(), std::vector{path});
  }
  if (is_container(path)) {
    throw base::Error(base::kUnsupported, path.string() + " is quantised and packed for serving and evaluation",
                      "give the model that it was made from");
  }
  throw base::Error(base::kUnsupported, path.string() + " is no model file that is known here",
                    "known are Hugging Face folders, .safetensors and .gguf files");
}

}  // namespace slipway::model
