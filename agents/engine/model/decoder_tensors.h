// The tensors that a decoder of some architecture has, under the names that runtime/ and train/ know them by (Llama's,
// and a few more), whatever its family calls them on disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/model/architecture.h"
#include "agents/engine/model/weights.h"

namespace slipway::model {

enum class Role {
  kEmbeddings,           // model.embed_tokens
  kPositions,            // model.embed_positions
  kFinalNorm,            // model.norm
  kOutput,               // lm_head
  kAttentionNorm,        // model.layers.N.input_layernorm
  kQuery,                // model.layers.N.self_attn.q_proj
  kKey,                  // …k_proj
  kValue,                // …v_proj
  kQueryNorm,            // …q_norm
  kKeyNorm,              // …k_norm
  kAttentionOutput,      // …o_proj
  kAttentionOutputNorm,  // model.layers.N.attention_output_norm: before attention's result is added
  kMlpNorm,              // model.layers.N.post_attention_layernorm: what the MLP reads
  kGate,                 // model.layers.N.mlp.gate_proj
  kUp,                   // …up_proj
  kDown,                 // …down_proj
  kMlpOutputNorm,        // model.layers.N.mlp_output_norm
};
inline constexpr size_t kRoles = static_cast<size_t>(Role::kMlpOutputNorm) + 1;

struct DecoderTensor {
  Role role = Role::kEmbeddings;
  int64_t layer = 0;  // of roles within layers
  bool bias = false;
  std::vector<int64_t> shape;  // [out, in], [rows, hidden] of embeddings, [size] of norms and biases
  std::string name() const;
};

// Every tensor that the architecture has.
std::vector<DecoderTensor> decoder_tensors(const Architecture& architecture);

// Where one of them lies in a model's file: a run of rows, or several, of one of the file's tensors.
struct TensorPlace {
  std::string name;         // in the file
  int64_t file_rows = 0;    // rows of the file's tensor; 0: as many as the decoder's
  int64_t first = 0;        // the first row
  int64_t run = 0;          // rows that lie together; 0: all
  int64_t stride = 0;       // from one run to the next
  bool transposed = false;  // stored as [in, out]; rows above are then columns
  float plus = 0;           // added to every element
};

// The weights under the decoder's names: what open_weights() gives, put in order by the family of `architecture`. Its
// names() are exactly those of decoder_tensors(). get() and read_f32() throw base::Error INVALID_MODEL that names file,
// tensor and the shape that the configuration asks for. get().data is empty where elements must be moved or changed:
// read_f32() does that.
std::unique_ptr<const Weights> open_decoder_weights(const std::filesystem::path& path,
                                                    const Architecture& architecture);

// One of the decoder's weights within a linear layer of the family's files, and which of the layer's outputs it has:
// adapters name their layers as the files do.
struct ModulePart {
  DecoderTensor tensor;
  int64_t file_rows = 0;      // outputs of the whole layer
  std::vector<int64_t> rows;  // of them, those of `tensor`, in its order
};
// The parts of a layer like model.layers.0.self_attn.qkv_proj; empty when the architecture has none of this name.
std::vector<ModulePart> parts_of_module(const Architecture& architecture, const std::string& module);

// One tensor of a model's files, and the decoder's tensors that it holds, for exports.
struct FilePart {
  DecoderTensor tensor;
  TensorPlace place;
};
struct FileTensor {
  std::string name;            // in GGUF: what open_weights() calls it
  std::vector<int64_t> shape;  // as in Hugging Face
  std::vector<FilePart> parts;
};
enum class FileLayout { kHuggingFace, kGguf };

// All tensors of the family's files.
std::vector<FileTensor> file_tensors(const Architecture& architecture, FileLayout layout);

// The f32 elements of one of them. `read` gives those of a decoder's tensor by its name.
using ReadTensor = std::function<void(const std::string& name, std::span<float> out)>;
std::vector<float> file_values(const FileTensor& file, const ReadTensor& read);

}  // namespace slipway::model
