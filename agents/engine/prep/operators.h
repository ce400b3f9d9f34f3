// The operators of a prep spec: each looks at one row after the other, may change it, and may drop it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "agents/engine/prep/row.h"

namespace slipway::prep {

// Where a row came from: input file and line, in one number.
struct RowId {
  int64_t input = 0;
  int64_t line = 0;

  int64_t packed() const { return (input << 44) | line; }
  static RowId unpack(int64_t packed) { return {packed >> 44, packed & ((int64_t{1} << 44) - 1)}; }
};

struct Verdict {
  std::string reason;         // empty: the row stays; else why it goes: too_short, …
  std::string detail;         // for the report's examples
  int64_t duplicate_of = -1;  // packed RowId of the row that stays in its place

  bool keep() const { return reason.empty(); }
};

class Operator {
 public:
  virtual ~Operator() = default;
  virtual const std::string& name() const = 0;
  virtual Verdict apply(Row& row, RowId id) = 0;
};

// The operators of the spec, in its order. Temporary files go below `folder`.
std::vector<std::unique_ptr<Operator>> make_operators(const nlohmann::json& specs, const std::filesystem::path& folder);

// The texts of a row with their roles and its task, so that two rows are the same exactly when these are; without `key`
// only the texts, to compare word by word.
std::string joined_texts(const Row& row, std::string (*key)(std::string_view));

}  // namespace slipway::prep
