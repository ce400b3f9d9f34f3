#include "backend/web/session_cookie.h"

#include "backend/web/server.h"

namespace slipway::web {

std::string session_cookie_name(const RequestHead& head) {
  std::string host;
  uint16_t port = 0;
  const bool has_port = split_address(std::string(head.header("host")), host, port);
  return service::kSessionCookie + (has_port ? "_" + std::to_string(port) : std::string());
}

service::Credentials credentials_of(const RequestHead& head) {
  return service::parse_credentials(std::string(head.header("cookie")), std::string(head.header("authorization")),
                                    session_cookie_name(head));
}

}  // namespace slipway::web
