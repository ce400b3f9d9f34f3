// Which of the known formats a file of rows has, and which columns play which part. Pure functions, used by Datasets.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace slipway::service {

struct ColumnMapping {
  std::string format;                        // messages, prompt_completion, alpaca, sharegpt, text, preference
  std::map<std::string, std::string> roles;  // role -> column
};

// `given`, with what it leaves out guessed from the first row. INVALID_ARGUMENT when nothing fits, or a role or format
// is not known.
absl::StatusOr<ColumnMapping> complete_mapping(const ColumnMapping& given, const nlohmann::ordered_json& first_row);

// The roles of a format that must have a column, and those that may.
std::vector<std::string> required_roles(const std::string& format);
std::vector<std::string> optional_roles(const std::string& format);

}  // namespace slipway::service
