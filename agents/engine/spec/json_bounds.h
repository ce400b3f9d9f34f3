// A look at JSON text before it is parsed: what strangers send must not cost more than its size. Used by prep and
// serve.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace slipway::spec {

struct JsonBounds {
  size_t max_depth = 64;
  size_t max_members = 4096;  // of one object: ordered_json looks for each name one by one
};

// Empty when `text` keeps to the bounds, else what it exceeds. Says nothing about text that is not JSON.
std::string excess_of_json(std::string_view text, const JsonBounds& bounds = {});

// The reason in nlohmann::json's parse_error::what(), fit to be shown: without the library's prefix, and with the text
// it quotes cut short and freed of broken or unprintable bytes.
std::string parse_error_reason(std::string_view what);

}  // namespace slipway::spec
