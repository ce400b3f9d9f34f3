// tokenizer.json's `post_processor`, for one sequence: which special tokens go before and after. Used by pipeline.cpp.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "agents/engine/text/tokenizer.h"

namespace slipway::text {

struct PostProcessor {
  std::vector<TokenId> prefix;
  std::vector<TokenId> suffix;
};

// `section` may be null. Throws base::Error INVALID_MODEL, or UNSUPPORTED listing the known types.
PostProcessor parse_post_processor(const nlohmann::json& section, const std::string& origin);

}  // namespace slipway::text
