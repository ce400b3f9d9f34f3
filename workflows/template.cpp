#include "workflows/template.h"

#include "backend/base/status.h"

namespace slipway::workflows {
namespace {

struct Piece {
  std::string text;  // literal text, or the path of a reference
  bool reference = false;
};

absl::StatusOr<std::vector<Piece>> split(const std::string& text) {
  std::vector<Piece> pieces;
  size_t at = 0;
  while (at < text.size()) {
    const size_t begin = text.find("${", at);
    if (begin == std::string::npos) {
      pieces.push_back({text.substr(at), false});
      break;
    }
    if (begin > at) pieces.push_back({text.substr(at, begin - at), false});
    const size_t end = text.find('}', begin);
    if (end == std::string::npos) {
      return base::invalid_argument("", "'" + text + "' has a ${ without its }", "write ${parameters.name}");
    }
    pieces.push_back({text.substr(begin + 2, end - begin - 2), true});
    at = end + 1;
  }
  return pieces;
}

absl::StatusOr<Json> look_up(const std::string& path, const Json& scope) {
  const Json* value = &scope;
  size_t at = 0;
  while (at <= path.size()) {
    size_t dot = path.find('.', at);
    if (dot == std::string::npos) dot = path.size();
    const std::string key = path.substr(at, dot - at);
    if (value->is_null()) return Json();  // a field of what was not given
    if (!value->is_object() || !value->contains(key)) return base::not_found("reference", "${" + path + "}");
    value = &(*value)[key];
    at = dot + 1;
  }
  return *value;
}

absl::StatusOr<Json> fill_in_text(const std::string& text, const Json& scope) {
  auto pieces = split(text);
  if (!pieces.ok()) return pieces.status();
  if (pieces->size() == 1 && pieces->front().reference) return look_up(pieces->front().text, scope);
  std::string filled;
  for (const Piece& piece : *pieces) {
    if (!piece.reference) {
      filled += piece.text;
      continue;
    }
    const auto value = look_up(piece.text, scope);
    if (!value.ok()) return value.status();
    if (!value->is_null()) filled += value->is_string() ? value->get<std::string>() : value->dump();
  }
  return Json(filled);
}

absl::Status collect(const Json& value, std::vector<std::string>& paths) {
  if (value.is_string()) {
    const auto pieces = split(value.get<std::string>());
    if (!pieces.ok()) return pieces.status();
    for (const Piece& piece : *pieces) {
      if (piece.reference) paths.push_back(piece.text);
    }
  } else if (value.is_structured()) {
    for (const Json& child : value) {
      const absl::Status status = collect(child, paths);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

// A mapping's `$when`, filled in: false or null leaves it out.
absl::StatusOr<bool> is_wanted(const Json& object, const Json& scope) {
  if (!object.contains("$when")) return true;
  const auto when = fill_in(object["$when"], scope);
  if (!when.ok()) return when.status();
  return !(when->is_null() || (when->is_boolean() && !when->get<bool>()));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> references_of(const Json& value) {
  std::vector<std::string> paths;
  const absl::Status status = collect(value, paths);
  if (!status.ok()) return status;
  return paths;
}

absl::StatusOr<Json> fill_in(const Json& value, const Json& scope) {
  if (value.is_string()) return fill_in_text(value.get<std::string>(), scope);
  if (value.is_array()) {
    Json filled = Json::array();
    for (const Json& item : value) {
      auto child = fill_in(item, scope);
      if (!child.ok()) return child.status();
      if (!child->is_null()) filled.push_back(*std::move(child));
    }
    return filled;
  }
  if (value.is_object() && value.contains("$case")) {
    const auto chosen = fill_in(value["$case"], scope);
    if (!chosen.ok()) return chosen.status();
    const std::string key = chosen->is_string() ? chosen->get<std::string>() : chosen->dump();
    if (value.contains(key)) return fill_in(value[key], scope);
    return value.contains("$else") ? fill_in(value["$else"], scope) : Json();
  }
  if (value.is_object()) {
    const auto wanted = is_wanted(value, scope);
    if (!wanted.ok()) return wanted.status();
    if (!*wanted) return Json();
    Json filled = Json::object();
    for (const auto& [key, item] : value.items()) {
      if (key == "$when") continue;
      auto child = fill_in(item, scope);
      if (!child.ok()) return child.status();
      if (!child->is_null()) filled[key] = *std::move(child);
    }
    return filled;
  }
  return value;
}

}  // namespace slipway::workflows
