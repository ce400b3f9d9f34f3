// HTTP messages as plain data, shared by everything in this folder.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipway::web {

struct Header {
  std::string name;
  std::string value;
};

// What came before the body of a request. Names of headers are compared in any case.
struct RequestHead {
  std::string method;  // GET, POST, …
  std::string path;    // as sent, without the query; still percent-encoded
  std::string query;   // after '?', without it
  std::vector<Header> headers;
  bool tls = false;
  bool from_loopback = false;

  // The first header of that name; empty when there is none.
  std::string_view header(std::string_view name) const;
  bool has_header(std::string_view name) const;
};

struct Response {
  int status = 200;
  std::vector<Header> headers;
  std::string body;
};

bool same_name(std::string_view a, std::string_view b);
const char* reason_phrase(int status);

// Decodes %XX; false when the text has a broken escape or decodes to a control character.
bool percent_decode(std::string_view text, std::string& decoded);

// The value of `name` in a query string; empty when there is none.
std::string query_value(std::string_view query, std::string_view name);

// True when `header` (as Content-Type) has this media type, whatever its parameters.
bool has_media_type(std::string_view header, std::string_view media_type);

}  // namespace slipway::web
