// The trained model as one GGUF file that llama.cpp loads. Used by publish.cpp.
#pragma once

#include <filesystem>

#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/model/weights.h"

namespace slipway::train {

// Throws base::Error UNSUPPORTED when a model with this base cannot be written: before anything is trained.
void check_gguf_export(const std::filesystem::path& base_path, const model::Architecture& architecture);

// matrices: kBF16 or kF16; vectors are f32. `read` gives a decoder's tensors by name. A base that is GGUF itself gives
// its metadata as they are; of a Hugging Face folder they are made.
void write_gguf(const std::filesystem::path& path, const std::filesystem::path& base_path,
                const model::Architecture& architecture, const model::ReadTensor& read, model::DType matrices);

}  // namespace slipway::train
