// Expressions: operators, look-ups and calls with Python's meaning, see renderer.h.
#include <algorithm>
#include <cmath>

#include "agents/engine/text/jinja/builtins.h"
#include "agents/engine/text/jinja/renderer.h"
#include "agents/engine/text/jinja/strings.h"
#include "agents/engine/text/unicode.h"

namespace slipway::text::jinja {

namespace {

constexpr size_t kMaxListItems = 1'000'000;

[[noreturn]] void bad_operands(const std::string& name, const Value& left, const Value& right) {
  left.require_defined();
  right.require_defined();
  fail("unsupported operand type(s) for " + name + ": '" + left.type_name() + "' and '" + right.type_name() + "'");
}

// By reference: the result is there only once the operation has run.
int64_t checked(bool overflow, const int64_t& result) {
  if (overflow) fail("a number is too large");
  return result;
}

int64_t floor_divide(int64_t left, int64_t right) {
  if (right == 0) fail("division by zero");
  if (left == INT64_MIN && right == -1) fail("a number is too large");
  const int64_t quotient = left / right;
  return left % right != 0 && (left < 0) != (right < 0) ? quotient - 1 : quotient;
}

int64_t modulo(int64_t left, int64_t right) {
  if (right == 0) fail("integer modulo by zero");
  if (right == -1) return 0;
  const int64_t rest = left % right;
  return rest != 0 && (rest < 0) != (right < 0) ? rest + right : rest;
}

double float_modulo(double left, double right) {
  if (right == 0) fail("float modulo by zero");
  const double rest = std::fmod(left, right);
  return rest != 0 && (rest < 0) != (right < 0) ? rest + right : rest;
}

Value integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  int64_t result = 1;
  for (int64_t count = 0; count < exponent; ++count) {
    if (base == 0 || base == 1) return exponent == 0 ? int64_t{1} : base;
    if (base == -1) return exponent % 2 == 0 ? int64_t{1} : int64_t{-1};
    int64_t next = 0;
    result = checked(__builtin_mul_overflow(result, base, &next), next);
  }
  return result;
}

Value arithmetic(const std::string& name, const Value& left, const Value& right) {
  if (name == "/") {
    if (right.number() == 0) fail("division by zero");
    return left.number() / right.number();
  }
  if (left.is_integral() && right.is_integral()) {
    const int64_t a = left.integer();
    const int64_t b = right.integer();
    int64_t result = 0;
    if (name == "+") return checked(__builtin_add_overflow(a, b, &result), result);
    if (name == "-") return checked(__builtin_sub_overflow(a, b, &result), result);
    if (name == "*") return checked(__builtin_mul_overflow(a, b, &result), result);
    if (name == "//") return floor_divide(a, b);
    if (name == "%") return modulo(a, b);
    return integer_power(a, b);
  }
  const double a = left.number();
  const double b = right.number();
  if (name == "+") return a + b;
  if (name == "-") return a - b;
  if (name == "*") return a * b;
  if (name == "%") return float_modulo(a, b);
  if (name == "//") {
    if (b == 0) fail("float floor division by zero");
    return std::floor(a / b);
  }
  return std::pow(a, b);
}

Value repeat(const Value& value, int64_t count) {
  count = std::max<int64_t>(0, count);
  if (value.is_string()) {
    const std::string& text = value.string();
    if (!text.empty() && static_cast<uint64_t>(count) > kMaxTextBytes / text.size()) fail("a text is too long");
    std::string out;
    out.reserve(text.size() * static_cast<size_t>(count));
    for (int64_t index = 0; index < count; ++index) out += text;
    return out;
  }
  const auto& items = value.list().items;
  if (!items.empty() && static_cast<uint64_t>(count) > kMaxListItems / items.size()) fail("a list is too long");
  std::vector<Value> out;
  for (int64_t index = 0; index < count; ++index) out.insert(out.end(), items.begin(), items.end());
  return Value::list(std::move(out), value.list().kind);
}

bool is_sequence(const Value& value) { return value.is_list() && value.list().kind <= ListKind::kTuple; }

// Index of a sequence of `size` items, negative ones counted from the end; -1 when outside.
int64_t position_in(int64_t index, size_t size) {
  const auto length = static_cast<int64_t>(size);
  if (index < 0) index += length;
  return index >= 0 && index < length ? index : -1;
}

Value loop_attribute(Loop& loop, std::string_view name) {
  if (name == "index") return loop.index + 1;
  if (name == "index0") return loop.index;
  if (name == "first") return loop.index == 0;
  if (name == "last") return !loop.fill(1);
  if (name == "length") return loop.length();
  if (name == "revindex") return loop.length() - loop.index;
  if (name == "revindex0") return loop.length() - loop.index - 1;
  if (name == "depth") return loop.depth + 1;
  if (name == "depth0") return loop.depth;
  if (name == "previtem") return loop.previous;
  if (name == "nextitem") return loop.fill(1) ? loop.ahead.front() : Value::undefined("there is no next item");
  return Value::undefined("'loop' has no attribute '" + std::string(name) + "'");
}

Value loop_method(const std::shared_ptr<Loop>& loop, std::string_view name) {
  const auto make = [](std::string method, Function::Body body) {
    return Value(std::shared_ptr<const Callable>(std::make_shared<Function>(std::move(method), std::move(body))));
  };
  if (name == "cycle") {
    return make("cycle", [loop](Renderer&, Arguments& arguments) {
      if (arguments.positional.empty()) fail("no items for cycling given");
      return arguments.positional[static_cast<size_t>(loop->index) % arguments.positional.size()];
    });
  }
  if (name == "changed") {
    return make("changed", [weak = std::weak_ptr<Loop>(loop)](Renderer&, Arguments& arguments) -> Value {
      const auto here = weak.lock();
      Value now = Value::list(arguments.positional, ListKind::kTuple);
      if (!here || (here->has_last_changed && equals(here->last_changed, now))) return false;
      here->has_last_changed = true;
      here->last_changed = std::move(now);
      return true;
    });
  }
  return loop_attribute(*loop, name);
}

}  // namespace

Value Renderer::attribute(const Value& object, std::string_view name) {
  object.require_defined();
  if (object.is_namespace()) {
    const Value* found = object.name_space()->find(name);
    return found != nullptr ? *found
                            : Value::undefined("'namespace object' has no attribute '" + std::string(name) + "'");
  }
  if (object.is_loop()) return loop_method(object.loop(), name);
  if (object.is_callable() && name == "name") return object.callable()->name();
  if (auto method = find_method(object, name)) return *std::move(method);
  if (name.substr(0, 2) == "__" && !object.is_dict()) {
    return Value::undefined("access to attribute '" + std::string(name) + "' of '" + object.type_name() +
                            "' object is unsafe.");
  }
  if (object.is_dict()) {
    if (const Value* found = object.dict().find(name)) return *found;
  }
  return Value::undefined("'" + object.type_name() + " object' has no attribute '" + std::string(name) + "'");
}

Value Renderer::item(const Value& object, const Value& key) {
  object.require_defined();
  if (object.is_dict()) {
    if (key.is_list() && key.list().kind != ListKind::kTuple) fail("unhashable type: 'list'");
    if (const Value* found = object.dict().find(key)) return *found;
  } else if (key.is_integral() &&
             (is_sequence(object) || (object.is_list() && object.list().kind == ListKind::kRange))) {
    const int64_t position = position_in(key.integer(), object.list().items.size());
    if (position >= 0) return object.list().items[static_cast<size_t>(position)];
  } else if (key.is_integral() && object.is_string()) {
    const std::string& text = object.string();
    charge(text.size());
    const int64_t position = position_in(key.integer(), count_code_points(text));
    if (position >= 0) {
      size_t begin = 0;
      for (int64_t count = 0; count < position; ++count) begin += utf8_length(static_cast<unsigned char>(text[begin]));
      return text.substr(begin, utf8_length(static_cast<unsigned char>(text[begin])));
    }
  }
  if (key.is_string()) return attribute(object, key.string());
  return Value::undefined("'" + object.type_name() + " object' has no element " + to_repr(key));
}

Value Renderer::slice(const Value& object, const Value& start, const Value& stop, const Value& step) {
  object.require_defined();
  const auto bound = [](const Value& value, int64_t fallback) {
    value.require_defined();
    if (value.is_none()) return fallback;
    if (!value.is_integral()) fail("slice indices must be integers or None");
    return value.integer();
  };
  const bool is_text = object.is_string();
  if (!is_text &&
      !(object.is_list() && object.list().kind != ListKind::kGenerator && object.list().kind != ListKind::kView)) {
    if (object.is_dict()) fail("unhashable type: 'slice'");
    return Value::undefined("'" + object.type_name() + " object' cannot be sliced");
  }
  const auto length = static_cast<int64_t>(is_text ? count_code_points(object.string()) : object.list().items.size());
  charge(static_cast<size_t>(length) * (is_text ? 1 : 24));
  const int64_t stride = bound(step, 1);
  if (stride == 0) fail("slice step cannot be zero");
  const auto clamp = [&](int64_t index) {
    if (index < 0) index += length;
    return std::clamp<int64_t>(index, stride < 0 ? -1 : 0, stride < 0 ? length - 1 : length);
  };
  const int64_t from = start.is_none() ? (stride < 0 ? length - 1 : 0) : clamp(bound(start, 0));
  const int64_t to = stop.is_none() ? (stride < 0 ? -1 : length) : clamp(bound(stop, 0));
  if (is_text && stride == 1) {
    const std::string& whole = object.string();
    size_t begin = 0;
    for (int64_t count = 0; count < from; ++count) begin += utf8_length(static_cast<unsigned char>(whole[begin]));
    size_t end = begin;
    for (int64_t count = from; count < to; ++count) end += utf8_length(static_cast<unsigned char>(whole[end]));
    return Value(whole.substr(begin, end - begin));
  }
  std::vector<std::string> characters;
  if (is_text) {
    charge(object.string().size() * 32);
    characters = characters_of(object.string());
  }
  std::string text_out;
  std::vector<Value> items;
  for (int64_t index = from; stride > 0 ? index < to : index > to;) {
    if (is_text) {
      text_out += characters[static_cast<size_t>(index)];
    } else {
      items.push_back(object.list().items[static_cast<size_t>(index)]);
    }
    if (__builtin_add_overflow(index, stride, &index)) break;
  }
  return is_text ? text(std::move(text_out)) : Value::list(std::move(items), object.list().kind);
}

std::vector<Value> Renderer::iterate(const Value& value) {
  if (value.is_undefined()) {
    return {};
  }
  if (value.is_list()) {
    const List& list = value.list();
    charge(list.items.size() * 24);
    if (list.kind == ListKind::kGenerator) {
      if (list.consumed) return {};
      list.consumed = true;
      if (!list.error.empty()) fail(list.error);
    }
    return list.items;
  }
  std::vector<Value> out;
  if (value.is_dict()) {
    for (const auto& item : value.dict().items) out.push_back(item.first);
  } else if (value.is_string()) {
    charge(value.string().size() * 64);
    for (std::string& character : characters_of(value.string())) out.emplace_back(std::move(character));
  } else if (value.is_loop()) {
    fail("a loop cannot be iterated again");
  } else {
    fail("'" + value.type_name() + "' object is not iterable");
  }
  charge(out.size() * 24);
  return out;
}

Value Renderer::call(const Value& callee, Arguments& arguments) {
  const Deeper deeper(*this);
  charge();
  callee.require_defined();
  if (callee.is_loop()) {
    if (!callee.loop()->recurse) fail("the loop is not recursive, or has ended");
    if (arguments.positional.size() != 1) fail("loop() takes one argument");
    return callee.loop()->recurse(arguments.positional[0]);
  }
  if (!callee.is_callable()) fail("'" + callee.type_name() + "' object is not callable");
  return callee.callable()->call(*this, arguments);
}

Arguments Renderer::evaluate_arguments(const Expression& expression, const std::shared_ptr<Scope>& scope) {
  Arguments out;
  for (const Argument& argument : expression.arguments) {
    Value value = evaluate(*argument.value, scope);
    switch (argument.kind) {
      case Argument::Kind::kPositional:
        out.positional.push_back(std::move(value));
        break;
      case Argument::Kind::kNamed:
        out.named.emplace_back(argument.name, std::move(value));
        break;
      case Argument::Kind::kList:
        for (Value& item : iterate(value)) out.positional.push_back(std::move(item));
        break;
      case Argument::Kind::kDict:
        if (!value.is_dict()) fail("the argument after ** must be a mapping");
        for (const auto& [key, item] : value.dict().items) {
          if (!key.is_string()) fail("keywords must be strings");
          out.named.emplace_back(key.string(), item);
        }
        break;
    }
  }
  return out;
}

Value Renderer::evaluate_call(const Expression& expression, const std::shared_ptr<Scope>& scope, const Value* caller) {
  const Value callee = evaluate(*expression.children[0], scope);
  Arguments arguments = evaluate_arguments(expression, scope);
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  return call(callee, arguments);
}

Value Renderer::apply_filter(const std::string& name, const Value& input, const Arguments& arguments) {
  const Filter filter = find_filter(name);
  if (filter == nullptr) fail("no filter named '" + name + "'");
  charge();
  return filter(*this, input, arguments);
}

bool Renderer::apply_test(const std::string& name, const Value& input, const Arguments& arguments) {
  const Test test = find_test(name);
  if (test == nullptr) fail("no test named '" + name + "'");
  charge();
  return test(*this, input, arguments);
}

// A chain of filters: the innermost one has no child when `input` stands for it.
Value Renderer::evaluate_filter(const Expression& expression, const Value& input, const std::shared_ptr<Scope>& scope) {
  const Deeper deeper(*this);
  const Value inner = expression.children[0] ? evaluate_filter(*expression.children[0], input, scope) : input;
  return apply_filter(expression.name, inner, evaluate_arguments(expression, scope));
}

Value Renderer::binary(const std::string& name, const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) return arithmetic(name, left, right);
  if (name == "+") {
    if (left.is_string() && right.is_string()) {
      if (left.string().size() + right.string().size() > kMaxTextBytes) fail("a text is too long");
      charge(left.string().size() + right.string().size());
      if (!left.is_safe() && !right.is_safe()) return Value(left.string() + right.string());
      const auto escaped = [](const Value& value) {
        return value.is_safe() ? value.string() : escape_html(value.string());
      };
      return Value(escaped(left) + escaped(right), true);
    }
    if (is_sequence(left) && is_sequence(right) && left.list().kind == right.list().kind) {
      std::vector<Value> items = left.list().items;
      items.insert(items.end(), right.list().items.begin(), right.list().items.end());
      if (items.size() > kMaxListItems) fail("a list is too long");
      charge(items.size() * 24);
      return Value::list(std::move(items), left.list().kind);
    }
  } else if (name == "*") {
    Value out;
    if ((left.is_string() || is_sequence(left)) && right.is_integral()) out = repeat(left, right.integer());
    if (left.is_integral() && (right.is_string() || is_sequence(right))) out = repeat(right, left.integer());
    if (!out.is_undefined()) {
      charge(out.is_string() ? out.string().size() : out.list().items.size() * 24);
      return out;
    }
  } else if (name == "%" && left.is_string()) {
    return text(format_percent(left.string(), right));
  }
  bad_operands(name, left, right);
}

bool Renderer::compare_with(const std::string& name, const Value& left, const Value& right) {
  charge(static_cast<size_t>(std::min(left.weight(), right.weight())));
  if (name == "==") return equals(left, right);
  if (name == "!=") return !equals(left, right);
  if (name == "in" || name == "not in") {
    bool found = false;
    if (right.is_string()) {
      left.require_defined();
      if (!left.is_string()) fail("'in <string>' requires string as left operand, not " + left.type_name());
      charge(right.string().size());
      found = right.string().find(left.string()) != std::string::npos;
    } else if (right.is_dict()) {
      found = right.dict().find(left) != nullptr;
    } else {
      charge(static_cast<size_t>(right.weight()));
      const auto items = iterate(right);
      found = std::any_of(items.begin(), items.end(), [&](const Value& item) { return equals(item, left); });
    }
    return found == (name == "in");
  }
  const int order = compare(left, right);
  if (name == "<") return order < 0;
  if (name == "<=") return order <= 0;
  if (name == ">") return order > 0;
  return order >= 0;
}

Value Renderer::evaluate(const Expression& expression, const std::shared_ptr<Scope>& scope) {
  const Deeper deeper(*this);
  charge();
  const auto child = [&](size_t index) { return evaluate(*expression.children[index], scope); };
  switch (expression.kind) {
    case ExpressionKind::kConstant:
      return expression.constant;
    case ExpressionKind::kName:
      return lookup(expression.name, *scope);
    case ExpressionKind::kList:
    case ExpressionKind::kTuple: {
      std::vector<Value> items;
      items.reserve(expression.children.size());
      for (size_t index = 0; index < expression.children.size(); ++index) items.push_back(child(index));
      return Value::list(std::move(items),
                         expression.kind == ExpressionKind::kList ? ListKind::kList : ListKind::kTuple);
    }
    case ExpressionKind::kDict: {
      Dict dict;
      for (size_t index = 0; index + 1 < expression.children.size(); index += 2) {
        const Value key = child(index);
        dict.set(key, child(index + 1));
      }
      return Value::dict(std::move(dict));
    }
    case ExpressionKind::kAttribute:
      return attribute(child(0), expression.name);
    case ExpressionKind::kItem: {
      const Value object = child(0);
      return item(object, child(1));
    }
    case ExpressionKind::kSlice: {
      const Value object = child(0);
      const auto part = [&](size_t index) { return expression.children[index] ? child(index) : Value(None{}); };
      const Value start = part(1);
      const Value stop = part(2);
      return slice(object, start, stop, part(3));
    }
    case ExpressionKind::kCall:
      return evaluate_call(expression, scope, nullptr);
    case ExpressionKind::kFilter: {
      const Value input = child(0);
      return apply_filter(expression.name, input, evaluate_arguments(expression, scope));
    }
    case ExpressionKind::kTest: {
      const Value input = child(0);
      return apply_test(expression.name, input, evaluate_arguments(expression, scope));
    }
    case ExpressionKind::kUnary: {
      const Value value = child(0);
      if (!value.is_number()) bad_operands(expression.name, value, value);
      if (value.is_float()) return expression.name == "-" ? -value.number() : value.number();
      return expression.name == "-" ? arithmetic("-", Value(0), value) : Value(value.integer());
    }
    case ExpressionKind::kBinary: {
      const Value left = child(0);
      return binary(expression.name, left, child(1));
    }
    case ExpressionKind::kCompare: {
      Value left = child(0);
      for (size_t index = 0; index < expression.operators.size(); ++index) {
        Value right = child(index + 1);
        if (!compare_with(expression.operators[index], left, right)) return false;
        left = std::move(right);
      }
      return true;
    }
    case ExpressionKind::kAnd: {
      Value left = child(0);
      return left.truthy() ? child(1) : left;
    }
    case ExpressionKind::kOr: {
      Value left = child(0);
      return left.truthy() ? left : child(1);
    }
    case ExpressionKind::kNot:
      return !child(0).truthy();
    case ExpressionKind::kConditional:
      if (child(1).truthy()) return child(0);
      if (expression.children[2]) return child(2);
      return Value::undefined("the inline if-expression evaluated to false and no else section was defined.");
    case ExpressionKind::kConcat: {
      std::string out;
      for (size_t index = 0; index < expression.children.size(); ++index) append(out, to_text(child(index)));
      return Value(std::move(out));
    }
  }
  return {};
}

}  // namespace slipway::text::jinja
