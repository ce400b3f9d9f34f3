// Who makes a call, as sign-in found out. Passed by rpc/ and web/ to the services that care.
#pragma once

#include <string>

namespace slipway::service {

struct Caller {
  enum class Kind { kNobody, kUser, kNode };
  Kind kind = Kind::kNobody;
  std::string id;  // of the user or the node
  std::string name;
  bool administrator = false;
  // What the caller came with: one of these, or neither for a node.
  std::string session_id;
  std::string api_token_id;
};

// What a request brings to prove who sends it. Secrets: never logged.
struct Credentials {
  std::string session;  // value of the cookie slipway_session
  std::string bearer;   // after "Bearer " in the header authorization
};

inline constexpr char kSessionCookie[] = "slipway_session";

// From the text of the headers `cookie` and `authorization`; either may be empty.
Credentials parse_credentials(const std::string& cookie_header, const std::string& authorization_header,
                              const std::string& cookie_name = kSessionCookie);

}  // namespace slipway::service
