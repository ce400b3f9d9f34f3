// Rows of what replicas' metrics said, and their queries.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/domain/serving.h"
#include "backend/store/database.h"

namespace slipway::store {

struct StoredReading {
  std::string deployment_id;
  int64_t position = 0;
  domain::ReplicaReading reading;
};

// A second reading of the same time replaces the first.
void insert_reading(Transaction& transaction, const std::string& deployment_id, const domain::ReplicaReading& reading);
std::optional<StoredReading> latest_reading(Connection& connection, const std::string& deployment_id);
// The one before that time.
std::optional<StoredReading> reading_before(Connection& connection, const std::string& deployment_id, int64_t time_ms);
// Since `since_ms`, oldest first; every k-th when there are more than max_points, always with the last.
std::vector<StoredReading> list_readings(Connection& connection, const std::string& deployment_id, int64_t since_ms,
                                         int64_t max_points);
// Of this deployment with positions in (after, upto], in order.
std::vector<StoredReading> readings_after(Connection& connection, const std::string& deployment_id, int64_t after,
                                          int64_t upto, int64_t limit);
// Of those before `before_ms`, keeps one of each `stride_ms`.
void thin_readings(Connection& connection, int64_t before_ms, int64_t stride_ms);

}  // namespace slipway::store
