// Jinja's filters, see builtins.h. Arguments and results as in Jinja2's documentation; tojson as Transformers overrides
// it.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "agents/engine/text/jinja/builtins.h"
#include "agents/engine/text/jinja/renderer.h"
#include "agents/engine/text/jinja/strings.h"
#include "agents/engine/text/unicode.h"

namespace slipway::text::jinja {

namespace {

// Runs `fill` now, but an error in it comes only when the result is iterated, as Python's generators have it.
template <typename Fill>  // void(std::vector<Value>&)
Value generator(Fill&& fill) {
  std::vector<Value> items;
  std::string error;
  try {
    fill(items);
  } catch (const base::Error& caught) {
    error = caught.what();
  }
  return Value::generator(std::move(items), std::move(error));
}

void no_arguments(const char* name, const Arguments& arguments) { Parameters(name, arguments, {}); }

bool optional(const Parameters& parameters, size_t index) {
  return parameters.given(index) && !parameters.required(index).is_none();
}

// "a.b.0" leads from an item to one of its parts.
Value attribute_path(Renderer& renderer, const Value& item, const Value& path) {
  if (!path.is_string()) return renderer.item(item, path);
  Value value = item;
  for (const std::string& part : split(path.string(), ".", -1, false)) {
    const bool digits = !part.empty() && part.size() < 10 &&
                        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    value = renderer.item(value, digits ? Value(static_cast<int64_t>(std::stol(part))) : Value(part));
  }
  return value;
}

Value ignoring_case(const Value& value) { return value.is_string() ? Value(to_lower(value.string())) : value; }

// Text.

template <std::string (*kFunction)(const std::string&)>
Value mapped(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("this filter", arguments);
  const std::string text = to_text(input);
  renderer.charge(text.size());
  return Value(kFunction(text), input.is_safe());
}

Value safe(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("safe", arguments);
  const std::string text = to_text(input);
  renderer.charge(text.size());
  return Value(text, true);
}

Value escape(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("escape", arguments);
  const std::string text = to_text(input);
  renderer.charge(text.size() * 5);
  return input.is_safe() ? input : Value(escape_html(text), true);
}

Value force_escape(Renderer& renderer, const Value& input, const Arguments& arguments) {
  return escape(renderer, Value(to_text(input)), arguments);
}

Value string(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("string", arguments);
  return input.is_string() ? input : renderer.text(to_text(input));
}

Value trim(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("trim", arguments, {"chars"});
  const std::string characters = optional(parameters, 0) ? parameters.required_text(0) : "";
  const std::string text = to_text(input);
  renderer.charge(text.size());
  return Value(std::string(strip(text, characters)), input.is_safe());
}

// A word begins behind white space and opening brackets.
std::string title(const std::string& text) {
  std::string out;
  std::string word;
  const auto flush = [&] {
    if (!word.empty()) {
      size_t position = 0;
      next_code_point(word, position);
      out += to_upper(word.substr(0, position)) + to_lower(word.substr(position));
    }
    word.clear();
  };
  for (size_t position = 0; position < text.size();) {
    const char32_t c = next_code_point(text, position);
    if (is_python_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<') {
      flush();
      append_utf8(out, c);
    } else {
      append_utf8(word, c);
    }
  }
  flush();
  return out;
}

Value replace(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("replace", arguments, {"old", "new", "count"});
  const std::string from = to_text(parameters.required(0));
  const std::string to = to_text(parameters.required(1));
  const std::string text = to_text(input);
  if (to.size() > 1 && text.size() > kMaxTextBytes / to.size()) fail("a text is too long");
  return renderer.text(replace_all(text, from, to, optional(parameters, 2) ? parameters.integer(2, -1) : -1));
}

Value indent(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("indent", arguments, {"width", "first", "blank"});
  std::string indention(4, ' ');
  if (parameters.given(0) && parameters.required(0).is_string()) {
    indention = parameters.required(0).string();
  } else if (parameters.given(0)) {
    const int64_t width = parameters.integer(0, 4);
    if (width > 10'000) fail("indent() takes a width up to 10000");
    indention.assign(static_cast<size_t>(std::max<int64_t>(0, width)), ' ');
  }
  if (!input.is_string()) {
    input.require_defined();
    fail("indent() takes a text, not " + input.type_name());
  }
  renderer.charge(input.string().size() * 8);
  const auto lines = split_lines(input.string() + "\n", false);
  std::string out = parameters.boolean(1, false) ? indention : "";
  for (size_t index = 0; index < lines.size(); ++index) {
    if (index > 0) out += "\n";
    if (index > 0 && (!lines[index].empty() || parameters.boolean(2, false))) renderer.append(out, indention);
    renderer.append(out, lines[index]);
  }
  return Value(std::move(out));
}

Value center(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("center", arguments, {"width"});
  Arguments inner;
  inner.positional.emplace_back(parameters.integer(0, 80));
  return renderer.call(*find_method(Value(to_text(input)), "center"), inner);
}

Value truncate(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("truncate", arguments, {"length", "killwords", "end", "leeway"});
  const int64_t length = parameters.integer(0, 255);
  const std::string end = parameters.text(2, "...");
  const int64_t leeway = optional(parameters, 3) ? parameters.integer(3, 5) : 5;
  const std::string text = to_text(input);
  renderer.charge(text.size() * 32);
  const auto characters = characters_of(text);
  const auto end_length = static_cast<int64_t>(count_code_points(end));
  if (length < end_length || leeway < 0) fail("truncate(): expected a length of at least that of the end");
  if (static_cast<int64_t>(characters.size()) <= length + leeway) return Value(text);
  std::string out;
  for (int64_t index = 0; index < length - end_length; ++index) out += characters[static_cast<size_t>(index)];
  if (!parameters.boolean(1, false)) {
    const size_t space = out.rfind(' ');
    if (space != std::string::npos) out.resize(space);
  }
  return Value(out + end);
}

Value wordcount(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("wordcount", arguments);
  const std::string text = to_text(input);
  renderer.charge(text.size());
  int64_t count = 0;
  bool in_word = false;
  for (size_t position = 0; position < text.size();) {
    const bool word = is_word_character(next_code_point(text, position));
    if (word && !in_word) ++count;
    in_word = word;
  }
  return count;
}

Value urlencode(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("urlencode", arguments);
  if (!input.is_string() && !input.is_number()) fail("urlencode takes a text");
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : to_text(input)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-_.~/").find(c) != std::string_view::npos;
    if (plain) {
      out.push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kDigits[byte >> 4U], kDigits[byte & 15U]};
    }
  }
  return renderer.text(std::move(out));
}

Value format(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const std::string text = to_text(input);
  if (!arguments.named.empty() && !arguments.positional.empty())
    fail("format takes positional or keyword arguments, not both");
  if (arguments.named.empty())
    return renderer.text(format_percent(text, Value::list(arguments.positional, ListKind::kTuple)));
  Dict named;
  for (const auto& [name, value] : arguments.named) named.set(Value(name), value);
  return renderer.text(format_percent(text, Value::dict(std::move(named))));
}

Value to_json_filter(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("tojson", arguments, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonOptions options;
  options.ensure_ascii = parameters.boolean(0, false);
  options.sort_keys = parameters.boolean(3, false);
  if (optional(parameters, 1)) {
    options.indented = true;
    options.item_separator = ",";
    const Value& width = parameters.required(1);
    if (width.is_string()) {
      options.indent = width.string();
    } else {
      const int64_t spaces = parameters.integer(1, 0);
      if (spaces > 1000) fail("tojson(): the indent is too large");
      options.indent.assign(static_cast<size_t>(std::max<int64_t>(0, spaces)), ' ');
    }
  }
  if (optional(parameters, 2)) {
    const auto pair = renderer.iterate(parameters.required(2));
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string())
      fail("tojson(): separators must be two texts");
    options.item_separator = pair[0].string();
    options.key_separator = pair[1].string();
  }
  renderer.charge(static_cast<size_t>(input.weight()));
  return renderer.text(to_json(input, options));
}

// Numbers.

Value to_int(Renderer&, const Value& input, const Arguments& arguments) {
  const Parameters parameters("int", arguments, {"default", "base"});
  const Value fallback = parameters.value(0, 0);
  const int64_t base = parameters.integer(1, 10);
  if (base != 0 && (base < 2 || base > 36)) fail("int(): the base must be from 2 to 36");
  if (input.is_integral()) return input.integer();
  if (input.is_float())
    return std::isfinite(input.number()) && std::fabs(input.number()) < 9e18
               ? Value(static_cast<int64_t>(input.number()))
               : fallback;
  if (!input.is_string()) return fallback;
  const std::string text(strip(input.string()));
  if (text.empty() || text.size() > 400) return fallback;
  char* end = nullptr;
  errno = 0;
  const int64_t number = std::strtoll(text.c_str(), &end, static_cast<int>(base));
  if (errno == 0 && end == text.c_str() + text.size()) return number;
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || std::string_view("+-.eE").find(c) != std::string_view::npos;
  });
  if (!plain) return fallback;
  const double real = std::strtod(text.c_str(), &end);
  if (end != text.c_str() + text.size() || !(std::fabs(real) < 9e18)) return fallback;
  return static_cast<int64_t>(real);
}

Value to_float(Renderer&, const Value& input, const Arguments& arguments) {
  const Parameters parameters("float", arguments, {"default"});
  if (input.is_number()) return input.number();
  if (!input.is_string()) return parameters.value(0, 0.0);
  const std::string text(strip(input.string()));
  const bool plain = !text.empty() && text.size() < 400 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || std::string_view("+-.eE").find(c) != std::string_view::npos;
  });
  char* end = nullptr;
  const double number = plain ? std::strtod(text.c_str(), &end) : 0;
  if (!plain || end != text.c_str() + text.size()) return parameters.value(0, 0.0);
  return number;
}

Value absolute(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("abs", arguments);
  if (!input.is_number()) fail("bad operand type for abs(): '" + input.type_name() + "'");
  if (input.is_float()) return std::fabs(input.number());
  if (input.integer() == INT64_MIN) fail("a number is too large");
  renderer.charge();
  return std::abs(input.integer());
}

Value round(Renderer&, const Value& input, const Arguments& arguments) {
  const Parameters parameters("round", arguments, {"precision", "method"});
  const int64_t precision = parameters.integer(0, 0);
  const std::string method = parameters.text(1, "common");
  if (!input.is_number()) fail("round() takes a number, not " + input.type_name());
  if (precision < -18 || precision > 18) fail("round(): the precision is too large");
  const double factor = std::pow(10.0, static_cast<double>(precision));
  const double value = input.number();
  if (method == "ceil") return std::ceil(value * factor) / factor;
  if (method == "floor") return std::floor(value * factor) / factor;
  if (method != "common") fail("method must be common, ceil or floor");
  // Correctly rounded in decimal, ties to even, as Python's round().
  if (precision >= 0) {
    char buffer[512];
    std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(precision), value);
    const double rounded = std::strtod(buffer, nullptr);
    return input.is_integral() ? Value(input.integer()) : Value(rounded);
  }
  const double rounded = std::nearbyint(value * factor) / factor;
  return input.is_integral() ? Value(static_cast<int64_t>(rounded)) : Value(rounded);
}

Value sum(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("sum", arguments, {"attribute", "start"});
  Value total = parameters.value(1, 0);
  for (Value item : renderer.iterate(input)) {
    if (optional(parameters, 0)) item = attribute_path(renderer, item, parameters.required(0));
    total = renderer.add(total, item);
  }
  return total;
}

// Collections.

Value length(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("length", arguments);
  if (input.is_undefined()) return 0;
  if (input.is_string()) {
    renderer.charge(input.string().size());
    return count_code_points(input.string());
  }
  if (input.is_dict()) return input.dict().items.size();
  if (input.is_list() && input.list().kind != ListKind::kGenerator) return input.list().items.size();
  fail("object of type '" + input.type_name() + "' has no len()");
}

Value list(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("list", arguments);
  return Value::list(renderer.iterate(input));
}

Value items(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("items", arguments);
  return generator([&](std::vector<Value>& out) {
    if (input.is_undefined()) return;
    if (!input.is_dict()) fail("Can only get item pairs from a mapping.");
    for (const auto& [key, value] : input.dict().items) out.push_back(Value::list({key, value}, ListKind::kTuple));
    renderer.charge(out.size() * 24);
  });
}

Value first(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("first", arguments);
  const auto all = renderer.iterate(input);
  return all.empty() ? Value::undefined("No first item, sequence was empty.") : all.front();
}

Value last(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("last", arguments);
  if (input.is_list() && input.list().kind == ListKind::kGenerator) fail("'generator' object is not reversible");
  const auto all = renderer.iterate(input);
  return all.empty() ? Value::undefined("No last item, sequence was empty.") : all.back();
}

Value reverse(Renderer& renderer, const Value& input, const Arguments& arguments) {
  no_arguments("reverse", arguments);
  auto all = renderer.iterate(input);
  std::reverse(all.begin(), all.end());
  if (!input.is_string()) return Value::generator(std::move(all), "");
  std::string out;
  for (const Value& character : all) out += character.string();
  return Value(std::move(out));
}

Value join(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("join", arguments, {"d", "attribute"});
  const std::string separator = parameters.given(0) ? to_text(parameters.required(0)) : "";
  std::string out;
  bool at_first = true;
  for (Value item : renderer.iterate(input)) {
    if (optional(parameters, 1)) item = attribute_path(renderer, item, parameters.required(1));
    if (!at_first) renderer.append(out, separator);
    at_first = false;
    renderer.append(out, to_text(item));
  }
  return Value(std::move(out));
}

Value default_value(Renderer&, const Value& input, const Arguments& arguments) {
  const Parameters parameters("default", arguments, {"default_value", "boolean"});
  if (input.is_undefined() || (parameters.boolean(1, false) && !input.truthy())) return parameters.value(0, "");
  return input;
}

Value attr(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const std::string name = Parameters("attr", arguments, {"name"}).required_text(0);
  // Only attributes, never items: of a dict, its methods.
  if (input.is_dict()) {
    auto method = find_method(input, name);
    return method ? *std::move(method) : Value::undefined("'dict object' has no attribute '" + name + "'");
  }
  return renderer.attribute(input, name);
}

// Sorts by keys that were taken before, so that a failing comparison leaves nothing half done.
std::vector<Value> sorted(Renderer& renderer, std::vector<Value> values, const std::vector<Value>& keys,
                          bool backwards) {
  std::vector<size_t> order(values.size());
  for (size_t index = 0; index < order.size(); ++index) order[index] = index;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    renderer.charge(static_cast<size_t>(std::min(keys[a].weight(), keys[b].weight())));
    return backwards ? compare(keys[b], keys[a]) < 0 : compare(keys[a], keys[b]) < 0;
  });
  std::vector<Value> out;
  out.reserve(values.size());
  for (const size_t index : order) out.push_back(std::move(values[index]));
  return out;
}

Value sort(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("sort", arguments, {"reverse", "case_sensitive", "attribute"});
  auto all = renderer.iterate(input);
  std::vector<Value> keys;
  const auto fold = [&](const Value& value) { return parameters.boolean(1, false) ? value : ignoring_case(value); };
  for (const Value& item : all) {
    if (!optional(parameters, 2)) {
      keys.push_back(fold(item));
      continue;
    }
    std::vector<Value> parts;
    const Value& path = parameters.required(2);
    if (path.is_string()) {
      for (const std::string& part : split(path.string(), ",", -1, false))
        parts.push_back(fold(attribute_path(renderer, item, Value(part))));
    } else {
      parts.push_back(fold(attribute_path(renderer, item, path)));
    }
    keys.push_back(Value::list(std::move(parts)));
  }
  return Value::list(sorted(renderer, std::move(all), keys, parameters.boolean(0, false)));
}

Value dictsort(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("dictsort", arguments, {"case_sensitive", "by", "reverse"});
  const std::string by = parameters.text(1, "key");
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  if (!input.is_dict()) {
    input.require_defined();
    fail("dictsort takes a mapping, not " + input.type_name());
  }
  std::vector<Value> pairs;
  std::vector<Value> keys;
  for (const auto& [key, value] : input.dict().items) {
    pairs.push_back(Value::list({key, value}, ListKind::kTuple));
    const Value& chosen = by == "key" ? key : value;
    keys.push_back(parameters.boolean(0, false) ? chosen : ignoring_case(chosen));
  }
  return Value::list(sorted(renderer, std::move(pairs), keys, parameters.boolean(2, false)));
}

template <bool kMax>
Value extreme(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters(kMax ? "max" : "min", arguments, {"case_sensitive", "attribute"});
  const auto all = renderer.iterate(input);
  if (all.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const auto key = [&](const Value& item) {
    const Value value = optional(parameters, 1) ? attribute_path(renderer, item, parameters.required(1)) : item;
    return parameters.boolean(0, false) ? value : ignoring_case(value);
  };
  size_t best = 0;
  for (size_t index = 1; index < all.size(); ++index) {
    const int order = compare(key(all[index]), key(all[best]));
    if (kMax ? order > 0 : order < 0) best = index;
  }
  return all[best];
}

Value unique(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("unique", arguments, {"case_sensitive", "attribute"});
  return generator([&](std::vector<Value>& out) {
    Dict seen;
    for (const Value& item : renderer.iterate(input)) {
      Value key = optional(parameters, 1) ? attribute_path(renderer, item, parameters.required(1)) : item;
      if (!parameters.boolean(0, false)) key = ignoring_case(key);
      renderer.charge(key.is_string() ? 0 : seen.items.size() * 24);
      if (seen.find(key) != nullptr) continue;
      seen.set(key, true);
      out.push_back(item);
    }
  });
}

Value batch(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("batch", arguments, {"linecount", "fill_with"});
  const int64_t count = parameters.given(0) ? parameters.integer(0, 1) : parameters.required(0).integer();
  if (count < 1 || count > 100'000) fail("batch() takes a line count from 1 to 100000");
  return generator([&](std::vector<Value>& out) {
    std::vector<Value> line;
    for (Value& item : renderer.iterate(input)) {
      if (static_cast<int64_t>(line.size()) == count) out.push_back(Value::list(std::exchange(line, {})));
      line.push_back(std::move(item));
    }
    if (!line.empty()) {
      if (optional(parameters, 1)) line.resize(static_cast<size_t>(count), parameters.required(1));
      renderer.charge(line.size() * 24);
      out.push_back(Value::list(std::move(line)));
    }
  });
}

Value slice(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("slice", arguments, {"slices", "fill_with"});
  const int64_t slices = parameters.given(0) ? parameters.integer(0, 1) : parameters.required(0).integer();
  if (slices < 1 || slices > 100'000) fail("slice() takes a count from 1 to 100000");
  const auto all = renderer.iterate(input);
  const size_t each = all.size() / static_cast<size_t>(slices);
  const size_t longer = all.size() % static_cast<size_t>(slices);
  return generator([&](std::vector<Value>& out) {
    size_t position = 0;
    for (size_t index = 0; index < static_cast<size_t>(slices); ++index) {
      const size_t size = each + (index < longer ? 1 : 0);
      std::vector<Value> part(all.begin() + static_cast<std::ptrdiff_t>(position),
                              all.begin() + static_cast<std::ptrdiff_t>(position + size));
      position += size;
      if (optional(parameters, 1) && index >= longer) part.push_back(parameters.required(1));
      out.push_back(Value::list(std::move(part)));
      renderer.charge();
    }
  });
}

Value groupby(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const Parameters parameters("groupby", arguments, {"attribute", "default", "case_sensitive"});
  auto all = renderer.iterate(input);
  std::vector<Value> keys;
  for (const Value& item : all) {
    Value key = attribute_path(renderer, item, parameters.required(0));
    if (key.is_undefined() && optional(parameters, 1)) key = parameters.required(1);
    keys.push_back(parameters.boolean(2, false) ? key : ignoring_case(key));
  }
  std::vector<Value> keyed;
  for (size_t index = 0; index < all.size(); ++index) keyed.push_back(Value::list({keys[index], all[index]}));
  std::vector<Value> out;
  std::vector<Value> group;
  Value current;
  const auto flush = [&] {
    if (group.empty()) return;
    const Value key = attribute_path(renderer, group[0], parameters.required(0));
    out.push_back(
        Value::list({key.is_undefined() ? current : key, Value::list(std::exchange(group, {}))}, ListKind::kTuple));
  };
  for (const Value& entry : sorted(renderer, std::move(keyed), keys, false)) {
    const Value& key = entry.list().items[0];
    if (!group.empty() && !equals(key, current)) flush();
    current = key;
    group.push_back(entry.list().items[1]);
  }
  flush();
  return Value::list(std::move(out));
}

// select, reject, selectattr and rejectattr.
template <bool kKeep, bool kByAttribute>
Value choose(Renderer& renderer, const Value& input, const Arguments& arguments) {
  const auto& given = arguments.positional;
  if (kByAttribute && given.empty()) fail("Missing parameter for attribute name");
  const size_t offset = kByAttribute ? 1 : 0;
  std::string test;
  Arguments inner;
  if (given.size() > offset) {
    if (!given[offset].is_string()) fail("a test is given by its name");
    test = given[offset].string();
    inner.positional.assign(given.begin() + static_cast<std::ptrdiff_t>(offset) + 1, given.end());
    inner.named = arguments.named;
  }
  return generator([&](std::vector<Value>& out) {
    if (!input.truthy()) return;  // None counts as empty here
    for (const Value& item : renderer.iterate(input)) {
      const Value value = kByAttribute ? attribute_path(renderer, item, given[0]) : item;
      const bool accepted = test.empty() ? value.truthy() : renderer.apply_test(test, value, inner);
      if (accepted == kKeep) out.push_back(item);
    }
  });
}

Value map(Renderer& renderer, const Value& input, const Arguments& arguments) {
  return generator([&](std::vector<Value>& out) {
    if (!input.truthy()) return;  // None counts as empty here
    if (arguments.positional.empty()) {
      const Parameters parameters("map", arguments, {"attribute", "default"});
      for (const Value& item : renderer.iterate(input)) {
        Value value = attribute_path(renderer, item, parameters.required(0));
        if (value.is_undefined() && parameters.given(1)) value = parameters.required(1);
        out.push_back(std::move(value));
      }
      return;
    }
    if (!arguments.positional[0].is_string()) fail("a filter is given by its name");
    Arguments inner;
    inner.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
    inner.named = arguments.named;
    for (const Value& item : renderer.iterate(input))
      out.push_back(renderer.apply_filter(arguments.positional[0].string(), item, inner));
  });
}

struct Entry {
  std::string_view name;
  Filter filter;
};

constexpr std::array kFilters = {
    Entry{"abs", &absolute},
    Entry{"attr", &attr},
    Entry{"batch", &batch},
    Entry{"capitalize", &mapped<&to_capitalized>},
    Entry{"center", &center},
    Entry{"count", &length},
    Entry{"d", &default_value},
    Entry{"default", &default_value},
    Entry{"dictsort", &dictsort},
    Entry{"e", &escape},
    Entry{"escape", &escape},
    Entry{"first", &first},
    Entry{"float", &to_float},
    Entry{"forceescape", &force_escape},
    Entry{"format", &format},
    Entry{"groupby", &groupby},
    Entry{"indent", &indent},
    Entry{"int", &to_int},
    Entry{"items", &items},
    Entry{"join", &join},
    Entry{"last", &last},
    Entry{"length", &length},
    Entry{"list", &list},
    Entry{"lower", &mapped<&to_lower>},
    Entry{"map", &map},
    Entry{"max", &extreme<true>},
    Entry{"min", &extreme<false>},
    Entry{"reject", &choose<false, false>},
    Entry{"rejectattr", &choose<false, true>},
    Entry{"replace", &replace},
    Entry{"reverse", &reverse},
    Entry{"round", &round},
    Entry{"safe", &safe},
    Entry{"select", &choose<true, false>},
    Entry{"selectattr", &choose<true, true>},
    Entry{"slice", &slice},
    Entry{"sort", &sort},
    Entry{"string", &string},
    Entry{"sum", &sum},
    Entry{"title", &mapped<&title>},
    Entry{"tojson", &to_json_filter},
    Entry{"trim", &trim},
    Entry{"truncate", &truncate},
    Entry{"unique", &unique},
    Entry{"upper", &mapped<&to_upper>},
    Entry{"urlencode", &urlencode},
    Entry{"wordcount", &wordcount},
};

}  // namespace

Filter find_filter(std::string_view name) {
  const auto found = std::lower_bound(kFilters.begin(), kFilters.end(), name,
                                      [](const Entry& entry, std::string_view wanted) { return entry.name < wanted; });
  return found != kFilters.end() && found->name == name ? found->filter : nullptr;
}

}  // namespace slipway::text::jinja
