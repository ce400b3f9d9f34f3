// Values of the template language: Python's, as far as chat templates can see them. Immutable but for namespaces and
// the position of a generator, as in Jinja's ImmutableSandboxedEnvironment. Used by everything in jinja/.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "backend/base/error.h"

namespace slipway::text::jinja {

// What a template raises, and what breaks a limit.
inline constexpr char kTemplateError[] = "CHAT_TEMPLATE";
[[noreturn]] void fail(const std::string& message);
inline constexpr size_t kMaxTextBytes = size_t{64} << 20U;  // of any one text

class Value;
class Callable;
struct Namespace;
struct Loop;

struct Undefined {
  std::shared_ptr<const std::string> message;  // what using it raises
};

enum class ListKind { kList, kTuple, kGenerator, kRange, kView };

struct List {
  std::vector<Value> items;
  ListKind kind = ListKind::kList;
  mutable bool consumed = false;  // a generator gives its items once
  std::string error;              // what a generator raises behind its items; empty if nothing
  std::string view_name;          // of a view: dict_keys and the like
  int depth = 1;                  // of nesting, this level included
  int64_t weight = 16;            // bytes that writing it out would take, more or less: shared parts count each time
};

struct Text {
  std::string text;
  bool safe = false;  // marked by |safe: adding other text to it escapes that, as MarkupSafe does
};

struct Dict {
  std::vector<std::pair<Value, Value>> items;  // in insertion order
  int depth = 1;
  int64_t weight = 16;

  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  // Replaces the value of an equal key or appends.
  void set(const Value& key, Value value);

 private:
  std::unordered_map<std::string, size_t> index_;  // of string keys
  std::vector<size_t> others_;                     // positions of the other keys
};

struct None {};

class Value {
 public:
  using Storage = std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const Text>,
                               std::shared_ptr<const List>, std::shared_ptr<const Dict>,
                               std::shared_ptr<const Callable>, std::shared_ptr<Namespace>, std::shared_ptr<Loop>>;

  Value() = default;  // undefined, without a name
  Value(None none) : storage_(none) {}
  Value(bool value) : storage_(value) {}
  Value(int64_t value) : storage_(value) {}
  Value(int value) : storage_(static_cast<int64_t>(value)) {}
  Value(size_t value) : storage_(static_cast<int64_t>(value)) {}
  Value(double value) : storage_(value) {}
  Value(std::string text, bool safe = false) : storage_(std::make_shared<const Text>(Text{std::move(text), safe})) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(std::shared_ptr<const Callable> callable) : storage_(std::move(callable)) {}
  Value(std::shared_ptr<Namespace> space) : storage_(std::move(space)) {}
  Value(std::shared_ptr<Loop> loop) : storage_(std::move(loop)) {}

  static Value undefined(std::string message);
  // These set and bound depth and weight.
  static Value list(std::vector<Value> items, ListKind kind = ListKind::kList);
  static Value generator(std::vector<Value> items, std::string error);
  static Value view(std::vector<Value> items, std::string name);
  static Value dict(Dict dict);
  // Throws for nesting beyond the bound.
  static Value from_json(const nlohmann::ordered_json& json, int depth = 0);

  bool is_undefined() const { return holds<Undefined>(); }
  bool is_none() const { return holds<None>(); }
  bool is_bool() const { return holds<bool>(); }
  bool is_int() const { return holds<int64_t>(); }
  bool is_float() const { return holds<double>(); }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  bool is_integral() const { return is_bool() || is_int(); }
  bool is_string() const { return holds<std::shared_ptr<const Text>>(); }
  bool is_list() const { return holds<std::shared_ptr<const List>>(); }  // of any kind
  bool is_dict() const { return holds<std::shared_ptr<const Dict>>(); }
  bool is_callable() const { return holds<std::shared_ptr<const Callable>>(); }
  bool is_namespace() const { return holds<std::shared_ptr<Namespace>>(); }
  bool is_loop() const { return holds<std::shared_ptr<Loop>>(); }

  const std::string& string() const { return std::get<std::shared_ptr<const Text>>(storage_)->text; }
  bool is_safe() const { return is_string() && std::get<std::shared_ptr<const Text>>(storage_)->safe; }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(storage_); }
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(storage_); }
  const std::shared_ptr<const Callable>& callable() const {
    return std::get<std::shared_ptr<const Callable>>(storage_);
  }
  const std::shared_ptr<Namespace>& name_space() const { return std::get<std::shared_ptr<Namespace>>(storage_); }
  const std::shared_ptr<Loop>& loop() const { return std::get<std::shared_ptr<Loop>>(storage_); }
  int64_t integer() const {
    return is_bool() ? static_cast<int64_t>(std::get<bool>(storage_)) : std::get<int64_t>(storage_);
  }
  double number() const { return is_float() ? std::get<double>(storage_) : static_cast<double>(integer()); }
  bool boolean() const { return std::get<bool>(storage_); }

  bool truthy() const;
  int depth() const;
  int64_t weight() const;
  const void* identity() const;  // for `is sameas`; nullptr for values without one

  std::string type_name() const;  // Python's: str, list, NoneType
  [[noreturn]] void raise_undefined() const;
  void require_defined() const {
    if (is_undefined()) raise_undefined();
  }

 private:
  template <typename T>
  bool holds() const {
    return std::holds_alternative<T>(storage_);
  }
  Storage storage_;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
  const Value* find(std::string_view name) const;
  void set(const std::string& name, Value value);
};

std::string to_text(const Value& value);  // str(value)
std::string to_repr(const Value& value);  // repr(value)
std::string float_repr(double value);
bool equals(const Value& a, const Value& b);
// Negative, zero or positive as a < b, a == b, a > b. Throws for values that Python does not order.
int compare(const Value& a, const Value& b);

struct JsonOptions {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool indented = false;
  std::string indent;  // one level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// json.dumps(value). Throws for what JSON cannot say.
std::string to_json(const Value& value, const JsonOptions& options);

}  // namespace slipway::text::jinja
