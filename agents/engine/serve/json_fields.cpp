#include "agents/engine/serve/json_fields.h"

#include <cmath>
#include <limits>

#include "agents/engine/serve/api_error.h"
#include "agents/engine/spec/json_bounds.h"

namespace slipway::serve {

using nlohmann::ordered_json;

nlohmann::ordered_json parse_body(std::string_view body) {
  const std::string excess = spec::excess_of_json(body);
  if (!excess.empty()) throw ApiError(400, "the body " + excess);
  ordered_json parsed;
  try {
    parsed = ordered_json::parse(body);
  } catch (const ordered_json::parse_error& error) {
    const std::string detail = spec::parse_error_reason(error.what());
    throw ApiError(400, "the body is not JSON at byte " + std::to_string(error.byte) + ": " + detail, "",
                   "invalid_json");
  } catch (const ordered_json::exception& error) {
    throw ApiError(400, std::string("the body is not JSON that can be read: ") + spec::parse_error_reason(error.what()),
                   "", "invalid_json");
  }
  if (!parsed.is_object()) throw ApiError(400, "the body must be a JSON object {...}", "", "invalid_json");
  return parsed;
}

std::string shown(const nlohmann::ordered_json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  std::string text = value.dump(-1, ' ', true, ordered_json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

const nlohmann::ordered_json* JsonFields::find(const std::string& name) const {
  const auto found = object_.find(name);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void JsonFields::fail(const std::string& name, const std::string& expected) const {
  const ordered_json* value = find(name);
  throw ApiError(
      400, prefix_ + name + " must be " + expected + (value == nullptr ? "; it is missing" : ", not " + shown(*value)),
      prefix_ + name, "invalid_value");
}

std::optional<int64_t> JsonFields::integer(const std::string& name, int64_t least, int64_t most) const {
  const ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  const std::string expected = "a whole number from " + std::to_string(least) + " to " + std::to_string(most);
  if (value->is_number_float()) {
    const double number = value->get<double>();
    const bool whole = std::abs(number) <= 9007199254740992.0 && number == std::floor(number);  // 2^53
    if (!whole || number < static_cast<double>(least) || number > static_cast<double>(most)) fail(name, expected);
    return static_cast<int64_t>(number);
  }
  if (!value->is_number_integer()) fail(name, expected);
  if (value->is_number_unsigned() &&
      value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    fail(name, expected);
  const auto number = value->get<int64_t>();
  if (number < least || number > most) fail(name, expected);
  return number;
}

std::optional<double> JsonFields::number(const std::string& name, double least, double most) const {
  const ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  const auto expected = [&] {
    return "a number from " + ordered_json(least).dump() + " to " + ordered_json(most).dump();
  };
  if (!value->is_number()) fail(name, expected());
  const auto number = value->get<double>();
  if (!(number >= least && number <= most)) fail(name, expected());
  return number;
}

std::optional<bool> JsonFields::boolean(const std::string& name) const {
  const ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail(name, "true or false");
  return value->get<bool>();
}

std::optional<std::string> JsonFields::text(const std::string& name) const {
  const ordered_json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(name, "a text");
  return value->get<std::string>();
}

std::vector<std::string> JsonFields::texts(const std::string& name, size_t most) const {
  const ordered_json* value = find(name);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  const std::string expected = "a text or a list of at most " + std::to_string(most) + " texts";
  if (!value->is_array() || value->size() > most) fail(name, expected);
  std::vector<std::string> result;
  for (const ordered_json& item : *value) {
    if (!item.is_string()) fail(name, expected);
    result.push_back(item.get<std::string>());
  }
  return result;
}

std::vector<int32_t> JsonFields::token_ids(const std::string& name, size_t most) const {
  const ordered_json* value = find(name);
  if (value == nullptr) return {};
  return token_id_list(*value, prefix_ + name, most);
}

std::vector<int32_t> token_id_list(const nlohmann::ordered_json& list, const std::string& name, size_t most) {
  const std::string expected = name + " must be a list of at most " + std::to_string(most) + " token ids";
  if (!list.is_array() || list.size() > most)
    throw ApiError(400, expected + ", not " + (list.is_array() ? std::to_string(list.size()) : shown(list)), name,
                   "invalid_value");
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const ordered_json& item : list) {
    if (!item.is_number_integer() ||
        (item.is_number_unsigned() &&
         item.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int32_t>::max())) ||
        item.get<int64_t>() < 0) {
      throw ApiError(400, expected + "; one entry is " + shown(item), name, "invalid_value");
    }
    ids.push_back(static_cast<int32_t>(item.get<int64_t>()));
  }
  return ids;
}

}  // namespace slipway::serve
