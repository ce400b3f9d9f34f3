// Chat templates: what they render, what they raise, and the limits on what strangers may ask for.
#include "agents/engine/text/chat_template.h"

#include <gtest/gtest.h>

#include <atomic>
#include <ctime>
#include <nlohmann/json.hpp>
#include <thread>

#include "backend/base/error.h"

namespace slipway::text {
namespace {

using json = nlohmann::ordered_json;

std::string render(const std::string& source, const json& variables = json::object()) {
  return ChatTemplate(source).render(variables);
}

// The message of the error that `source` ends in.
std::string error_of(const std::string& source, const std::string& code, const json& variables = json::object()) {
  try {
    render(source, variables);
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error: " << source.substr(0, 100);
  return "";
}

TEST(ChatTemplate, RendersAConversation) {
  const json variables = {
      {"messages", {{{"role", "user"}, {"content", "Hi"}}, {{"role", "assistant"}, {"content", "Hello"}}}},
      {"add_generation_prompt", true}};
  EXPECT_EQ(render("{% for m in messages %}<{{ m.role }}>{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt "
                   "%}<assistant>{% endif %}",
                   variables),
            "<user>Hi\n<assistant>Hello\n<assistant>");
}

TEST(ChatTemplate, KeepsTheOrderOfKeys) {
  const json variables = {{"tool", json::parse(R"({"zeta": 1, "alpha": {"b": [1.0, null, true], "a": "ü"}})")}};
  EXPECT_EQ(render("{{ tool | tojson }}", variables), R"({"zeta": 1, "alpha": {"b": [1.0, null, true], "a": "ü"}})");
}

TEST(ChatTemplate, RaisesTheTemplatesOwnWords) {
  EXPECT_EQ(error_of("{{ raise_exception('Roles must alternate') }}", "CHAT_TEMPLATE"), "Roles must alternate");
}

TEST(ChatTemplate, SyntaxErrorsNameLineAndColumn) {
  EXPECT_NE(error_of("a\n  {{ x + }}", base::kInvalidModel).find("line 2, column 10"), std::string::npos)
      << error_of("a\n  {{ x + }}", base::kInvalidModel);
  for (const char* source : {"{% if x %}", "{{ x", "{% nosuch %}", "{{ x|nosuch }}", "{% endif %}", "{# open",
                             "{{ 'open }}", "{{ (1 }}", "{% for in x %}{% endfor %}", "{% set 1 = x %}",
                             "{{ 99999999999999999999 }}", "{% break %}", "{% raw %}", "{{ \"\\ud800\" }}", "\xFF"}) {
    error_of(source, base::kInvalidModel);
  }
}

TEST(ChatTemplate, TellsWhatGenerationBlocksWrote) {
  const ChatTemplate marked("{% for m in messages %}u:{% generation %}{{ m }}!{% endgeneration %}\n{% endfor %}");
  EXPECT_TRUE(marked.marks_generation());
  const RenderedChat out = marked.render_marked({{"messages", {"one", "two"}}});
  EXPECT_EQ(out.text, "u:one!u:two!");
  ASSERT_EQ(out.generated.size(), 2U);
  EXPECT_EQ(out.text.substr(out.generated[1].first, out.generated[1].second - out.generated[1].first), "two!");
  EXPECT_FALSE(ChatTemplate("{{ messages }}").marks_generation());
}

// Each of these would hang, exhaust memory or overrun the stack without its limit.
TEST(ChatTemplate, EndlessWorkHitsALimit) {
  const char* const kSources[] = {
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
      "{% set ns = namespace(l=[1, 2]) %}{% for a in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for a in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}",
      "{% set ns = namespace(l={}) %}{% for a in range(9999) %}{% set ns.l = {'a': ns.l} %}{% endfor %}",
      "{{ 'x' * 99999999999 }}",
      "{{ [1] * 99999999999 }}",
      "{{ range(999999999) }}",
      "{{ 'x'.center(999999999) }}",
      "{{ '%999999999d' % 1 }}",
      "{{ '{:999999999}'.format(1) }}",
      "{{ 9223372036854775807 + 1 }}",
      "{{ 99 ** 99 }}",
      "{{ (-9223372036854775807 - 1) // -1 }}",
      "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
      "{% macro m() %}{{ caller() }}{{ m() }}{% endmacro %}{% call m() %}x{% endcall %}",
      "{% set ns = namespace() %}{% macro a() %}{{ ns.f() }}{% endmacro %}{% set ns.f = a %}{{ a() }}",
      "{% for a in [[]] recursive %}{{ loop([a]) }}{% endfor %}",
      "{% for a in range(99999) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' * 999999 }}{% "
      "endfor %}",
      "{% set s = 'a' * 9999999 %}{{ s.replace('a', s) }}",
      "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = ns.s|replace('a', 'aaaaaaaaaa') %}{% "
      "endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l|tojson "
      "}}",
  };
  for (const char* source : kSources) {
    SCOPED_TRACE(source);
    const std::clock_t began = std::clock();
    EXPECT_FALSE(error_of(source, "CHAT_TEMPLATE").empty());
    EXPECT_LT(std::clock() - began, 20 * CLOCKS_PER_SEC);  // of work, however busy the machine is
  }
}

TEST(ChatTemplate, DeepNestingIsRefusedNotOverrun) {
  const auto repeated = [](const std::string& text, int count) {
    std::string out;
    for (int index = 0; index < count; ++index) out += text;
    return out;
  };
  for (const char* piece : {"(", "[", "{1:", "not ", "-", "x[", "x(", "{% if x %}", "{% for a in x %}",
                            "{% macro a() %}", "{% filter upper %}"}) {
    const bool block = piece[1] == '%';
    error_of((block ? "" : "{{ ") + repeated(piece, 100'000), base::kInvalidModel);
  }
  for (const char* piece : {"+ x ", "| upper ", ".a ", "and x ", "** x ", "if x else x ", "is x ", "[0]"}) {
    error_of("{{ x " + repeated(piece, 50'000) + "}}", base::kInvalidModel);
  }
  error_of("{% if x %}" + repeated("{% elif x %}", 50'000), base::kInvalidModel);
  json deep = 1;
  for (int level = 0; level < 1000; ++level) deep = json::array({deep});
  error_of("{{ deep }}", "CHAT_TEMPLATE", {{"deep", deep}});
}

TEST(ChatTemplate, WhatATemplateKeepsOfItselfIsFreed) {  // rings of macros and namespaces; the address sanitizer looks
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.self = ns %}{% macro m() %}{{ ns is defined }}{% endmacro %}{% "
                   "set ns.m = m %}"
                   "{% for a in [1] %}{% macro k() %}{{ a }}{% endmacro %}{% set ns.k = k %}{% set ns.loop = loop %}{% "
                   "endfor %}{{ m() }}"),
            "True");
}

TEST(ChatTemplate, VariablesThatAreNotUtf8AreRepaired) { EXPECT_EQ(render("{{ x|length }}", {{"x", "a\xFFz"}}), "3"); }

TEST(ChatTemplate, ServesManyThreads) {
  const ChatTemplate shared(
      "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + m|length %}{% endfor %}{{ ns.n }}");
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int index = 0; index < 4; ++index) {
    threads.emplace_back([&] {
      for (int count = 0; count < 200; ++count) {
        if (shared.render({{"messages", {"abc", "de", "f"}}}) != "6") ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace slipway::text
