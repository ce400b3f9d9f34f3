// Unix milliseconds -> google.protobuf.Timestamp. Used by every adapter.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <cstdint>

namespace slipway::rpc {

inline void set_time(google::protobuf::Timestamp* timestamp, int64_t unix_ms) {
  timestamp->set_seconds(unix_ms / 1000);
  timestamp->set_nanos(static_cast<int32_t>(unix_ms % 1000) * 1'000'000);
}

}  // namespace slipway::rpc
