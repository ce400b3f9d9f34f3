// Statements, scopes and macros, see renderer.h.
#include "agents/engine/text/jinja/renderer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agents/engine/text/jinja/builtins.h"

namespace slipway::text::jinja {

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->parent) {
    const size_t position = scope->position_of(name);
    if (position < scope->names.size()) return &scope->names[position].second;
  }
  return nullptr;
}

size_t Scope::position_of(std::string_view name) const {
  if (names.size() > kFewNames) {
    const auto found = index.find(name);
    return found == index.end() ? names.size() : found->second;
  }
  size_t position = 0;
  while (position < names.size() && names[position].first != name) ++position;
  return position;
}

void Scope::set(std::string_view name, Value value) {
  const size_t position = position_of(name);
  if (position < names.size()) {
    names[position].second = std::move(value);
    return;
  }
  names.emplace_back(name, std::move(value));
  if (names.size() == kFewNames + 1) {
    for (size_t known = 0; known < kFewNames; ++known) index.emplace(names[known].first, known);
  }
  if (names.size() > kFewNames) index.emplace(name, position);
}

bool Loop::fill(size_t count) {
  while (ahead.size() < count && taken < source.size()) {
    Value item = source[taken++];
    if (!accept || accept(item)) ahead.push_back(std::move(item));
  }
  return ahead.size() >= count;
}

bool Loop::advance() {
  if (!fill(1)) return false;
  previous = index < 0 ? Value::undefined("there is no previous item") : std::move(current);
  current = std::move(ahead.front());
  ahead.pop_front();
  ++index;
  return true;
}

int64_t Loop::length() {
  fill(SIZE_MAX);
  return index + 1 + static_cast<int64_t>(ahead.size());
}

Renderer::Deeper::Deeper(Renderer& renderer) : renderer_(renderer) {
  if (++renderer_.depth_ <= renderer_.limits_.depth) return;
  --renderer_.depth_;
  fail("the template is nested or recurses more than " + std::to_string(renderer_.limits_.depth) + " deep");
}

class Macro final : public Callable {
 public:
  Macro(const Statement& statement, std::string name, std::shared_ptr<Scope> scope)
      : statement_(statement), name_(std::move(name)), scope_(std::move(scope)) {}
  const std::string& name() const override { return name_; }

  Value call(Renderer& renderer, Arguments& arguments) const override {
    const auto scope = renderer.child_of(scope_);
    const auto& parameters = statement_.parameters;
    std::vector<const Value*> given(parameters.size(), nullptr);
    std::vector<Value> rest;
    for (size_t index = 0; index < arguments.positional.size(); ++index) {
      if (index < parameters.size()) {
        given[index] = &arguments.positional[index];
      } else {
        rest.push_back(arguments.positional[index]);
      }
    }
    Dict others;
    Value caller = Value::undefined("No caller defined");
    for (auto& [key, value] : arguments.named) {
      const auto match = std::find_if(parameters.begin(), parameters.end(),
                                      [&key = key](const Parameter& p) { return p.name == key; });
      if (match != parameters.end()) {
        const Value*& slot = given[static_cast<size_t>(match - parameters.begin())];
        if (slot != nullptr) fail("macro '" + name_ + "' got several values for argument '" + key + "'");
        slot = &value;
      } else if (key == "caller" && statement_.uses_caller) {
        caller = value;
      } else {
        others.set(Value(key), value);
      }
    }
    // Whether the macro names varargs or kwargs decides if it takes what is left over.
    if (!rest.empty() && !statement_.uses_varargs) {
      fail("macro '" + name_ + "' takes not more than " + std::to_string(parameters.size()) + " argument(s)");
    }
    if (!others.items.empty() && !statement_.uses_kwargs) {
      fail("macro '" + name_ + "' takes no keyword argument '" + to_text(others.items[0].first) + "'");
    }
    for (size_t index = 0; index < parameters.size(); ++index) {
      if (given[index] != nullptr) {
        scope->set(parameters[index].name, *given[index]);
      } else if (parameters[index].fallback) {
        scope->set(parameters[index].name, renderer.evaluate(*parameters[index].fallback, scope));
      } else {
        scope->set(parameters[index].name,
                   Value::undefined("parameter '" + parameters[index].name + "' was not provided"));
      }
    }
    scope->set("varargs", Value::list(std::move(rest), ListKind::kTuple));
    scope->set("kwargs", Value::dict(std::move(others)));
    scope->set("caller", std::move(caller));
    std::string out;
    renderer.run(statement_.blocks[0], scope, out);
    return renderer.text(std::move(out));
  }

 private:
  const Statement& statement_;
  std::string name_;
  std::shared_ptr<Scope> scope_;
};

Renderer::~Renderer() {
  for (const auto& scope : captured_) scope->clear();
  for (const auto& space : namespaces_) space->attributes.clear();
}

std::string Renderer::render(const nlohmann::ordered_json& variables) {
  const auto root = std::make_shared<Scope>();
  for (const auto& [key, value] : variables.items()) root->set(key, Value::from_json(value));
  // What the template sets must not reach the variables' names, whose text belongs to `variables`.
  const auto scope = child_of(root);
  std::string out;
  output_ = &out;
  run(tree_.body, scope, out);
  return out;
}

void Renderer::charge(size_t bytes) {
  steps_ += 1 + static_cast<int64_t>(bytes / 16);
  if (steps_ > limits_.steps) fail("the template takes more than " + std::to_string(limits_.steps) + " steps");
}

Value Renderer::text(std::string text) {
  charge(text.size());
  return Value(std::move(text));
}

void Renderer::append(std::string& out, std::string_view text) {
  charge(text.size());
  if (out.size() + text.size() > limits_.output_bytes) {
    fail("the template writes more than " + std::to_string(limits_.output_bytes) + " bytes");
  }
  out += text;
}

std::shared_ptr<Scope> Renderer::child_of(const std::shared_ptr<Scope>& parent) {
  auto scope = std::make_shared<Scope>();
  scope->parent = parent.get();
  scope->owned_parent = parent;
  return scope;
}

Value Renderer::make_macro(const Statement& statement, const std::string& name, const std::shared_ptr<Scope>& scope) {
  if (captured_.empty() || captured_.back() != scope) captured_.push_back(scope);
  return std::shared_ptr<const Callable>(std::make_shared<Macro>(statement, name, scope));
}

Value Renderer::lookup(std::string_view name, const Scope& scope) const {
  if (const Value* value = scope.find(name)) return *value;
  if (auto global = find_global(name)) return *std::move(global);
  return Value::undefined("'" + std::string(name) + "' is undefined");
}

void Renderer::assign(const Expression& target, const Value& value, Scope& scope,
                      const std::shared_ptr<Scope>& reader) {
  if (target.kind == ExpressionKind::kName) {
    scope.set(target.name, value);
  } else if (target.kind == ExpressionKind::kAttribute) {
    const Value space = lookup(target.children[0]->name, *reader);
    if (!space.is_namespace()) fail("cannot assign attribute '" + target.name + "' on a value that is no namespace");
    if (target.name[0] == '_') fail("chat templates cannot store underscore-prefixed attributes on a namespace");
    if (value.depth() > 100) fail("values are nested too deeply");
    space.name_space()->set(target.name, value);
  } else {
    const auto items = iterate(value);
    if (items.size() != target.children.size()) {
      fail("cannot unpack " + std::to_string(items.size()) + " values into " + std::to_string(target.children.size()) +
           " names");
    }
    for (size_t index = 0; index < items.size(); ++index) assign(*target.children[index], items[index], scope, reader);
  }
}

Renderer::Flow Renderer::run(const Block& block, const std::shared_ptr<Scope>& scope, std::string& out) {
  for (const auto& statement : block) {
    const Flow flow = run(*statement, scope, out);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Renderer::Flow Renderer::run(const Statement& statement, const std::shared_ptr<Scope>& scope, std::string& out) {
  const Deeper deeper(*this);
  charge();
  switch (statement.kind) {
    case StatementKind::kText:
      append(out, statement.text);
      break;
    case StatementKind::kOutput: {
      const Value value = evaluate(*statement.expressions[0], scope);
      if (value.is_string()) {
        append(out, value.string());
      } else {
        append(out, to_text(value));
      }
      break;
    }
    case StatementKind::kIf:
      for (size_t index = 0; index < statement.expressions.size(); ++index) {
        if (evaluate(*statement.expressions[index], scope).truthy()) return run(statement.blocks[index], scope, out);
      }
      if (statement.blocks.size() > statement.expressions.size()) return run(statement.blocks.back(), scope, out);
      break;
    case StatementKind::kFor:
      return run_for(statement, scope, out);
    case StatementKind::kSet:
      assign(*statement.target, evaluate(*statement.expressions[0], scope), *scope, scope);
      break;
    case StatementKind::kSetBlock: {
      std::string inner;
      run(statement.blocks[0], child_of(scope), inner);
      Value value = text(std::move(inner));
      if (statement.expressions[0]) value = evaluate_filter(*statement.expressions[0], value, scope);
      assign(*statement.target, value, *scope, scope);
      break;
    }
    case StatementKind::kMacro:
      scope->set(statement.text, make_macro(statement, statement.text, scope));
      break;
    case StatementKind::kCallBlock: {
      const Value caller = make_macro(statement, "caller", scope);
      append(out, to_text(evaluate_call(*statement.expressions[0], scope, &caller)));
      break;
    }
    case StatementKind::kFilterBlock: {
      std::string inner;
      run(statement.blocks[0], child_of(scope), inner);
      append(out, to_text(evaluate_filter(*statement.expressions[0], text(std::move(inner)), scope)));
      break;
    }
    case StatementKind::kWith: {
      const auto inner = child_of(scope);
      for (const Parameter& parameter : statement.parameters)
        inner->set(parameter.name, evaluate(*parameter.fallback, scope));
      return run(statement.blocks[0], inner, out);
    }
    case StatementKind::kScope:
      return run(statement.blocks[0], child_of(scope), out);
    case StatementKind::kGeneration: {
      const size_t begin = out.size();
      run(statement.blocks[0], child_of(scope), out);
      if (&out == output_) generation_spans_.push_back({begin, out.size()});
      break;
    }
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

Renderer::Flow Renderer::run_for(const Statement& statement, const std::shared_ptr<Scope>& scope, std::string& out) {
  loop_over(statement, evaluate(*statement.expressions[0], scope), 0, scope, out);
  return Flow::kNormal;
}

void Renderer::loop_over(const Statement& statement, const Value& iterable, int depth,
                         const std::shared_ptr<Scope>& scope, std::string& out) {
  const Deeper deeper(*this);
  const auto loop = std::make_shared<Loop>();
  loop->source = iterate(iterable);
  loop->depth = depth;
  if (statement.expressions[1]) {
    loop->accept = [&](const Value& item) {
      const auto inner = child_of(scope);
      assign(*statement.target, item, *inner, inner);
      return evaluate(*statement.expressions[1], inner).truthy();
    };
  }
  if (statement.recursive) {
    loop->recurse = [&](const Value& children) {
      std::string inner;
      loop_over(statement, children, depth + 1, scope, inner);
      return text(std::move(inner));
    };
  }
  bool ran = false;
  while (loop->advance()) {
    ran = true;
    charge();
    const auto inner = child_of(scope);
    inner->set("loop", loop);
    assign(*statement.target, loop->current, *inner, inner);
    if (run(statement.blocks[0], inner, out) == Flow::kBreak) break;
  }
  // Something may have kept the loop: what it refers to ends here.
  loop->accept = nullptr;
  loop->recurse = nullptr;
  loop->source.clear();
  loop->ahead.clear();
  if (!ran) run(statement.blocks[1], child_of(scope), out);
}

}  // namespace slipway::text::jinja
