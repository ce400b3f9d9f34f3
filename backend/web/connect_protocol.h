// The Connect protocol's JSON half (https://connectrpc.com/docs/protocol): codes, errors, envelopes, timeouts. Plain
// functions, used by json_gateway.cpp.
#pragma once

#include <grpcpp/support/status.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace slipway::web {

inline constexpr size_t kMaxRpcRequestBytes = 8 << 20;
inline constexpr unsigned char kEndOfStream = 0x02;

// invalid_argument and so on; "unknown" for a code that gRPC does not have.
const char* connect_code(grpc::StatusCode code);
int http_status_of(grpc::StatusCode code);

// {"code":…,"message":…,"details":[{"type":…,"value":…,"debug":…}]}, from a gRPC status with slipway's details.
std::string connect_error_json(const grpc::Status& status);

// One message of a stream: a flag byte, four bytes of length (big end first), then the payload.
std::string envelope(unsigned char flags, std::string_view payload);

// The payload of a request body that must hold exactly one envelope, uncompressed. INVALID_ARGUMENT otherwise.
grpc::Status open_envelope(std::string_view body, std::string_view& payload);

// The payload that ends a stream: {} or {"error":…}.
std::string end_of_stream_json(const grpc::Status& status);

// connect-timeout-ms: up to 10 digits. nullopt for an empty header; INVALID_ARGUMENT for another text.
grpc::Status parse_timeout(std::string_view header, std::optional<int64_t>& timeout_ms);

// A status as the backend's own adapters would make it, with reason and advice in its details.
grpc::Status gateway_error(grpc::StatusCode code, const std::string& message, const std::string& reason,
                           const std::string& advice);

}  // namespace slipway::web
