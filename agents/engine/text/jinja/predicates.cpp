// Jinja's tests (`is ...`), see builtins.h.
#include <algorithm>
#include <array>

#include "agents/engine/text/jinja/builtins.h"
#include "agents/engine/text/jinja/renderer.h"
#include "agents/engine/text/jinja/strings.h"

namespace slipway::text::jinja {

namespace {

const Value& other(const char* name, const Arguments& arguments) {
  if (arguments.positional.size() != 1 || !arguments.named.empty())
    fail(std::string("the test '") + name + "' takes one argument");
  return arguments.positional[0];
}

void none(const char* name, const Arguments& arguments) {
  if (!arguments.positional.empty() || !arguments.named.empty())
    fail(std::string("the test '") + name + "' takes no argument");
}

int64_t integer(const Value& value) {
  value.require_defined();
  if (!value.is_integral()) fail("a whole number is expected, not " + value.type_name());
  return value.integer();
}

int64_t modulo(const Value& value, int64_t divisor) {
  if (divisor == 0) fail("division by zero");
  return divisor == -1 ? 0 : integer(value) % divisor;
}

bool is_sequence(const Value& value) {
  if (value.is_list()) return value.list().kind != ListKind::kGenerator && value.list().kind != ListKind::kView;
  return value.is_string() || value.is_dict();
}

bool contains(Renderer& renderer, const Value& value, const Value& container) {
  if (container.is_string()) {
    if (!value.is_string()) fail("'in <string>' requires string as left operand, not " + value.type_name());
    return container.string().find(value.string()) != std::string::npos;
  }
  if (container.is_dict()) return container.dict().find(value) != nullptr;
  renderer.charge(static_cast<size_t>(container.weight()));
  const auto items = renderer.iterate(container);
  return std::any_of(items.begin(), items.end(), [&](const Value& item) { return equals(item, value); });
}

bool same(const Value& a, const Value& b) {
  if (a.identity() != nullptr || b.identity() != nullptr) return a.identity() == b.identity();
  return a.type_name() == b.type_name() && equals(a, b);
}

struct Entry {
  std::string_view name;
  Test test;
};

template <bool (*kPredicate)(const Value&)>
bool simple(Renderer&, const Value& value, const Arguments& arguments) {
  none("at hand", arguments);
  return kPredicate(value);
}

template <typename Order>
bool ordered(const Value& value, const Arguments& arguments, Order order) {
  return order(compare(value, other("comparison", arguments)));
}

bool equal(Renderer& renderer, const Value& value, const Arguments& arguments) {
  renderer.charge(static_cast<size_t>(value.weight()));
  return equals(value, other("eq", arguments));
}
bool unequal(Renderer& renderer, const Value& value, const Arguments& arguments) {
  return !equal(renderer, value, arguments);
}
bool less(Renderer&, const Value& v, const Arguments& a) {
  return ordered(v, a, [](int order) { return order < 0; });
}
bool less_equal(Renderer&, const Value& v, const Arguments& a) {
  return ordered(v, a, [](int order) { return order <= 0; });
}
bool greater(Renderer&, const Value& v, const Arguments& a) {
  return ordered(v, a, [](int order) { return order > 0; });
}
bool greater_equal(Renderer&, const Value& v, const Arguments& a) {
  return ordered(v, a, [](int order) { return order >= 0; });
}

bool defined(const Value& v) { return !v.is_undefined(); }
bool undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool boolean(const Value& v) { return v.is_bool(); }
bool is_true(const Value& v) { return v.is_bool() && v.boolean(); }
bool is_false(const Value& v) { return v.is_bool() && !v.boolean(); }
bool is_integer(const Value& v) { return v.is_int(); }
bool is_float(const Value& v) { return v.is_float(); }
bool number(const Value& v) { return v.is_number(); }
bool is_string(const Value& v) { return v.is_string(); }
bool mapping(const Value& v) { return v.is_dict(); }
// An undefined value can be iterated, and has a length but no items by index.
bool iterable(const Value& v) { return v.is_undefined() || v.is_list() || v.is_dict() || v.is_string() || v.is_loop(); }
bool callable(const Value& v) { return v.is_callable() || v.is_loop(); }
bool odd(const Value& v) { return modulo(v, 2) != 0; }
bool even(const Value& v) { return modulo(v, 2) == 0; }
bool escaped(const Value& v) { return v.is_safe(); }
bool lower(const Value& v) {
  const std::string text = to_text(v);
  return to_lower(text) == text && to_upper(text) != text;
}
bool upper(const Value& v) {
  const std::string text = to_text(v);
  return to_upper(text) == text && to_lower(text) != text;
}

constexpr std::array kTests = {
    Entry{"defined", &simple<&defined>},
    Entry{"undefined", &simple<&undefined>},
    Entry{"none", &simple<&is_none>},
    Entry{"boolean", &simple<&boolean>},
    Entry{"true", &simple<&is_true>},
    Entry{"false", &simple<&is_false>},
    Entry{"integer", &simple<&is_integer>},
    Entry{"float", &simple<&is_float>},
    Entry{"number", &simple<&number>},
    Entry{"string", &simple<&is_string>},
    Entry{"mapping", &simple<&mapping>},
    Entry{"sequence", &simple<&is_sequence>},
    Entry{"iterable", &simple<&iterable>},
    Entry{"callable", &simple<&callable>},
    Entry{"odd", &simple<&odd>},
    Entry{"even", &simple<&even>},
    Entry{"lower", &simple<&lower>},
    Entry{"upper", &simple<&upper>},
    Entry{"escaped", &simple<&escaped>},
    Entry{"divisibleby", [](Renderer&, const Value& v,
                            const Arguments& a) { return modulo(v, integer(other("divisibleby", a))) == 0; }},
    Entry{"sameas", [](Renderer&, const Value& v, const Arguments& a) { return same(v, other("sameas", a)); }},
    Entry{"in",
          [](Renderer& renderer, const Value& v, const Arguments& a) { return contains(renderer, v, other("in", a)); }},
    Entry{"filter", [](Renderer&, const Value& v,
                       const Arguments&) { return v.is_string() && find_filter(v.string()) != nullptr; }},
    Entry{"test", [](Renderer&, const Value& v,
                     const Arguments&) { return v.is_string() && find_test(v.string()) != nullptr; }},
    Entry{"==", &equal},
    Entry{"eq", &equal},
    Entry{"equalto", &equal},
    Entry{"!=", &unequal},
    Entry{"ne", &unequal},
    Entry{"<", &less},
    Entry{"lt", &less},
    Entry{"lessthan", &less},
    Entry{"<=", &less_equal},
    Entry{"le", &less_equal},
    Entry{">", &greater},
    Entry{"gt", &greater},
    Entry{"greaterthan", &greater},
    Entry{">=", &greater_equal},
    Entry{"ge", &greater_equal},
};

}  // namespace

Test find_test(std::string_view name) {
  for (const Entry& entry : kTests) {
    if (entry.name == name) return entry.test;
  }
  return nullptr;
}

}  // namespace slipway::text::jinja
