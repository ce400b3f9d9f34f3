// What the model answers to fixed prompts while it learns: WORKDIR/samples.jsonl, one line {"step", "prompt", "text"}
// per evaluation and prompt. Used by trainer.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "agents/engine/text/tokenizer.h"
#include "agents/engine/train/decoder/decoder.h"

namespace slipway::train {

// One thread.
class Samples {
 public:
  // Steps that the file has already are not sampled again. writes: false on ranks that only compute along.
  Samples(std::filesystem::path file, const text::Tokenizer& tokenizer, std::vector<std::string> prompts,
          int64_t max_new_tokens, bool writes);

  int64_t last_step() const { return last_step_; }
  void set_last_step(int64_t step) { last_step_ = step; }

  // The most probable tokens after each prompt (as a user's message where there is a chat template), until the end
  // token. `pause` returns false when a stop has come: then nothing is written.
  void take(Decoder& decoder, int64_t step, const std::function<bool()>& pause);

 private:
  std::filesystem::path file_;
  const text::Tokenizer& tokenizer_;
  std::vector<std::string> prompts_;
  int64_t max_new_tokens_;
  bool writes_;
  int64_t last_step_ = -1;
};

}  // namespace slipway::train
