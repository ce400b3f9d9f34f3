// Compares what was trained with what will be served, before it is published. Used by publish.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "agents/engine/train/decoder/decoder.h"

namespace slipway::train {

// Up to `count` beginnings of documents, spread over the set, of at most `length` tokens each.
std::vector<std::vector<int64_t>> parity_prompts(const Documents& documents, size_t count, int64_t length);

// What the trainer's decoder says to some prompts.
struct TrainedLogits {
  std::vector<std::vector<int64_t>> prompts;
  std::vector<std::vector<float>> logits;  // beside prompts: [its tokens, vocabulary]
  int64_t virtual_tokens = 0;              // before each prompt
};

TrainedLogits trained_logits(Decoder& decoder, std::vector<std::vector<int64_t>> prompts);

// Runs the prompts through the serving runtime on `model` (with the PEFT folder `adapter`, unless that is empty).
// Returns the worst prompt's difference of logits: the 2-norm of the difference over the 2-norm of the trainer's.
double logit_difference(const TrainedLogits& trained, const std::filesystem::path& model,
                        const std::filesystem::path& adapter, int threads);

// Throws base::Error EXPORT_MISMATCH when the difference is above the tolerance for this precision. `what` names the
// result in the message. half_precision: the result is stored in 16 bits.
void require_parity(double difference, bool half_precision, const std::string& what);

}  // namespace slipway::train
