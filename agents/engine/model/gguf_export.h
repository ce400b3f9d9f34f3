// A decoder as GGUF, for llama.cpp and what builds on it. Used by train when it publishes. Keys and names are those of
// llama.cpp's own converters; https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include "agents/engine/model/architecture.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/model/gguf_writer.h"

namespace slipway::model {

// Puts the architecture's metadata and its tensors into `writer`: matrices as `dtype`, vectors as f32. `read` is called
// when the file is written. Where GGUF cannot say that layers see only a window of positions, the context is cut to it.
void put_model(GgufWriter& writer, const Architecture& architecture, DType dtype, const ReadTensor& read);

// Throws base::Error UNSUPPORTED when the architecture that was read back from a written file is not the one that was
// to be written: GGUF has no keys for some of what a configuration can say (Gemma's scale of scores, GPT-2's
// activation).
void require_same_decoder(const Architecture& wanted, const Architecture& written);

}  // namespace slipway::model
