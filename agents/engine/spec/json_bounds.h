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

}  // namespace slipway::spec
