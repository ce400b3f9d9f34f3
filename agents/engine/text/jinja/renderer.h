// Runs a template's tree over variables, within limits. One Renderer serves one rendering on one thread. Used by
// chat_template.cpp; filters and methods get it to call back and to charge for their work.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agents/engine/text/jinja/ast.h"
#include "agents/engine/text/jinja/callable.h"

namespace slipway::text::jinja {

struct Limits {
  int64_t steps = 20'000'000;  // nodes evaluated, and 16 bytes of text or list made
  int depth = 800;             // of nested evaluation
  size_t output_bytes = kMaxTextBytes;
};

struct Scope {
  const Scope* parent = nullptr;
  std::shared_ptr<Scope> owned_parent;  // keeps a captured chain alive
  std::vector<std::pair<std::string_view, Value>> names;

  const Value* find(std::string_view name) const;  // here or in an outer scope
  void set(std::string_view name, Value value);
  void clear() {
    index.clear();
    names.clear();
  }

 private:
  static constexpr size_t kFewNames = 24;  // more are looked up by hash
  size_t position_of(std::string_view name) const;
  std::unordered_map<std::string_view, size_t> index;
};

// The variable `loop`. Items are taken from the source as they are asked for, because a condition may look at what the
// body changes.
struct Loop {
  std::vector<Value> source;
  size_t taken = 0;                          // from source
  std::function<bool(const Value&)> accept;  // empty: every item
  std::deque<Value> ahead;
  Value previous, current;
  int64_t index = -1;
  int depth = 0;
  std::function<Value(const Value&)> recurse;  // of a recursive loop
  bool has_last_changed = false;
  Value last_changed;

  bool fill(size_t count);  // looks so many items ahead; false when there are fewer
  bool advance();
  int64_t length();
};

class Renderer {
 public:
  struct Span {
    size_t begin;
    size_t end;
  };

  Renderer(const Tree& tree, const Limits& limits) : tree_(tree), limits_(limits) {}
  ~Renderer();
  Renderer(const Renderer&) = delete;
  Renderer& operator=(const Renderer&) = delete;

  // `variables` must outlive this. Throws base::Error.
  std::string render(const nlohmann::ordered_json& variables);
  // Where {% generation %} blocks wrote, in bytes of the output. Blocks within macros or captures are not known.
  const std::vector<Span>& generation_spans() const { return generation_spans_; }

  // For filters, methods and macros.
  void charge(size_t bytes = 0);
  Value call(const Value& callee, Arguments& arguments);
  Value apply_filter(const std::string& name, const Value& input, const Arguments& arguments);
  bool apply_test(const std::string& name, const Value& input, const Arguments& arguments);
  Value attribute(const Value& object, std::string_view name);
  Value item(const Value& object, const Value& key);
  // What iterating over a value gives. Throws for values that cannot be iterated.
  std::vector<Value> iterate(const Value& value);
  Value text(std::string text);                          // a string, charged for
  void append(std::string& out, std::string_view text);  // charged for, and refused when `out` grows too long
  Value add(const Value& left, const Value& right) { return binary("+", left, right); }
  void register_namespace(const std::shared_ptr<Namespace>& space) { namespaces_.push_back(space); }

 private:
  friend class Macro;
  enum class Flow { kNormal, kBreak, kContinue };
  // Counts how deep evaluation is nested, against the end of the stack.
  class Deeper {
   public:
    explicit Deeper(Renderer& renderer);
    ~Deeper() { --renderer_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    Renderer& renderer_;
  };

  Flow run(const Block& block, const std::shared_ptr<Scope>& scope, std::string& out);
  Flow run(const Statement& statement, const std::shared_ptr<Scope>& scope, std::string& out);
  Flow run_for(const Statement& statement, const std::shared_ptr<Scope>& scope, std::string& out);
  void loop_over(const Statement& statement, const Value& iterable, int depth, const std::shared_ptr<Scope>& scope,
                 std::string& out);
  void assign(const Expression& target, const Value& value, Scope& scope, const std::shared_ptr<Scope>& reader);

  Value evaluate(const Expression& expression, const std::shared_ptr<Scope>& scope);
  Value evaluate_call(const Expression& expression, const std::shared_ptr<Scope>& scope, const Value* caller);
  Arguments evaluate_arguments(const Expression& expression, const std::shared_ptr<Scope>& scope);
  Value evaluate_filter(const Expression& expression, const Value& input, const std::shared_ptr<Scope>& scope);
  Value binary(const std::string& name, const Value& left, const Value& right);
  bool compare_with(const std::string& name, const Value& left, const Value& right);
  Value slice(const Value& object, const Value& start, const Value& stop, const Value& step);
  Value lookup(std::string_view name, const Scope& scope) const;

  std::shared_ptr<Scope> child_of(const std::shared_ptr<Scope>& parent);
  Value make_macro(const Statement& statement, const std::string& name, const std::shared_ptr<Scope>& scope);

  const Tree& tree_;
  Limits limits_;
  int64_t steps_ = 0;
  int depth_ = 0;
  const std::string* output_ = nullptr;  // of the template itself, not of a capture
  std::vector<Span> generation_spans_;
  std::vector<std::shared_ptr<Scope>> captured_;  // scopes that a macro holds: emptied at the end, for they form rings
  std::vector<std::shared_ptr<Namespace>> namespaces_;  // likewise
};

}  // namespace slipway::text::jinja
