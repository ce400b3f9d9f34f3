#include "backend/service/caller.h"

#include <cctype>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace slipway::service {

Credentials parse_credentials(const std::string& cookie_header, const std::string& authorization_header,
                              const std::string& cookie_name) {
  Credentials credentials;
  for (const absl::string_view part : absl::StrSplit(cookie_header, ';')) {
    const std::pair<absl::string_view, absl::string_view> cookie =
        absl::StrSplit(absl::StripAsciiWhitespace(part), absl::MaxSplits('=', 1));
    if (cookie.first == cookie_name) credentials.session = std::string(cookie.second);
  }
  constexpr absl::string_view kScheme = "bearer ";
  if (absl::StartsWithIgnoreCase(authorization_header, kScheme)) {
    credentials.bearer =
        std::string(absl::StripAsciiWhitespace(absl::string_view(authorization_header).substr(kScheme.size())));
  }
  return credentials;
}

}  // namespace slipway::service
