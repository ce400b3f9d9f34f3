// Typed access to one JSON object of a config.json; every failure names file and key. Used by the families.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agents/engine/model/architecture.h"

namespace slipway::model {

[[noreturn]] void fail_config(const std::string& origin, const std::string& what);
[[noreturn]] void fail_unsupported(const std::string& origin, const std::string& what, const std::string& known);

// null counts as missing, as in transformers. Keeps references to its arguments.
class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& object, const std::string& origin, std::string prefix = "");

  const std::string& origin() const { return origin_; }
  const nlohmann::json& object() const { return object_; }
  const nlohmann::json* find(const char* key) const;
  bool is_null(const char* key) const;  // there, and null

  // Without a second argument the key must be there. Throw base::Error INVALID_MODEL.
  int64_t integer(const char* key) const;
  int64_t integer(const char* key, int64_t otherwise) const;
  double number(const char* key) const;
  double number(const char* key, double otherwise) const;
  bool boolean(const char* key, bool otherwise) const;
  std::string text(const char* key, const std::string& otherwise) const;
  std::vector<double> numbers(const char* key, size_t count) const;
  int32_t token_id(const char* key) const;                  // -1: none
  void end_tokens(std::vector<int32_t>& ids) const;         // adds those of eos_token_id
  std::vector<bool> windowed_layers(int64_t layers) const;  // layer_types; empty when it is missing

 private:
  int64_t checked_integer(const char* key, const nlohmann::json& value) const;
  int32_t checked_token(const char* key, const nlohmann::json& value) const;

  const nlohmann::json& object_;
  const std::string& origin_;
  std::string prefix_;
};

Activation activation_from(const std::string& name, const std::string& origin);
const char* activation_name(Activation activation);

}  // namespace slipway::model
