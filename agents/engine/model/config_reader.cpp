#include "agents/engine/model/config_reader.h"

#include <algorithm>
#include <cmath>

#include "backend/base/error.h"

namespace slipway::model {

void fail_config(const std::string& origin, const std::string& what) {
  throw base::Error(base::kInvalidModel, origin + ": " + what, "check the model's files, or export it again");
}

void fail_unsupported(const std::string& origin, const std::string& what, const std::string& known) {
  throw base::Error(base::kUnsupported, origin + ": " + what, "known: " + known);
}

ConfigReader::ConfigReader(const nlohmann::json& object, const std::string& origin, std::string prefix)
    : object_(object), origin_(origin), prefix_(std::move(prefix)) {}

const nlohmann::json* ConfigReader::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool ConfigReader::is_null(const char* key) const {
  const auto found = object_.find(key);
  return found != object_.end() && found->is_null();
}

int64_t ConfigReader::checked_integer(const char* key, const nlohmann::json& value) const {
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX))) {
    fail_config(origin_, "the key " + prefix_ + key + " is not a whole number");
  }
  return value.get<int64_t>();
}

int64_t ConfigReader::integer(const char* key) const {
  const auto* value = find(key);
  if (value == nullptr) fail_config(origin_, "the key " + prefix_ + key + " is missing");
  return checked_integer(key, *value);
}

int64_t ConfigReader::integer(const char* key, int64_t otherwise) const {
  const auto* value = find(key);
  return value == nullptr ? otherwise : checked_integer(key, *value);
}

double ConfigReader::number(const char* key, double otherwise) const {
  const auto* value = find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_number() || !std::isfinite(value->get<double>())) {
    fail_config(origin_, "the key " + prefix_ + key + " is not a number");
  }
  return value->get<double>();
}

double ConfigReader::number(const char* key) const {
  if (find(key) == nullptr) fail_config(origin_, "the key " + prefix_ + key + " is missing");
  return number(key, 0);
}

bool ConfigReader::boolean(const char* key, bool otherwise) const {
  const auto* value = find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) fail_config(origin_, "the key " + prefix_ + key + " is neither true nor false");
  return value->get<bool>();
}

std::string ConfigReader::text(const char* key, const std::string& otherwise) const {
  const auto* value = find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_string()) fail_config(origin_, "the key " + prefix_ + key + " is not a string");
  return value->get<std::string>();
}

std::vector<double> ConfigReader::numbers(const char* key, size_t count) const {
  const auto* value = find(key);
  const bool fits = value != nullptr && value->is_array() && value->size() == count &&
                    std::all_of(value->begin(), value->end(), [](const auto& item) { return item.is_number(); });
  if (!fits)
    fail_config(origin_, "the key " + prefix_ + key + " is not a list of " + std::to_string(count) + " numbers");
  return value->get<std::vector<double>>();
}

int32_t ConfigReader::checked_token(const char* key, const nlohmann::json& value) const {
  if (!value.is_number_integer() || value.get<int64_t>() < -1 || value.get<int64_t>() > INT32_MAX) {
    fail_config(origin_, "the key " + prefix_ + key + " is not a token id");
  }
  return value.get<int32_t>();
}

int32_t ConfigReader::token_id(const char* key) const {
  const auto* value = find(key);
  return value == nullptr ? -1 : checked_token(key, *value);
}

void ConfigReader::end_tokens(std::vector<int32_t>& ids) const {
  const auto* eos = find("eos_token_id");
  if (eos == nullptr) return;
  std::vector<int32_t> found;
  if (eos->is_array()) {
    if (eos->size() > 1024) fail_config(origin_, "the key eos_token_id lists more than 1024 ids");
    for (const auto& id : *eos) found.push_back(checked_token("eos_token_id", id));
  } else {
    found.push_back(checked_token("eos_token_id", *eos));
  }
  for (const int32_t id : found) {
    if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
}

std::vector<bool> ConfigReader::windowed_layers(int64_t layers) const {
  const auto* types = find("layer_types");
  if (types == nullptr) return {};
  if (!types->is_array() || types->size() != static_cast<size_t>(layers)) {
    fail_config(origin_,
                "the key layer_types is not a list of num_hidden_layers (" + std::to_string(layers) + ") types");
  }
  std::vector<bool> windowed;
  for (const auto& type : *types) {
    if (type != "full_attention" && type != "sliding_attention") {
      fail_unsupported(origin_, "layer_types holds " + type.dump().substr(0, 80), "full_attention, sliding_attention");
    }
    windowed.push_back(type == "sliding_attention");
  }
  return windowed;
}

Activation activation_from(const std::string& name, const std::string& origin) {
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast") return Activation::kGeluTanh;
  fail_unsupported(origin, "the activation is '" + name.substr(0, 80) + "'",
                   "silu, gelu, gelu_pytorch_tanh, gelu_new, gelu_fast");
}

const char* activation_name(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return "silu";
    case Activation::kGelu:
      return "gelu";
    case Activation::kGeluTanh:
      return "gelu_pytorch_tanh";
  }
  return "";
}

}  // namespace slipway::model
