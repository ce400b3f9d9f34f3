#include "app/cli/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <utility>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::cli {
namespace {

bool is_loopback(const std::string& address) {
  const std::string host = address.substr(0, address.rfind(':'));
  return host == "localhost" || host == "[::1]" || host.rfind("127.", 0) == 0 || address.rfind("unix:", 0) == 0;
}

}  // namespace

Client::Client(Config config) : config_(std::move(config)) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  arguments.SetMaxReceiveMessageSize(64 << 20);
  if (!config_.tls_ca.empty()) {
    grpc::SslCredentialsOptions tls;
    try {
      tls.pem_root_certs = base::read_file(config_.tls_ca, 1 << 20);
    } catch (const base::Error& error) {
      throw Failure(Exit::kUsage, error.what(), "give a PEM file of certificates to trust with --tls-ca");
    }
    channel_ = grpc::CreateCustomChannel(config_.backend, grpc::SslCredentials(tls), arguments);
    return;
  }
  if (!is_loopback(config_.backend)) {
    throw Failure(Exit::kUsage, config_.backend + " is another machine, and tokens do not travel in the clear",
                  "give --tls-ca FILE with the backend's certificate");
  }
  channel_ = grpc::CreateCustomChannel(config_.backend, grpc::InsecureChannelCredentials(), arguments);
}

void Client::authorize(grpc::ClientContext& context) const {
  if (!config_.token.empty()) context.AddMetadata("authorization", "Bearer " + config_.token);
}

}  // namespace slipway::cli
