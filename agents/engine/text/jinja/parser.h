// Parses a template into a tree, bounded in size and depth. Used by chat_template.cpp.
#pragma once

#include <string>

#include "agents/engine/text/jinja/ast.h"

namespace slipway::text::jinja {

inline constexpr size_t kMaxSourceBytes = size_t{512} << 10U;

// Throws base::Error INVALID_MODEL with line and column.
Tree parse(const std::string& source);

}  // namespace slipway::text::jinja
