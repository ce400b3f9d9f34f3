// Global functions, and matching arguments to parameters, see builtins.h and callable.h.
#include <ctime>

#include "agents/engine/text/jinja/builtins.h"
#include "agents/engine/text/jinja/renderer.h"

namespace slipway::text::jinja {

Parameters::Parameters(const std::string& function, const Arguments& arguments, std::vector<const char*> names)
    : function_(function), names_(std::move(names)), values_(names_.size(), nullptr) {
  if (arguments.positional.size() > names_.size()) {
    fail(function_ + "() takes at most " + std::to_string(names_.size()) + " arguments, " +
         std::to_string(arguments.positional.size()) + " were given");
  }
  for (size_t index = 0; index < arguments.positional.size(); ++index) values_[index] = &arguments.positional[index];
  for (const auto& [name, value] : arguments.named) {
    size_t index = 0;
    while (index < names_.size() && name != names_[index]) ++index;
    if (index == names_.size()) fail(function_ + "() got an unexpected keyword argument '" + name + "'");
    if (values_[index] != nullptr) fail(function_ + "() got several values for argument '" + name + "'");
    values_[index] = &value;
  }
}

const Value& Parameters::required(size_t index) const {
  if (!given(index)) fail(function_ + "() misses the argument '" + names_[index] + "'");
  return *values_[index];
}

std::string Parameters::required_text(size_t index) const {
  const Value& value = required(index);
  value.require_defined();
  if (!value.is_string()) fail(function_ + "(): '" + names_[index] + "' must be str, not " + value.type_name());
  return value.string();
}

std::string Parameters::text(size_t index, const std::string& fallback) const {
  return given(index) ? required_text(index) : fallback;
}

int64_t Parameters::integer(size_t index, int64_t fallback) const {
  if (!given(index)) return fallback;
  values_[index]->require_defined();
  if (!values_[index]->is_integral())
    fail(function_ + "(): '" + names_[index] + "' must be int, not " + values_[index]->type_name());
  return values_[index]->integer();
}

namespace {

constexpr int64_t kMaxRange = 100'000;  // the sandbox's

Value make(std::string name, Function::Body body) {
  return std::shared_ptr<const Callable>(std::make_shared<Function>(std::move(name), std::move(body)));
}

Value range(Renderer& renderer, Arguments& arguments) {
  int64_t bounds[3] = {0, 0, 1};
  const auto& given = arguments.positional;
  if (given.empty() || given.size() > 3 || !arguments.named.empty()) fail("range() takes 1 to 3 arguments");
  for (const Value& value : given) {
    value.require_defined();
    if (!value.is_integral()) fail("'" + value.type_name() + "' object cannot be interpreted as an integer");
  }
  if (given.size() == 1) {
    bounds[1] = given[0].integer();
  } else {
    for (size_t index = 0; index < given.size(); ++index) bounds[index] = given[index].integer();
  }
  const auto [start, stop, step] = bounds;
  if (step == 0) fail("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (int64_t value = start; step > 0 ? value < stop : value > stop;) {
    if (static_cast<int64_t>(items.size()) >= kMaxRange)
      fail("range too big, the limit is " + std::to_string(kMaxRange));
    items.emplace_back(value);
    if (__builtin_add_overflow(value, step, &value)) break;
  }
  renderer.charge(items.size() * 24);
  return Value::list(std::move(items), ListKind::kRange);
}

// Mappings and pairs given to dict() and namespace(), then the named arguments.
Dict collect(Renderer& renderer, const std::string& function, Arguments& arguments) {
  Dict out;
  if (arguments.positional.size() > 1) fail(function + "() takes at most 1 positional argument");
  for (const Value& value : arguments.positional) {
    if (value.is_dict()) {
      out = value.dict();
      continue;
    }
    for (const Value& pair : renderer.iterate(value)) {
      const auto items = renderer.iterate(pair);
      if (items.size() != 2) fail(function + "() takes pairs");
      out.set(items[0], items[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) out.set(Value(name), value);
  renderer.charge(out.items.size() * 24);
  return out;
}

Value make_namespace(Renderer& renderer, Arguments& arguments) {
  const auto space = std::make_shared<Namespace>();
  for (const auto& [key, value] : collect(renderer, "namespace", arguments).items) {
    if (!key.is_string()) fail("a namespace's names must be strings");
    if (!key.string().empty() && key.string()[0] == '_')
      fail("chat templates cannot store underscore-prefixed attributes on a namespace");
    if (value.depth() > 100) fail("values are nested too deeply");
    space->attributes.emplace_back(key.string(), value);
  }
  renderer.register_namespace(space);
  return space;
}

Value strftime_now(Renderer&, Arguments& arguments) {
  const Parameters parameters("strftime_now", arguments, {"format"});
  const std::string format = parameters.required_text(0);
  if (format.empty() || format.size() > 256)
    return format.empty() ? Value("") : (fail("strftime_now(): the format is too long"), Value());
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[4096];
  const size_t size = std::strftime(buffer, sizeof(buffer), format.c_str(), &local);
  return std::string(buffer, size);
}

}  // namespace

std::optional<Value> find_global(std::string_view name) {
  if (name == "range") return make("range", &range);
  if (name == "namespace") return make("namespace", &make_namespace);
  if (name == "dict") {
    return make("dict", [](Renderer& renderer, Arguments& arguments) {
      return Value::dict(collect(renderer, "dict", arguments));
    });
  }
  if (name == "raise_exception") {
    return make("raise_exception", [](Renderer&, Arguments& arguments) -> Value {
      fail(to_text(Parameters("raise_exception", arguments, {"message"}).required(0)));
    });
  }
  if (name == "strftime_now") return make("strftime_now", &strftime_now);
  if (name == "joiner") {
    return make("joiner", [](Renderer& renderer, Arguments& arguments) {
      const Parameters parameters("joiner", arguments, {"sep"});
      const auto used = std::make_shared<bool>(false);
      (void)renderer;
      return make("joiner", [used, separator = parameters.text(0, ", ")](Renderer&, Arguments&) -> Value {
        return std::exchange(*used, true) ? separator : "";
      });
    });
  }
  return std::nullopt;
}

}  // namespace slipway::text::jinja
