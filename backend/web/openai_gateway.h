// /v1/: OpenAI's API of all deployments. Says who may call, finds the replica by the request's `model`, and passes its
// answer on as it comes. handle() is on the I/O thread; the store is reached on workers.
#pragma once

#include <boost/asio/io_context.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "backend/service/auth.h"
#include "backend/service/deployment_keys.h"
#include "backend/service/served_models.h"
#include "backend/web/exchange.h"
#include "backend/web/workers.h"

namespace slipway::web {

class OpenAiGateway final : public Handler {
 public:
  OpenAiGateway(boost::asio::io_context& io, service::Auth& auth, service::DeploymentKeys& keys,
                service::ServedModels& models, Workers& workers)
      : io_(io), auth_(auth), keys_(keys), models_(models), workers_(workers) {}

  void handle(const ExchangePointer& exchange) override;

 private:
  // What the caller may see, or why nothing.
  absl::StatusOr<std::vector<service::ServedDeployment>> visible(const RequestHead& head);
  void list_models(const ExchangePointer& exchange);
  void forward(const ExchangePointer& exchange, std::string body);
  void pass_on(const ExchangePointer& exchange, const std::string& address, std::string body);

  boost::asio::io_context& io_;
  service::Auth& auth_;
  service::DeploymentKeys& keys_;
  service::ServedModels& models_;
  Workers& workers_;
};

// The top-level string `model` of a JSON object, without building the whole document. False when the text is no JSON
// object; `model` stays empty when there is none.
bool find_model_name(std::string_view json, std::string& model);

// {"error":{"message","type","param","code"}}, as OpenAI's clients expect it.
Response openai_error(int status, const std::string& message, const std::string& type, const std::string& code);

}  // namespace slipway::web
