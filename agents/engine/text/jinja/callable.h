// What a template can call: macros, global functions, bound methods. Implemented in renderer.cpp, functions.cpp,
// methods.cpp.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "agents/engine/text/jinja/value.h"

namespace slipway::text::jinja {

class Renderer;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

class Callable {
 public:
  virtual ~Callable() = default;
  virtual const std::string& name() const = 0;
  virtual Value call(Renderer& renderer, Arguments& arguments) const = 0;
};

class Function final : public Callable {
 public:
  using Body = std::function<Value(Renderer&, Arguments&)>;
  Function(std::string name, Body body) : name_(std::move(name)), body_(std::move(body)) {}
  const std::string& name() const override { return name_; }
  Value call(Renderer& renderer, Arguments& arguments) const override { return body_(renderer, arguments); }

 private:
  std::string name_;
  Body body_;
};

// Matches arguments to a builtin's parameters. Throws when there are too many, unknown ones or one twice.
class Parameters {
 public:
  Parameters(const std::string& function, const Arguments& arguments, std::vector<const char*> names);

  bool given(size_t index) const { return values_[index] != nullptr; }
  const Value& required(size_t index) const;
  Value value(size_t index, Value fallback) const { return given(index) ? *values_[index] : std::move(fallback); }
  // These throw for values of another type.
  std::string text(size_t index, const std::string& fallback) const;
  std::string required_text(size_t index) const;
  int64_t integer(size_t index, int64_t fallback) const;
  bool boolean(size_t index, bool fallback) const { return given(index) ? values_[index]->truthy() : fallback; }

 private:
  std::string function_;
  std::vector<const char*> names_;
  std::vector<const Value*> values_;
};

}  // namespace slipway::text::jinja
