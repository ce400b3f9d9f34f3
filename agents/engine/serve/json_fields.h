// Typed access to the fields of a request body; every fault becomes an ApiError that names the field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::serve {

// Parses a body: bounded in depth and width, an object. Throws ApiError 400.
nlohmann::ordered_json parse_body(std::string_view body);

// A field that is null counts as not given, as OpenAI's clients send it.
class JsonFields {
 public:
  explicit JsonFields(const nlohmann::ordered_json& object, std::string prefix = "")
      : object_(object), prefix_(std::move(prefix)) {}

  const nlohmann::ordered_json* find(const std::string& name) const;
  std::optional<int64_t> integer(const std::string& name, int64_t least, int64_t most) const;
  std::optional<double> number(const std::string& name, double least, double most) const;
  std::optional<bool> boolean(const std::string& name) const;
  std::optional<std::string> text(const std::string& name) const;
  // A text or a list of texts.
  std::vector<std::string> texts(const std::string& name, size_t most) const;
  std::vector<int32_t> token_ids(const std::string& name, size_t most) const;

  [[noreturn]] void fail(const std::string& name, const std::string& expected) const;

 private:
  const nlohmann::ordered_json& object_;
  std::string prefix_;
};

// A list of whole numbers that can be token ids; `name` is for the message. Throws ApiError.
std::vector<int32_t> token_id_list(const nlohmann::ordered_json& list, const std::string& name, size_t most);

// How a value is shown in a message: short.
std::string shown(const nlohmann::ordered_json& value);

}  // namespace slipway::serve
