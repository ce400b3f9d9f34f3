// slipwayd as a child process, and both of its doors.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>
#include <sys/types.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "backend/base/files.h"
#include "tests/unit/web/http_client.h"

namespace slipway {

// Runs a program to its end: what it printed (both streams) and its exit status.
struct Ended {
  int status = -1;
  std::string output;
};
Ended run_to_end(const std::vector<std::string>& arguments);

class Daemon {
 public:
  // Starts in `data` and waits until it is ready. Throws when it does not come up.
  explicit Daemon(const std::filesystem::path& data, const std::vector<std::string>& more_flags = {});
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Sends the signal and waits; the exit status, or minus the signal that ended it.
  int stop(int signal);

  int web_port() const { return web_port_; }
  std::shared_ptr<grpc::Channel> channel() const { return channel_; }
  const std::filesystem::path& data() const { return data_; }

  // Makes the first administrator (ada) and gives an API token of hers.
  std::string set_up();

  // By gRPC: empty_request goes to /service/method; what came back first.
  struct Outcome {
    grpc::StatusCode code = grpc::StatusCode::OK;
    std::string message, reason, field, advice;
    bool detailed = false;  // there was an ErrorDetail
    bool operator==(const Outcome&) const = default;
  };
  Outcome call_grpc(const std::string& service, const std::string& method, const std::string& token,
                    const google::protobuf::Message& request, std::string* response = nullptr) const;
  // By HTTP, JSON for a unary method or an envelope for a server stream.
  Outcome call_http(const std::string& service, const std::string& method, bool streams, const std::string& token,
                    const std::string& json, nlohmann::json* response = nullptr) const;
  // Unary by HTTP; fails the test when it does not succeed.
  nlohmann::json call(const std::string& method, const nlohmann::json& request, const std::string& token) const;

 private:
  std::filesystem::path data_;
  pid_t process_ = -1;
  int web_port_ = 0;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace slipway
