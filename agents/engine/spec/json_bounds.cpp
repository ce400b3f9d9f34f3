#include "agents/engine/spec/json_bounds.h"

#include <vector>

namespace slipway::spec {

std::string excess_of_json(std::string_view text, const JsonBounds& bounds) {
  std::vector<size_t> members;  // colons seen in each open object or list
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
      continue;
    }
    switch (c) {
      case '"':
        in_string = true;
        break;
      case '{':
      case '[':
        members.push_back(0);
        if (members.size() > bounds.max_depth)
          return "is nested more than " + std::to_string(bounds.max_depth) + " levels deep";
        break;
      case '}':
      case ']':
        if (!members.empty()) members.pop_back();
        break;
      case ':':
        if (!members.empty() && ++members.back() > bounds.max_members) {
          return "has an object with more than " + std::to_string(bounds.max_members) + " fields";
        }
        break;
      default:
        break;
    }
  }
  return "";
}

std::string parse_error_reason(std::string_view what) {
  constexpr size_t kMaxReasonBytes = 200;
  if (const size_t colon = what.find(": "); colon != std::string_view::npos) what.remove_prefix(colon + 2);
  std::string reason(what.substr(0, kMaxReasonBytes));
  if (what.size() > kMaxReasonBytes) reason += "...";
  for (char& c : reason) {
    if (c < 0x20 || c > 0x7E) c = '?';
  }
  return reason;
}

}  // namespace slipway::spec
