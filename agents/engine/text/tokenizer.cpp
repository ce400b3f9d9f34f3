// Chooses the reader for a path, see tokenizer.h.
#include "agents/engine/text/tokenizer.h"

#include "agents/engine/text/definition.h"
#include "backend/base/error.h"

namespace slipway::text {

const std::string& Tokenizer::stripped_prefix() const {
  static const std::string nothing;
  return nothing;
}

std::unique_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) {
    throw base::Error(base::kNotFound, path.string() + ": no such file or folder",
                      "give a Hugging Face folder, a tokenizer.json, a SentencePiece .model, a .gguf or a .slipway");
  }
  if (std::filesystem::is_directory(path)) {
    if (!std::filesystem::exists(path / "tokenizer.json")) {
      if (std::filesystem::exists(path / "tokenizer.model"))
        return make_tokenizer(read_sentence_piece(path / "tokenizer.model"));
      throw base::Error(base::kNotFound, path.string() + ": the folder has neither tokenizer.json nor tokenizer.model",
                        "save the tokenizer with save_pretrained of a fast tokenizer, or use a .gguf");
    }
    return make_tokenizer(read_tokenizer_json(path));
  }
  if (path.extension() == ".gguf") return make_tokenizer(read_gguf_tokenizer(path));
  if (path.extension() == ".slipway") return make_tokenizer(read_container_tokenizer(path));
  if (path.extension() == ".json") return make_tokenizer(read_tokenizer_json(path));
  // tokenizer.model, and mistral-common's tokenizer.model.v1 and its like.
  if (path.filename().string().find(".model") != std::string::npos) return make_tokenizer(read_sentence_piece(path));
  throw base::Error(base::kUnsupported, path.string() + ": not a tokenizer that is known here",
                    "known: a Hugging Face folder, tokenizer.json, a SentencePiece .model, .gguf, .slipway");
}

}  // namespace slipway::text
