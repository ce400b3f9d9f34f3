// The whole site: checks that a request may be here at all (host, origin), then hands it to the part that its path
// names. On the I/O thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "backend/web/exchange.h"

namespace slipway::web {

struct SiteParts {
  Handler* api = nullptr;        // /api/
  Handler* artifacts = nullptr;  // /artifacts/
  Handler* openai = nullptr;     // /v1/
  Handler* console = nullptr;    // everything else
  Handler* metrics = nullptr;    // /metrics
};

class Site final : public Handler {
 public:
  // any_host: the name in a request's Host header is not checked, because TLS proves it already. Otherwise it must be a
  // loopback name or one of `hosts`, so that a page of another site cannot reach a loopback server by a name of its
  // own.
  Site(SiteParts parts, bool any_host, std::vector<std::string> hosts)
      : parts_(parts), any_host_(any_host), hosts_(std::move(hosts)) {}

  void handle(const ExchangePointer& exchange) override;

 private:
  bool known_host(std::string_view host_header) const;

  SiteParts parts_;
  bool any_host_;
  std::vector<std::string> hosts_;
};

// Whether a request that a browser's cookie signs may change anything: it comes from a page of this very site.
bool comes_from_own_page(const RequestHead& head);

}  // namespace slipway::web
