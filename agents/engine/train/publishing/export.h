// What a finished run publishes: a PEFT adapter and a merged Hugging Face folder. Used by trainer.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "agents/engine/model/adapter.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/model/prompt_adapter.h"
#include "agents/engine/model/weights.h"
#include "agents/engine/train/decoder/decoder.h"
#include "agents/engine/train/settings.h"

namespace slipway::text {
class Tokenizer;
}

namespace slipway::train {

// The decoder's LoRA parameters as PEFT knows them.
model::Adapter adapter_of(const Decoder& decoder, const MethodSettings& method, const std::string& base_model);

// The decoder's virtual tokens as PEFT knows them, and the other way.
model::PromptAdapter prompt_adapter_of(const Decoder& decoder, const PromptSettings& prompt,
                                       const std::string& base_model);
void load_prompt_into(Decoder& decoder, const model::PromptAdapter& adapter);

// Fills the decoder's LoRA parameters. Throws base::Error INVALID_MODEL when modules or shapes differ.
void load_adapter_into(Decoder& decoder, const model::Adapter& adapter, const std::string& origin);

// Reads the trained model's tensors by their decoder's names: the base's with the deltas added, or the trained ones.
// The arguments must outlive it.
model::ReadTensor trained_tensors(const Decoder& decoder, const MethodSettings& method, const model::Weights& base);

// The precision in which the base's float tensors are, or f32 for quantised files.
model::DType stored_type(const model::Weights& base);

// Writes the trained model as a Hugging Face folder into `folder` (made, or emptied): the base's tensors in their own
// precision (quantised ones as f32) with the deltas added. A decoder with a score head becomes a sequence classifier
// with one label, which passes `padding_token` over. Returns that precision.
model::DType write_merged_model(const std::filesystem::path& folder, const Decoder& decoder,
                                const MethodSettings& method, const model::Weights& base,
                                const std::filesystem::path& base_path, const text::Tokenizer& tokenizer,
                                int32_t padding_token);

// The trained model as one GGUF file for llama.cpp; matrices: kBF16 or kF16, vectors are f32.
void write_gguf(const std::filesystem::path& path, const model::Architecture& architecture,
                const text::Tokenizer& tokenizer, const model::ReadTensor& read, model::DType matrices);
// Throws base::Error UNSUPPORTED when that cannot be done: before anything is trained.
void check_gguf(const model::Architecture& architecture, const text::Tokenizer& tokenizer);

// Puts `finished`, a file or a folder, in the place of `target`, which may exist.
void replace(const std::filesystem::path& target, const std::filesystem::path& finished);

}  // namespace slipway::train
