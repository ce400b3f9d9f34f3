// A tokenizer as GGUF metadata (tokenizer.ggml.*), the reverse of read_gguf.cpp. Used by train when it publishes a
// GGUF. Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer
#pragma once

#include <cstdint>
#include <span>

#include "agents/engine/model/gguf_writer.h"
#include "agents/engine/text/tokenizer.h"

namespace slipway::text {

// Puts the vocabulary, the special tokens and the chat template into `writer`. `rows`: embeddings that the model has;
// llama.cpp wants a token for each. `end_ids`: tokens that end a reply, the first one the vocabulary's own. Throws
// base::Error UNSUPPORTED for tokenizers that GGUF has no words for: unigram models, and ways of splitting text that it
// has no name for.
void put_vocabulary(model::GgufWriter& writer, const Tokenizer& tokenizer, int64_t rows,
                    std::span<const TokenId> end_ids);

}  // namespace slipway::text
