// Checked access to fields of a model's JSON: every failure names file and key. Used by the readers of tokenizer.json.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "backend/base/error.h"

namespace slipway::text {

inline base::Error bad_field(const std::string& where, const std::string& expected) {
  return base::Error(base::kInvalidModel, where + ": expected " + expected, "download the file again from its origin");
}

// section[key]; throws when `section` is no object or has no such key.
inline const nlohmann::json& field(const nlohmann::json& section, const char* key, const std::string& where) {
  if (!section.is_object()) throw bad_field(where, "an object");
  const auto found = section.find(key);
  if (found == section.end()) throw base::Error(base::kInvalidModel, where + "." + key + " is missing");
  return *found;
}

inline std::string string_field(const nlohmann::json& section, const char* key, const std::string& where) {
  const auto& value = field(section, key, where);
  if (!value.is_string()) throw bad_field(where + "." + key, "a string");
  return value.get<std::string>();
}

inline bool bool_field(const nlohmann::json& section, const char* key, bool fallback, const std::string& where) {
  if (!section.is_object()) throw bad_field(where, "an object");
  const auto found = section.find(key);
  if (found == section.end() || found->is_null()) return fallback;
  if (!found->is_boolean()) throw bad_field(where + "." + key, "true or false");
  return found->get<bool>();
}

inline int64_t int_field(const nlohmann::json& section, const char* key, int64_t fallback, const std::string& where) {
  if (!section.is_object()) throw bad_field(where, "an object");
  const auto found = section.find(key);
  if (found == section.end() || found->is_null()) return fallback;
  if (!found->is_number_integer()) throw bad_field(where + "." + key, "an integer");
  return found->get<int64_t>();
}

// A list field; throws unless it is one.
inline const nlohmann::json& list_field(const nlohmann::json& section, const char* key, const std::string& where) {
  const auto& value = field(section, key, where);
  if (!value.is_array()) throw bad_field(where + "." + key, "a list");
  return value;
}

inline base::Error unsupported_type(const std::string& where, const std::string& type, const std::string& known) {
  return base::Error(base::kUnsupported, where + ": type \"" + type + "\" is not supported", "known types: " + known);
}

inline constexpr int kMaxSectionDepth = 16;  // of Sequence within Sequence

}  // namespace slipway::text
