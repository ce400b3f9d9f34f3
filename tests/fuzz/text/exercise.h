// Uses a tokenizer that was made from any bytes in every way there is. Only base::Error may come out.
#pragma once

#include "agents/engine/text/definition.h"

namespace slipway::text {

inline void exercise(TokenizerDefinition definition) {
  const auto tokenizer = make_tokenizer(std::move(definition));
  for (const char* text : {"Hello, hello <|end|> 123  \n\xC3\xA4\xFF e\xCC\x81 \xE2\x96\x81x 'S don't\t\r\n",
                           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}) {
    for (int round = 0; round < 2; ++round) {  // the second finds its words in the cache
      const auto ids = tokenizer->encode(text, true);
      tokenizer->decode(ids, true);
      StreamDecoder decoder(*tokenizer, false);
      for (const TokenId id : ids) decoder.push(id);
      decoder.flush();
    }
  }
  tokenizer->fingerprint();
}

}  // namespace slipway::text
