// The few numbers about the whole that /metrics shows. Called by main.cpp's metrics, on a worker.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "backend/store/database.h"

namespace slipway::service {

struct Figures {
  std::map<std::string, int64_t> runs;         // by state
  std::map<std::string, int64_t> deployments;  // by state
  std::map<std::string, int64_t> nodes;        // by state
  int64_t models = 0;
  int64_t datasets = 0;
};

absl::StatusOr<Figures> read_figures(store::Database& database);

// Prometheus' text format.
std::string figures_text(const Figures& figures);

}  // namespace slipway::service
