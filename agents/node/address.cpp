#include "agents/node/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>

#include "backend/base/descriptor.h"
#include "backend/base/error.h"

namespace slipway::node {
namespace {
constexpr char kThisMachine[] = "127.0.0.1";
}  // namespace

std::string address_towards(const std::string& backend) {
  const size_t colon = backend.rfind(':');
  std::string host = backend.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (colon == std::string::npos || getaddrinfo(host.c_str(), backend.c_str() + colon + 1, &hints, &found) != 0) {
    return kThisMachine;
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, freeaddrinfo);
  // Nothing is sent: the system only chooses the way.
  const base::Descriptor datagrams(socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  char text[NI_MAXHOST] = "";
  if (connect(datagrams.get(), found->ai_addr, found->ai_addrlen) != 0 ||
      getsockname(datagrams.get(), reinterpret_cast<sockaddr*>(&own), &size) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0) {
    return kThisMachine;
  }
  return text;
}

uint16_t free_port() {
  const base::Descriptor listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in any{};
  any.sin_family = AF_INET;
  socklen_t size = sizeof any;
  if (bind(listener.get(), reinterpret_cast<sockaddr*>(&any), size) != 0 ||
      getsockname(listener.get(), reinterpret_cast<sockaddr*>(&any), &size) != 0) {
    throw base::system_error("find a free port", errno);
  }
  return ntohs(any.sin_port);
}

}  // namespace slipway::node
