// /metrics in Prometheus' text format: requests by route and status, and what main.cpp adds. For callers on this
// machine and signed-in users.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "backend/service/auth.h"
#include "backend/web/exchange.h"
#include "backend/web/workers.h"

namespace slipway::web {

class Metrics final : public Handler {
 public:
  // `more` is called on a worker for each scrape: further lines in the same format.
  Metrics(service::Auth& auth, Workers& workers, std::function<std::string()> more)
      : auth_(auth), workers_(workers), more_(std::move(more)) {}

  void handle(const ExchangePointer& exchange) override;
  // A response is complete. On the I/O thread.
  void count(const RequestHead& head, int status, int64_t milliseconds);

 private:
  std::string text();

  service::Auth& auth_;
  Workers& workers_;
  std::function<std::string()> more_;
  std::mutex mutex_;
  std::map<std::pair<std::string, int>, int64_t> requests_;  // by route and status
  std::map<std::string, int64_t> milliseconds_;              // by route
};

}  // namespace slipway::web
