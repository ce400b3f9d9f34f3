// Values: making, comparing and printing them as Python does, see value.h.
#include "agents/engine/text/jinja/value.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "agents/engine/text/jinja/callable.h"
#include "agents/engine/text/unicode.h"

namespace slipway::text::jinja {

namespace {
constexpr int kMaxValueDepth = 200;
constexpr auto kMaxWeight = static_cast<int64_t>(kMaxTextBytes);
constexpr size_t kMaxOtherKeys = 1000;  // keys that are no strings are looked for one by one
constexpr size_t kMaxAttributes = 1000;

int checked_depth(int depth) {
  if (depth > kMaxValueDepth) fail("values are nested more than " + std::to_string(kMaxValueDepth) + " deep");
  return depth;
}

void checked_weight(int64_t weight) {
  if (weight > kMaxWeight) fail("a value is larger than " + std::to_string(kMaxWeight) + " bytes");
}
}  // namespace

void fail(const std::string& message) { throw base::Error(kTemplateError, message); }

const Value* Dict::find(std::string_view key) const {
  if (index_.empty()) return nullptr;
  const auto found = index_.find(std::string(key));
  return found == index_.end() ? nullptr : &items[found->second].second;
}

const Value* Dict::find(const Value& key) const {
  if (key.is_string()) return find(std::string_view(key.string()));
  for (const size_t position : others_) {
    if (equals(items[position].first, key)) return &items[position].second;
  }
  return nullptr;
}

void Dict::set(const Value& key, Value value) {
  if (key.is_list() && key.list().kind != ListKind::kTuple) fail("unhashable type: '" + key.type_name() + "'");
  if (key.is_dict()) fail("unhashable type: 'dict'");
  depth = std::max({depth, value.depth() + 1, key.depth() + 1});
  checked_depth(depth);
  weight += key.weight() + value.weight();
  checked_weight(weight);
  if (key.is_string()) {
    const auto [slot, is_new] = index_.emplace(key.string(), items.size());
    if (is_new) {
      items.emplace_back(key, std::move(value));
    } else {
      items[slot->second].second = std::move(value);
    }
    return;
  }
  for (const size_t position : others_) {
    if (!equals(items[position].first, key)) continue;
    items[position].second = std::move(value);
    return;
  }
  if (others_.size() >= kMaxOtherKeys)
    fail("a mapping has more than " + std::to_string(kMaxOtherKeys) + " keys that are not strings");
  others_.push_back(items.size());
  items.emplace_back(key, std::move(value));
}

Value Value::undefined(std::string message) {
  Value out;
  out.storage_ = Undefined{std::make_shared<const std::string>(std::move(message))};
  return out;
}

namespace {
std::shared_ptr<List> make_list(std::vector<Value> items, ListKind kind) {
  auto list = std::make_shared<List>();
  for (const Value& item : items) {
    list->depth = std::max(list->depth, item.depth() + 1);
    list->weight += item.weight();
    checked_weight(list->weight);
  }
  checked_depth(list->depth);
  list->items = std::move(items);
  list->kind = kind;
  return list;
}
}  // namespace

Value Value::list(std::vector<Value> items, ListKind kind) {
  Value out;
  out.storage_ = std::shared_ptr<const List>(make_list(std::move(items), kind));
  return out;
}

Value Value::generator(std::vector<Value> items, std::string error) {
  auto list = make_list(std::move(items), ListKind::kGenerator);
  list->error = std::move(error);
  Value out;
  out.storage_ = std::shared_ptr<const List>(std::move(list));
  return out;
}

Value Value::view(std::vector<Value> items, std::string name) {
  auto list = make_list(std::move(items), ListKind::kView);
  list->view_name = std::move(name);
  Value out;
  out.storage_ = std::shared_ptr<const List>(std::move(list));
  return out;
}

Value Value::dict(Dict dict) {
  Value out;
  out.storage_ = std::shared_ptr<const Dict>(std::make_shared<Dict>(std::move(dict)));
  return out;
}

Value Value::from_json(const nlohmann::ordered_json& json, int depth) {
  checked_depth(depth);
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::boolean:
      return json.get<bool>();
    case nlohmann::ordered_json::value_t::number_integer:
      return json.get<int64_t>();
    case nlohmann::ordered_json::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number > static_cast<uint64_t>(INT64_MAX)) fail("the number " + std::to_string(number) + " is too large");
      return static_cast<int64_t>(number);
    }
    case nlohmann::ordered_json::value_t::number_float:
      return json.get<double>();
    case nlohmann::ordered_json::value_t::string: {
      const auto& text = json.get_ref<const std::string&>();
      return is_valid_utf8(text) ? Value(text) : Value(repair_utf8(text));
    }
    case nlohmann::ordered_json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(from_json(item, depth + 1));
      return list(std::move(items));
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict out;
      for (const auto& [key, value] : json.items())
        out.set(Value(is_valid_utf8(key) ? key : repair_utf8(key)), from_json(value, depth + 1));
      return dict(std::move(out));
    }
    default:
      return None{};
  }
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_bool()) return boolean();
  if (is_int()) return integer() != 0;
  if (is_float()) return number() != 0;
  if (is_string()) return !string().empty();
  if (is_list()) return list().kind == ListKind::kGenerator || !list().items.empty();
  if (is_dict()) return !dict().items.empty();
  return true;
}

int Value::depth() const {
  if (is_list()) return list().depth;
  if (is_dict()) return dict().depth;
  return 0;
}

int64_t Value::weight() const {
  if (is_string()) return static_cast<int64_t>(string().size()) + 8;
  if (is_list()) return list().weight;
  if (is_dict()) return dict().weight;
  return 8;
}

const void* Value::identity() const {
  if (is_string()) return &string();
  if (is_list()) return &list();
  if (is_dict()) return &dict();
  if (is_callable()) return callable().get();
  if (is_namespace()) return name_space().get();
  if (is_loop()) return loop().get();
  return nullptr;
}

std::string Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_dict()) return "dict";
  if (is_callable()) return "function";
  if (is_namespace()) return "Namespace";
  if (is_loop()) return "LoopContext";
  switch (list().kind) {
    case ListKind::kTuple:
      return "tuple";
    case ListKind::kGenerator:
      return "generator";
    case ListKind::kRange:
      return "range";
    case ListKind::kView:
      return "dict view";
    default:
      return "list";
  }
}

void Value::raise_undefined() const {
  const auto& message = std::get<Undefined>(storage_).message;
  fail(message ? *message : "an undefined value is used");
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [known, value] : attributes) {
    if (known == name) return &value;
  }
  return nullptr;
}

void Namespace::set(const std::string& name, Value value) {
  for (auto& [known, old] : attributes) {
    if (known != name) continue;
    old = std::move(value);
    return;
  }
  if (attributes.size() >= kMaxAttributes)
    fail("a namespace has more than " + std::to_string(kMaxAttributes) + " attributes");
  attributes.emplace_back(name, std::move(value));
}

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // Python: the shortest digits that read back the same, in positional form for exponents from -4 to 15.
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  const std::string scientific(buffer, end);
  const size_t mark = scientific.find('e');
  const int exponent = std::atoi(scientific.c_str() + mark + 1);
  if (exponent < -4 || exponent >= 16) {
    std::string exponent_text = std::to_string(std::abs(exponent));
    if (exponent_text.size() < 2) exponent_text.insert(0, 1, '0');
    return scientific.substr(0, mark) + "e" + (exponent < 0 ? "-" : "+") + exponent_text;
  }
  std::string digits;
  for (const char c : scientific.substr(0, mark)) {
    if (c >= '0' && c <= '9') digits.push_back(c);
  }
  std::string out = scientific[0] == '-' ? "-" : "";
  if (exponent < 0) {
    out += "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  } else {
    const size_t whole = static_cast<size_t>(exponent) + 1;
    if (digits.size() < whole) digits.append(whole - digits.size(), '0');
    out += digits.substr(0, whole) + "." + (digits.size() > whole ? digits.substr(whole) : "0");
  }
  return out;
}

namespace {

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  const auto mask = U_GET_GC_MASK(static_cast<UChar32>(c));
  return (mask & (U_GC_C_MASK | U_GC_Z_MASK)) == 0;
}

std::string string_repr(const std::string& text) {
  const bool use_double = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = use_double ? '"' : '\'';
  std::string out(1, quote);
  char buffer[16];
  for (size_t position = 0; position < text.size();) {
    const char32_t c = next_code_point(text, position);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out.push_back('\\');
      out.push_back(static_cast<char>(c));
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      append_utf8(out, c);
    } else {
      std::snprintf(buffer, sizeof(buffer),
                    c < 0x100     ? "\\x%02x"
                    : c < 0x10000 ? "\\u%04x"
                                  : "\\U%08x",
                    static_cast<unsigned>(c));
      out += buffer;
    }
  }
  out.push_back(quote);
  return out;
}

std::string list_repr(const List& list) {
  if (list.kind == ListKind::kGenerator) return "<generator object>";
  if (list.kind == ListKind::kRange) {
    const auto at = [&](size_t index) { return index < list.items.size() ? list.items[index].integer() : 0; };
    const int64_t step = list.items.size() > 1 ? at(1) - at(0) : 1;
    const int64_t last = list.items.empty() ? 0 : at(list.items.size() - 1) + step;
    return "range(" + std::to_string(at(0)) + ", " + std::to_string(last) +
           (step == 1 ? ")" : ", " + std::to_string(step) + ")");
  }
  std::string out = list.kind == ListKind::kTuple  ? std::string("(")
                    : list.kind == ListKind::kView ? list.view_name + "(["
                                                   : "[";
  for (size_t index = 0; index < list.items.size(); ++index) {
    if (index > 0) out += ", ";
    out += to_repr(list.items[index]);
  }
  if (list.kind == ListKind::kTuple) return out + (list.items.size() == 1 ? ",)" : ")");
  return out + (list.kind == ListKind::kView ? "])" : "]");
}

}  // namespace

std::string to_repr(const Value& value) {
  if (value.is_string()) return string_repr(value.string());
  if (value.is_undefined()) return "Undefined";
  if (value.is_list()) return list_repr(value.list());
  if (value.is_dict()) {
    std::string out = "{";
    for (const auto& [key, item] : value.dict().items) {
      if (out.size() > 1) out += ", ";
      out += to_repr(key) + ": " + to_repr(item);
    }
    return out + "}";
  }
  return to_text(value);
}

std::string to_text(const Value& value) {
  if (value.is_undefined()) return "";
  if (value.is_none()) return "None";
  if (value.is_bool()) return value.boolean() ? "True" : "False";
  if (value.is_int()) return std::to_string(value.integer());
  if (value.is_float()) return float_repr(value.number());
  if (value.is_string()) return value.string();
  if (value.is_callable()) return "<" + value.callable()->name() + ">";
  if (value.is_namespace()) return "<Namespace>";
  if (value.is_loop()) return "<LoopContext>";
  return to_repr(value);
}

bool equals(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.integer() == b.integer();
    return a.number() == b.number();
  }
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_list() && b.is_list()) {
    const List& left = a.list();
    const List& right = b.list();
    if (&left == &right) return true;
    if (left.kind != right.kind || left.kind == ListKind::kGenerator) return false;
    return std::equal(left.items.begin(), left.items.end(), right.items.begin(), right.items.end(), &equals);
  }
  if (a.is_dict() && b.is_dict()) {
    if (a.dict().items.size() != b.dict().items.size()) return false;
    return std::all_of(a.dict().items.begin(), a.dict().items.end(), [&](const auto& item) {
      const Value* other = b.dict().find(item.first);
      return other != nullptr && equals(item.second, *other);
    });
  }
  return a.identity() != nullptr && a.identity() == b.identity();
}

int compare(const Value& a, const Value& b) {
  a.require_defined();
  b.require_defined();
  if (a.is_integral() && b.is_integral()) return a.integer() < b.integer() ? -1 : a.integer() > b.integer() ? 1 : 0;
  if (a.is_number() && b.is_number()) {
    if (std::isnan(a.number()) || std::isnan(b.number())) fail("nan cannot be ordered");
    return a.number() < b.number() ? -1 : a.number() > b.number() ? 1 : 0;
  }
  if (a.is_string() && b.is_string()) return a.string().compare(b.string());  // UTF-8 orders as code points do
  if (a.is_list() && b.is_list() && a.list().kind == b.list().kind && a.list().kind <= ListKind::kTuple) {
    const auto& left = a.list().items;
    const auto& right = b.list().items;
    for (size_t index = 0; index < std::min(left.size(), right.size()); ++index) {
      if (!equals(left[index], right[index])) return compare(left[index], right[index]);
    }
    return left.size() < right.size() ? -1 : left.size() > right.size() ? 1 : 0;
  }
  fail("'<' not supported between instances of '" + a.type_name() + "' and '" + b.type_name() + "'");
}

namespace {

void append_json_string(std::string& out, const std::string& text, bool ensure_ascii) {
  out.push_back('"');
  char buffer[16];
  const auto escape = [&](unsigned unit) {
    std::snprintf(buffer, sizeof(buffer), "\\u%04x", unit);
    out += buffer;
  };
  for (size_t position = 0; position < text.size();) {
    const char32_t c = next_code_point(text, position);
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\b':
        out += "\\b";
        break;
      default:
        if (c < 0x20 || (ensure_ascii && c > 0x7E && c < 0x10000)) {
          escape(c);
        } else if (ensure_ascii && c >= 0x10000) {
          escape(0xD800U + ((c - 0x10000U) >> 10U));
          escape(0xDC00U + ((c - 0x10000U) & 0x3FFU));
        } else {
          append_utf8(out, c);
        }
    }
  }
  out.push_back('"');
}

std::string json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return float_repr(value);
}

std::string json_key(const Value& key) {
  if (key.is_string()) return key.string();
  if (key.is_bool()) return key.boolean() ? "true" : "false";
  if (key.is_none()) return "null";
  if (key.is_int()) return std::to_string(key.integer());
  if (key.is_float()) return json_number(key.number());
  fail("keys must be str, int, float, bool or None, not " + key.type_name());
}

void append_json(std::string& out, const Value& value, const JsonOptions& options, int level) {
  const auto line = [&](int at) {
    if (!options.indented) return;
    out.push_back('\n');
    for (int count = 0; count < at; ++count) out += options.indent;
  };
  if (value.is_none()) {
    out += "null";
  } else if (value.is_bool()) {
    out += value.boolean() ? "true" : "false";
  } else if (value.is_int()) {
    out += std::to_string(value.integer());
  } else if (value.is_float()) {
    out += json_number(value.number());
  } else if (value.is_string()) {
    append_json_string(out, value.string(), options.ensure_ascii);
  } else if (value.is_list() && value.list().kind <= ListKind::kTuple) {
    out.push_back('[');
    bool first = true;
    for (const Value& item : value.list().items) {
      if (!first) out += options.item_separator;
      first = false;
      line(level + 1);
      append_json(out, item, options, level + 1);
    }
    if (!first) line(level);
    out.push_back(']');
  } else if (value.is_dict()) {
    out.push_back('{');
    auto items = value.dict().items;
    if (options.sort_keys) {
      std::stable_sort(items.begin(), items.end(),
                       [](const auto& a, const auto& b) { return compare(a.first, b.first) < 0; });
    }
    bool first = true;
    for (const auto& [key, item] : items) {
      if (!first) out += options.item_separator;
      first = false;
      line(level + 1);
      append_json_string(out, json_key(key), options.ensure_ascii);
      out += options.key_separator;
      append_json(out, item, options, level + 1);
    }
    if (!first) line(level);
    out.push_back('}');
  } else {
    value.require_defined();
    fail("Object of type " + value.type_name() + " is not JSON serializable");
  }
}

}  // namespace

std::string to_json(const Value& value, const JsonOptions& options) {
  std::string out;
  append_json(out, value, options, 0);
  return out;
}

}  // namespace slipway::text::jinja
