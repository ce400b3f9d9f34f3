// tokenizer.json's `normalizer`: what happens to text before it is split. Used by pipeline.cpp.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace slipway::text {

class Normalizer {
 public:
  // `section` may be null. Throws base::Error INVALID_MODEL, or UNSUPPORTED listing the known types.
  Normalizer(const nlohmann::json& section, const std::string& origin);

  bool changes_nothing() const { return steps_.empty(); }
  // Any thread.
  std::string apply(std::string text) const;

 private:
  void add(const nlohmann::json& section, const std::string& where, int depth);
  std::vector<std::function<std::string(std::string)>> steps_;
};

}  // namespace slipway::text
