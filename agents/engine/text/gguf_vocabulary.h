// A tokenizer's vocabulary as GGUF's metadata wants it: the reverse of read_gguf.cpp. Used by train when it exports a
// model whose base is a Hugging Face folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "agents/engine/text/tokenizer.h"

namespace slipway::text {

struct GgufVocabulary {
  std::string pre_tokenizer;  // tokenizer.ggml.pre
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;  // 1 normal, 3 control, 4 user-defined, 5 unused
  std::optional<TokenId> bos, eos, pad;
  bool add_bos = false;
  std::string chat_template;
};

// Of the tokenizer in `folder`, filled up to `size` tokens. Throws base::Error UNSUPPORTED for one that GGUF has no
// name for: other than byte-level BPE, or with a pre-tokenizer that llama.cpp does not know.
GgufVocabulary gguf_vocabulary(const std::filesystem::path& folder, int64_t size);

}  // namespace slipway::text
