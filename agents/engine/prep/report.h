// The report of a preparation: what was read, kept and dropped, why, and what the kept rows look like.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "agents/engine/prep/operators.h"

namespace slipway::prep {

struct InputSummary {
  std::string path;
  std::string format;
  int64_t rows = 0, kept = 0, bytes = 0, blank_lines = 0;
};

struct SplitSummary {
  std::string path;
  int64_t rows = 0, characters = 0, bytes = 0;
  std::string sha256;
};

class Report {
 public:
  void drop(const std::string& by, const Verdict& verdict, RowId id);
  void keep(int64_t characters, int64_t turns);

  int64_t dropped() const { return dropped_; }
  int64_t kept() const { return static_cast<int64_t>(characters_.size()); }

  // "12 too_short, 3 duplicate", for messages.
  std::string reasons_text() const;

  nlohmann::ordered_json to_json(const std::vector<InputSummary>& inputs,
                                 const std::map<std::string, SplitSummary>& splits, const nlohmann::json& spec) const;

 private:
  static constexpr size_t kMaxExamples = 20;
  struct Example {
    RowId id;
    std::string detail;
    int64_t duplicate_of = -1;
  };
  struct Reason {
    int64_t count = 0;
    std::vector<Example> examples;
  };

  std::map<std::pair<std::string, std::string>, Reason> reasons_;  // (by, reason)
  std::vector<uint32_t> characters_;                               // of each kept row
  int64_t turns_ = 0;
  int64_t dropped_ = 0;
};

}  // namespace slipway::prep
