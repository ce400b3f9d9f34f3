// Any bytes as a tokenizer.json, then used to encode and decode: only base::Error may come out.
#include <cstdint>
#include <string>
#include <vector>

#include "agents/engine/text/definition.h"
#include "backend/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipway::text;
  try {
    const auto tokenizer =
        make_tokenizer(parse_tokenizer_json(std::string(reinterpret_cast<const char*>(data), size), "fuzz"));
    for (const char* text : {"Hello, hello <|end|> 123  \n\xC3\xA4\xFF e\xCC\x81 \xE2\x96\x81x",
                             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}) {
      const auto ids = tokenizer->encode(text, true);
      tokenizer->decode(ids, true);
      StreamDecoder decoder(*tokenizer, false);
      for (const TokenId id : ids) decoder.push(id);
      decoder.flush();
    }
    tokenizer->fingerprint();
  } catch (const slipway::base::Error&) {
  }
  return 0;
}
