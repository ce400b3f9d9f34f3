// Jinja's filters, tests, global functions and the methods of strings, lists and dicts. Used by parser.cpp and
// renderer.cpp.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "agents/engine/text/jinja/callable.h"

namespace slipway::text::jinja {

using Filter = Value (*)(Renderer&, const Value& input, const Arguments&);
using Test = bool (*)(Renderer&, const Value& input, const Arguments&);

Filter find_filter(std::string_view name);  // nullptr if there is none
Test find_test(std::string_view name);
std::optional<Value> find_global(std::string_view name);

// The method `name` of a string, list or dict, bound to it; nothing if the type has no such method. Methods that would
// change the value are an undefined value that says so.
std::optional<Value> find_method(const Value& object, std::string_view name);

// format % values, and format.format(...).
std::string format_percent(const std::string& format, const Value& values);
std::string format_braces(Renderer& renderer, const std::string& format, const Arguments& arguments);

}  // namespace slipway::text::jinja
