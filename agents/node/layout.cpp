#include "agents/node/layout.h"

#include "backend/base/sha256.h"

namespace slipway::node {

std::string as_file_name(const std::string& text) {
  std::string name;
  bool changed = text.empty() || text.size() > 100 || text.front() == '.';
  for (const char c : text.substr(0, 100)) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    name += plain ? c : '_';
    changed = changed || !plain;
  }
  if (!changed) return name;
  if (!name.empty() && name.front() == '.') name.front() = '_';
  return name + "-" + base::sha256_hex(text).substr(0, 12);
}

bool is_safe_relative(const std::string& path) {
  if (path.empty() || path.size() > 4096 || path.front() == '/' || path.find('\0') != std::string::npos) return false;
  size_t start = 0;
  while (start <= path.size()) {
    const size_t slash = path.find('/', start);
    const std::string part = path.substr(start, slash == std::string::npos ? std::string::npos : slash - start);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string::npos) break;
    start = slash + 1;
  }
  return true;
}

}  // namespace slipway::node
