// Methods of Python's str, list, tuple and dict that the sandbox allows, see builtins.h.
#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <unordered_map>

#include "agents/engine/text/jinja/builtins.h"
#include "agents/engine/text/jinja/renderer.h"
#include "agents/engine/text/jinja/strings.h"
#include "agents/engine/text/unicode.h"

namespace slipway::text::jinja {

namespace {

using Method = Value (*)(Renderer&, const Value& object, Arguments&);

// None and nothing mean white space.
std::string strip_characters(const Parameters& parameters) {
  return parameters.given(0) && !parameters.required(0).is_none() ? parameters.required_text(0) : "";
}

template <std::string_view (*kStrip)(std::string_view, std::string_view)>
Value strip_method(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters("strip", arguments, {"chars"});
  const std::string characters = strip_characters(parameters);
  if (parameters.given(0) && !parameters.required(0).is_none() && characters.empty()) return object;
  renderer.charge(object.string().size() * (characters.size() + 1));
  return Value(kStrip(object.string(), characters));
}

template <bool kFromRight>
Value split_method(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters("split", arguments, {"sep", "maxsplit"});
  std::string separator;
  if (parameters.given(0) && !parameters.required(0).is_none()) {
    separator = parameters.required_text(0);
    if (separator.empty()) fail("empty separator");
  }
  renderer.charge(object.string().size() * 8);
  std::vector<Value> out;
  for (std::string& part : split(object.string(), separator, parameters.integer(1, -1), kFromRight))
    out.emplace_back(std::move(part));
  return Value::list(std::move(out));
}

template <bool kAtEnd>
Value affix_method(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters(kAtEnd ? "endswith" : "startswith", arguments, {"prefix"});
  const Value& wanted = parameters.required(0);
  const std::string& text = object.string();
  const auto matches = [&](const Value& affix) {
    affix.require_defined();
    if (!affix.is_string()) fail("startswith and endswith take a str or a tuple of str, not " + affix.type_name());
    const std::string& part = affix.string();
    return text.size() >= part.size() && text.compare(kAtEnd ? text.size() - part.size() : 0, part.size(), part) == 0;
  };
  renderer.charge();
  if (wanted.is_list() && wanted.list().kind == ListKind::kTuple) {
    return std::any_of(wanted.list().items.begin(), wanted.list().items.end(), matches);
  }
  return matches(wanted);
}

template <std::string (*kFunction)(const std::string&)>
Value mapped(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters("this method", arguments, {});
  return renderer.text(kFunction(object.string()));
}

// str.find and its like, in characters. begin and end limit the search.
Value find_in(Renderer& renderer, const Value& object, Arguments& arguments, bool from_right, bool required) {
  const Parameters parameters("find", arguments, {"sub", "start", "end"});
  const std::string wanted = parameters.required_text(0);
  const std::string& text = object.string();
  renderer.charge(text.size());
  const auto length = static_cast<int64_t>(count_code_points(text));
  const auto clamp = [&](int64_t index) { return std::clamp<int64_t>(index < 0 ? index + length : index, 0, length); };
  const auto offset = [&](int64_t characters) {
    size_t position = 0;
    for (int64_t count = 0; count < characters; ++count)
      position += utf8_length(static_cast<unsigned char>(text[position]));
    return position;
  };
  const int64_t first = parameters.given(1) && !parameters.required(1).is_none() ? clamp(parameters.integer(1, 0)) : 0;
  const int64_t last =
      parameters.given(2) && !parameters.required(2).is_none() ? clamp(parameters.integer(2, 0)) : length;
  size_t found = std::string_view::npos;
  if (first <= last) {
    const size_t begin = offset(first);
    const std::string_view part = std::string_view(text).substr(begin, offset(last) - begin);
    found = from_right ? part.rfind(wanted) : part.find(wanted);
    if (found != std::string_view::npos) return static_cast<int64_t>(count_code_points(part.substr(0, found))) + first;
  }
  if (required) fail("substring not found");
  return -1;
}

Value count_in(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters("count", arguments, {"sub"});
  const std::string wanted = parameters.required_text(0);
  const std::string& text = object.string();
  renderer.charge(text.size());
  if (wanted.empty()) return count_code_points(text) + 1;
  int64_t count = 0;
  for (size_t found = text.find(wanted); found != std::string::npos; found = text.find(wanted, found + wanted.size()))
    ++count;
  return count;
}

Value replace(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters("replace", arguments, {"old", "new", "count"});
  const std::string from = parameters.required_text(0);
  const std::string to = parameters.required_text(1);
  const std::string& text = object.string();
  if (to.size() > 1 && text.size() > kMaxTextBytes / to.size()) fail("a text is too long");
  return renderer.text(replace_all(text, from, to, parameters.integer(2, -1)));
}

Value join(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters("join", arguments, {"iterable"});
  std::string out;
  bool first = true;
  for (const Value& item : renderer.iterate(parameters.required(0))) {
    if (!item.is_string()) fail("sequence item: expected str instance, " + item.type_name() + " found");
    if (!first) renderer.append(out, object.string());
    first = false;
    renderer.append(out, item.string());
  }
  return Value(std::move(out));
}

Value split_lines_method(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters("splitlines", arguments, {"keepends"});
  renderer.charge(object.string().size() * 8);
  std::vector<Value> out;
  for (std::string& line : split_lines(object.string(), parameters.boolean(0, false)))
    out.emplace_back(std::move(line));
  return Value::list(std::move(out));
}

template <bool kFromRight>
Value partition(Renderer&, const Value& object, Arguments& arguments) {
  const Parameters parameters("partition", arguments, {"sep"});
  const std::string separator = parameters.required_text(0);
  if (separator.empty()) fail("empty separator");
  const std::string& text = object.string();
  const size_t found = kFromRight ? text.rfind(separator) : text.find(separator);
  if (found == std::string::npos) {
    if (kFromRight) return Value::list({"", "", object}, ListKind::kTuple);
    return Value::list({object, "", ""}, ListKind::kTuple);
  }
  return Value::list({text.substr(0, found), separator, text.substr(found + separator.size())}, ListKind::kTuple);
}

template <bool kSuffix>
Value remove_affix(Renderer&, const Value& object, Arguments& arguments) {
  const Parameters parameters("removeprefix", arguments, {"prefix"});
  const std::string part = parameters.required_text(0);
  const std::string& text = object.string();
  if (text.size() < part.size() || text.compare(kSuffix ? text.size() - part.size() : 0, part.size(), part) != 0)
    return object;
  return kSuffix ? text.substr(0, text.size() - part.size()) : text.substr(part.size());
}

// -1 left, 0 centre, 1 right: where the text goes.
template <int kSide>
Value justify(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters("justify", arguments, {"width", "fillchar"});
  const int64_t width = parameters.given(0) ? parameters.integer(0, 0) : parameters.required(0).integer();
  const std::string fill = parameters.text(1, " ");
  if (width > 100'000 || count_code_points(fill) != 1) fail("justify takes a width up to 100000 and one character");
  const int64_t missing = width - static_cast<int64_t>(count_code_points(object.string()));
  if (missing <= 0) return object;
  const int64_t left = kSide < 0 ? 0 : kSide > 0 ? missing : missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t count = 0; count < left; ++count) out += fill;
  out += object.string();
  for (int64_t count = left; count < missing; ++count) out += fill;
  return renderer.text(std::move(out));
}

Value zfill(Renderer& renderer, const Value& object, Arguments& arguments) {
  const int64_t width = Parameters("zfill", arguments, {"width"}).integer(0, 0);
  if (width > 100'000) fail("zfill takes a width up to 100000");
  const std::string& text = object.string();
  const int64_t missing = width - static_cast<int64_t>(count_code_points(text));
  if (missing <= 0) return object;
  const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  return renderer.text(text.substr(0, sign) + std::string(static_cast<size_t>(missing), '0') + text.substr(sign));
}

// Whether a text is not empty and all of its characters are of a kind.
template <bool (*kPredicate)(char32_t)>
Value all_are(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters("this method", arguments, {});
  const std::string& text = object.string();
  renderer.charge(text.size());
  for (size_t position = 0; position < text.size();) {
    if (!kPredicate(next_code_point(text, position))) return false;
  }
  return !text.empty();
}

UChar32 icu(char32_t c) { return static_cast<UChar32>(c); }
bool is_alpha(char32_t c) { return (U_GET_GC_MASK(icu(c)) & U_GC_L_MASK) != 0; }
bool is_decimal(char32_t c) { return u_charType(icu(c)) == U_DECIMAL_DIGIT_NUMBER; }
bool is_digit(char32_t c) {
  const auto type = u_getIntPropertyValue(icu(c), UCHAR_NUMERIC_TYPE);
  return type == U_NT_DECIMAL || type == U_NT_DIGIT;
}
bool is_numeric(char32_t c) { return u_getIntPropertyValue(icu(c), UCHAR_NUMERIC_TYPE) != U_NT_NONE; }
bool is_alnum(char32_t c) { return is_alpha(c) || is_numeric(c); }
bool is_ascii(char32_t c) { return c < 0x80; }

template <bool kUpper>
Value is_case(Renderer& renderer, const Value& object, Arguments&) {
  const std::string& text = object.string();
  renderer.charge(text.size());
  bool cased = false;
  for (size_t position = 0; position < text.size();) {
    const UChar32 c = icu(next_code_point(text, position));
    if (kUpper ? u_isULowercase(c) || u_istitle(c) : u_isUUppercase(c) || u_istitle(c)) return false;
    cased = cased || (kUpper ? u_isUUppercase(c) : u_isULowercase(c));
  }
  return cased;
}

std::string swap_case(const std::string& text) {
  std::string out;
  for (size_t position = 0; position < text.size();) {
    const size_t begin = position;
    const UChar32 c = icu(next_code_point(text, position));
    const std::string character = text.substr(begin, position - begin);
    out += u_isUUppercase(c) ? to_lower(character) : to_upper(character);
  }
  return out;
}

Value format_method(Renderer& renderer, const Value& object, Arguments& arguments) {
  return renderer.text(format_braces(renderer, object.string(), arguments));
}

Value index_of(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters("index", arguments, {"value"});
  const auto& items = object.list().items;
  renderer.charge(static_cast<size_t>(object.weight()));
  for (size_t index = 0; index < items.size(); ++index) {
    if (equals(items[index], parameters.required(0))) return index;
  }
  fail(to_repr(parameters.required(0)) + " is not in list");
}

Value count_items(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters("count", arguments, {"value"});
  const auto& items = object.list().items;
  renderer.charge(static_cast<size_t>(object.weight()));
  return std::count_if(items.begin(), items.end(),
                       [&](const Value& item) { return equals(item, parameters.required(0)); });
}

Value copy(Renderer&, const Value& object, Arguments&) { return object; }

Value get(Renderer&, const Value& object, Arguments& arguments) {
  const Parameters parameters("get", arguments, {"key", "default"});
  if (!arguments.named.empty()) fail("get() takes no keyword arguments");
  const Value& key = parameters.required(0);
  if (key.is_dict() || (key.is_list() && key.list().kind != ListKind::kTuple))
    fail("unhashable type: '" + key.type_name() + "'");
  const Value* found = object.dict().find(key);
  return found != nullptr ? *found : parameters.value(1, None{});
}

template <int kPart>  // 0 keys, 1 values, 2 both
Value view(Renderer& renderer, const Value& object, Arguments& arguments) {
  const Parameters parameters("items", arguments, {});
  std::vector<Value> out;
  for (const auto& [key, value] : object.dict().items) {
    out.push_back(kPart == 0 ? key : kPart == 1 ? value : Value::list({key, value}, ListKind::kTuple));
  }
  renderer.charge(out.size() * 24);
  return Value::view(std::move(out), kPart == 0 ? "dict_keys" : kPart == 1 ? "dict_values" : "dict_items");
}

struct Entry {
  std::string_view name;
  Method method;  // nullptr: the sandbox forbids it
};

constexpr std::array kStringMethods = {
    Entry{"capitalize", &mapped<&to_capitalized>},
    Entry{"casefold", &mapped<&to_lower>},
    Entry{"center", &justify<0>},
    Entry{"count", &count_in},
    Entry{"endswith", &affix_method<true>},
    Entry{"find", [](Renderer& r, const Value& o, Arguments& a) { return find_in(r, o, a, false, false); }},
    Entry{"format", &format_method},
    Entry{"index", [](Renderer& r, const Value& o, Arguments& a) { return find_in(r, o, a, false, true); }},
    Entry{"isalnum", &all_are<&is_alnum>},
    Entry{"isalpha", &all_are<&is_alpha>},
    Entry{"isascii",
          [](Renderer& r, const Value& o, Arguments& a) -> Value {
            return o.string().empty() || all_are<&is_ascii>(r, o, a).truthy();
          }},
    Entry{"isdecimal", &all_are<&is_decimal>},
    Entry{"isdigit", &all_are<&is_digit>},
    Entry{"islower", &is_case<false>},
    Entry{"isnumeric", &all_are<&is_numeric>},
    Entry{"isspace", &all_are<&is_python_space>},
    Entry{"isupper", &is_case<true>},
    Entry{"join", &join},
    Entry{"ljust", &justify<-1>},
    Entry{"lower", &mapped<&to_lower>},
    Entry{"lstrip", &strip_method<&strip_left>},
    Entry{"partition", &partition<false>},
    Entry{"removeprefix", &remove_affix<false>},
    Entry{"removesuffix", &remove_affix<true>},
    Entry{"replace", &replace},
    Entry{"rfind", [](Renderer& r, const Value& o, Arguments& a) { return find_in(r, o, a, true, false); }},
    Entry{"rindex", [](Renderer& r, const Value& o, Arguments& a) { return find_in(r, o, a, true, true); }},
    Entry{"rjust", &justify<1>},
    Entry{"rpartition", &partition<true>},
    Entry{"rsplit", &split_method<true>},
    Entry{"rstrip", &strip_method<&strip_right>},
    Entry{"split", &split_method<false>},
    Entry{"splitlines", &split_lines_method},
    Entry{"startswith", &affix_method<false>},
    Entry{"strip", &strip_method<&strip>},
    Entry{"swapcase", &mapped<&swap_case>},
    Entry{"title", &mapped<&to_title>},
    Entry{"upper", &mapped<&to_upper>},
    Entry{"zfill", &zfill},
};

constexpr std::array kListMethods = {
    Entry{"append", nullptr}, Entry{"clear", nullptr},   Entry{"copy", &copy},     Entry{"count", &count_items},
    Entry{"extend", nullptr}, Entry{"index", &index_of}, Entry{"insert", nullptr}, Entry{"pop", nullptr},
    Entry{"remove", nullptr}, Entry{"reverse", nullptr}, Entry{"sort", nullptr},
};

constexpr std::array kTupleMethods = {Entry{"count", &count_items}, Entry{"index", &index_of}};

constexpr std::array kDictMethods = {
    Entry{"clear", nullptr},  Entry{"copy", &copy},      Entry{"get", &get},        Entry{"items", &view<2>},
    Entry{"keys", &view<0>},  Entry{"pop", nullptr},     Entry{"popitem", nullptr}, Entry{"setdefault", nullptr},
    Entry{"update", nullptr}, Entry{"values", &view<1>},
};

template <size_t N>
const Entry* find(const std::array<Entry, N>& entries, std::string_view name) {
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) { return entry.name == name; });
  return found == entries.end() ? nullptr : &*found;
}

}  // namespace

std::optional<Value> find_method(const Value& object, std::string_view name) {
  const Entry* entry = nullptr;
  if (object.is_string()) {
    entry = find(kStringMethods, name);
  } else if (object.is_dict()) {
    entry = find(kDictMethods, name);
  } else if (object.is_list() && object.list().kind == ListKind::kList) {
    entry = find(kListMethods, name);
  } else if (object.is_list() && (object.list().kind == ListKind::kTuple || object.list().kind == ListKind::kRange)) {
    entry = find(kTupleMethods, name);
  }
  if (entry == nullptr) return std::nullopt;
  if (entry->method == nullptr) {
    return Value::undefined("access to attribute '" + std::string(name) + "' of '" + object.type_name() +
                            "' object is unsafe.");
  }
  return Value(std::shared_ptr<const Callable>(std::make_shared<Function>(
      std::string(name), [object, method = entry->method](Renderer& renderer, Arguments& arguments) {
        return method(renderer, object, arguments);
      })));
}

}  // namespace slipway::text::jinja
