// Python's two ways to format text: "%s" % x and "{}".format(x), as far as templates use them. See builtins.h.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "agents/engine/text/jinja/builtins.h"
#include "agents/engine/text/jinja/renderer.h"
#include "agents/engine/text/unicode.h"

namespace slipway::text::jinja {

namespace {

constexpr size_t kMaxWidth = 1000;

struct Spec {
  char32_t fill = ' ';
  char align = 0;  // < > ^ = or none
  char sign = '-';
  bool alternate = false;
  bool zero = false;
  bool thousands = false;
  size_t width = 0;
  int precision = -1;
  char type = 0;
};

std::string padded(std::string text, const Spec& spec, char default_align) {
  const size_t length = count_code_points(text);
  if (length >= spec.width) return text;
  const size_t missing = spec.width - length;
  const char align = spec.align != 0 ? spec.align : default_align;
  const size_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string out;
  std::string fill;
  append_utf8(fill, spec.fill);
  if (align == '=') {  // between sign and digits
    const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ') ? 1 : 0;
    out = text.substr(0, sign);
    for (size_t count = 0; count < missing; ++count) out += fill;
    return out + text.substr(sign);
  }
  for (size_t count = 0; count < left; ++count) out += fill;
  out += text;
  for (size_t count = left; count < missing; ++count) out += fill;
  return out;
}

std::string with_thousands(const std::string& digits) {
  const size_t end = std::min(digits.find('.'), digits.size());
  std::string out = digits.substr(0, end);
  for (size_t position = end; position > 3;) {
    position -= 3;
    out.insert(position, 1, ',');
  }
  return out + digits.substr(end);
}

std::string unsigned_number(const Value& value, const Spec& spec) {
  char buffer[512];
  const char type = spec.type == 0 ? (value.is_float() ? 'r' : 'd') : spec.type;
  if (type == 'd' || type == 'i' || type == 'u' || type == 'x' || type == 'X' || type == 'o') {
    if (!value.is_number())
      fail("a number is required for the format '" + std::string(1, type) + "', not " + value.type_name());
    if (value.is_float() && !(std::fabs(value.number()) < 9e18)) fail("a number is too large");
    const int64_t number = value.is_float() ? static_cast<int64_t>(value.number()) : value.integer();
    const uint64_t magnitude = number < 0 ? ~static_cast<uint64_t>(number) + 1 : static_cast<uint64_t>(number);
    const char* const pattern = type == 'x' ? "%llx" : type == 'X' ? "%llX" : type == 'o' ? "%llo" : "%llu";
    std::snprintf(buffer, sizeof(buffer), pattern, static_cast<unsigned long long>(magnitude));
    std::string prefix = spec.alternate && type != 'd' && type != 'i' && type != 'u' ? std::string("0") + type : "";
    std::string digits = buffer;
    if (static_cast<int>(digits.size()) < spec.precision)
      digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
    return prefix + (spec.thousands ? with_thousands(digits) : digits);
  }
  if (!value.is_number()) fail("a number is required, not " + value.type_name());
  double number = std::fabs(value.number());
  if (type == 'r') {
    if (spec.precision < 0) return spec.thousands ? with_thousands(float_repr(number)) : float_repr(number);
    std::snprintf(buffer, sizeof(buffer), "%.*g", spec.precision, number);
    return buffer;
  }
  const bool percent = type == '%';
  if (percent) number *= 100;
  const char kind = percent ? 'f' : type;
  if (std::string_view("fFeEgG").find(kind) == std::string_view::npos)
    fail("unknown format code '" + std::string(1, type) + "'");
  const char pattern[] = {'%', '.', '*', kind, '\0'};
  const int written =
      std::snprintf(buffer, sizeof(buffer), pattern, spec.precision < 0 ? 6 : std::min(spec.precision, 100), number);
  std::string out(buffer, static_cast<size_t>(std::clamp(written, 0, 511)));
  if (spec.thousands) out = with_thousands(out);
  return percent ? out + "%" : out;
}

std::string number_text(const Value& value, Spec spec) {
  const bool negative = value.is_float() ? std::signbit(value.number()) : value.integer() < 0;
  std::string out = unsigned_number(value, spec);
  if (negative) {
    out.insert(0, 1, '-');
  } else if (spec.sign != '-') {
    out.insert(0, 1, spec.sign);
  }
  if (spec.zero && spec.align == 0) {
    spec.fill = '0';
    spec.align = '=';
  }
  return padded(std::move(out), spec, '>');
}

std::string first_characters(const std::string& text, int count) {
  if (count < 0) return text;
  size_t position = 0;
  for (int index = 0; index < count && position < text.size(); ++index)
    position += utf8_length(static_cast<unsigned char>(text[position]));
  return text.substr(0, std::min(position, text.size()));
}

size_t read_number(std::string_view text, size_t& position) {
  size_t number = 0;
  while (position < text.size() && text[position] >= '0' && text[position] <= '9') {
    number = number * 10 + static_cast<size_t>(text[position++] - '0');
    if (number > kMaxWidth) fail("a width in a format is too large");
  }
  return number;
}

Spec parse_spec(std::string_view text) {
  Spec spec;
  size_t position = 0;
  const auto is_align = [&](size_t index) {
    return index < text.size() && std::string_view("<>^=").find(text[index]) != std::string_view::npos;
  };
  if (!text.empty()) {
    size_t behind_fill = 0;
    const char32_t first = next_code_point(text, behind_fill);
    if (is_align(behind_fill)) {
      spec.fill = first;
      spec.align = text[behind_fill];
      position = behind_fill + 1;
    } else if (is_align(0)) {
      spec.align = text[0];
      position = 1;
    }
  }
  const auto take = [&](char wanted) {
    if (position >= text.size() || text[position] != wanted) return false;
    ++position;
    return true;
  };
  if (take('+')) spec.sign = '+';
  if (take(' ')) spec.sign = ' ';
  take('-');
  spec.alternate = take('#');
  spec.zero = take('0');
  spec.width = read_number(text, position);
  spec.thousands = take(',') || take('_');
  if (take('.')) spec.precision = static_cast<int>(read_number(text, position));
  if (position < text.size()) spec.type = text[position++];
  if (position != text.size()) fail("invalid format specifier '" + std::string(text) + "'");
  return spec;
}

std::string format_value(const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) return to_text(value);
  const Spec spec = parse_spec(spec_text);
  if (value.is_number() && !(value.is_bool() && spec.type == 0)) return number_text(value, spec);
  if (spec.type != 0 && spec.type != 's')
    fail("unknown format code '" + std::string(1, spec.type) + "' for " + value.type_name());
  if (!value.is_string() && !value.is_bool())
    fail("unsupported format string passed to " + value.type_name() + ".__format__");
  return padded(first_characters(to_text(value), spec.precision), spec, '<');
}

// The value of a replacement field such as 0.name[key].
Value field_value(Renderer& renderer, std::string_view name, const Arguments& arguments, size_t& automatic) {
  size_t end = std::min(name.find_first_of(".["), name.size());
  const std::string_view first = name.substr(0, end);
  Value value;
  if (first.empty() || std::all_of(first.begin(), first.end(), [](char c) { return c >= '0' && c <= '9'; })) {
    size_t position = 0;
    const size_t index = first.empty() ? automatic++ : read_number(first, position);
    if (index >= arguments.positional.size())
      fail("replacement index " + std::to_string(index) + " out of range for positional args tuple");
    value = arguments.positional[index];
  } else {
    const auto found = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& entry) { return entry.first == first; });
    if (found == arguments.named.end()) fail("format(): no argument '" + std::string(first) + "'");
    value = found->second;
  }
  while (end < name.size()) {
    if (name[end] == '.') {
      const size_t next = std::min(name.find_first_of(".[", end + 1), name.size());
      value = renderer.attribute(value, name.substr(end + 1, next - end - 1));
      end = next;
    } else {
      const size_t close = name.find(']', end);
      if (close == std::string_view::npos) fail("expected ']' in a format string");
      const std::string key(name.substr(end + 1, close - end - 1));
      const bool digits = !key.empty() &&
                          std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
                          key.size() < 10;
      value = renderer.item(value, digits ? Value(static_cast<int64_t>(std::stol(key))) : Value(key));
      end = close + 1;
    }
    value.require_defined();
  }
  return value;
}

}  // namespace

std::string format_braces(Renderer& renderer, const std::string& format, const Arguments& arguments) {
  std::string out;
  size_t automatic = 0;
  for (size_t position = 0; position < format.size();) {
    const char c = format[position++];
    if (c == '}') {
      if (position >= format.size() || format[position] != '}') fail("single '}' encountered in format string");
      ++position;
    }
    if (c != '{') {
      out.push_back(c);
      continue;
    }
    if (position < format.size() && format[position] == '{') {
      out.push_back('{');
      ++position;
      continue;
    }
    const size_t close = format.find('}', position);
    if (close == std::string::npos) fail("expected '}' before end of string");
    std::string_view field(format.data() + position, close - position);
    if (field.find('{') != std::string_view::npos) fail("nested fields in a format string are not supported");
    position = close + 1;
    std::string_view spec;
    if (const size_t colon = field.find(':'); colon != std::string_view::npos) {
      spec = field.substr(colon + 1);
      field = field.substr(0, colon);
    }
    bool repr = false;
    if (field.size() >= 2 && field[field.size() - 2] == '!') {
      repr = field.back() == 'r';
      if (!repr && field.back() != 's') fail("unknown conversion in a format string");
      field = field.substr(0, field.size() - 2);
      const Value value = field_value(renderer, field, arguments, automatic);
      renderer.append(out, format_value(Value(repr ? to_repr(value) : to_text(value)), spec));
      continue;
    }
    renderer.append(out, format_value(field_value(renderer, field, arguments, automatic), spec));
  }
  return out;
}

std::string format_percent(const std::string& format, const Value& values) {
  std::string out;
  const bool is_tuple = values.is_list() && values.list().kind == ListKind::kTuple;
  size_t used = 0;
  const auto next = [&]() -> const Value& {
    const size_t count = is_tuple ? values.list().items.size() : 1;
    if (used >= count) fail("not enough arguments for format string");
    return is_tuple ? values.list().items[used++] : (++used, values);
  };
  for (size_t position = 0; position < format.size();) {
    if (out.size() > kMaxTextBytes) fail("a text is too long");
    const char c = format[position++];
    if (c != '%') {
      out.push_back(c);
      continue;
    }
    Value mapped;
    bool is_mapped = false;
    if (position < format.size() && format[position] == '(') {
      const size_t close = format.find(')', position);
      if (close == std::string::npos || !values.is_dict()) fail("format requires a mapping");
      const Value* found = values.dict().find(std::string_view(format).substr(position + 1, close - position - 1));
      if (found == nullptr) fail("the mapping lacks a key that the format names");
      mapped = *found;
      is_mapped = true;
      used = 1;
      position = close + 1;
    }
    Spec spec;
    for (; position < format.size() && std::string_view("-+ #0").find(format[position]) != std::string_view::npos;
         ++position) {
      switch (format[position]) {
        case '-':
          spec.align = '<';
          break;
        case '+':
          spec.sign = '+';
          break;
        case ' ':
          if (spec.sign == '-') spec.sign = ' ';
          break;
        case '#':
          spec.alternate = true;
          break;
        default:
          spec.zero = true;
      }
    }
    spec.width = read_number(format, position);
    if (position < format.size() && format[position] == '.')
      spec.precision = static_cast<int>(read_number(format, ++position));
    if (position >= format.size()) fail("incomplete format");
    spec.type = format[position++];
    if (spec.type == '%') {
      out.push_back('%');
      continue;
    }
    const Value& value = is_mapped ? mapped : next();
    if (spec.type == 's' || spec.type == 'r') {
      out += padded(first_characters(spec.type == 's' ? to_text(value) : to_repr(value), spec.precision), spec, '>');
    } else if (std::string_view("diuxXofFeEgG").find(spec.type) != std::string_view::npos) {
      value.require_defined();
      if (!value.is_number())
        fail("%" + std::string(1, spec.type) + " format: a number is required, not " + value.type_name());
      out += number_text(value, spec);
    } else {
      fail("unsupported format character '" + std::string(1, spec.type) + "'");
    }
  }
  if (is_tuple ? used < values.list().items.size() : used == 0 && !values.is_dict() && !(values.is_list())) {
    fail("not all arguments converted during string formatting");
  }
  return out;
}

}  // namespace slipway::text::jinja
