// Recursive descent over the template's tokens, see parser.h. Precedences are Jinja2's.
#include "agents/engine/text/jinja/parser.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <initializer_list>

#include "agents/engine/text/jinja/builtins.h"
#include "agents/engine/text/jinja/lexer.h"
#include "backend/base/error.h"

namespace slipway::text::jinja {

namespace {

constexpr int kMaxNesting = 100;    // of parentheses and statements
constexpr int kMaxTreeDepth = 400;  // of one expression: long chains of + and filters too

class Parser {
 public:
  explicit Parser(const std::string& source) : tokens_(tokenize(source)) {}

  Tree run() {
    Tree tree;
    tree.body = parse_block({});
    if (!unknown_.empty()) syntax_error(unknown_[0].text, unknown_[0].line, unknown_[0].column);
    tree.has_generation = has_generation_;
    return tree;
  }

 private:
  // Counts nesting while it lives.
  class Nested {
   public:
    explicit Nested(Parser& parser) : parser_(parser) {
      if (++parser_.nesting_ > kMaxNesting) parser_.error("nested more than " + std::to_string(kMaxNesting) + " deep");
    }
    ~Nested() { --parser_.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Parser& parser_;
  };

  // Tokens.

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(position_ + ahead, tokens_.size() - 1)]; }
  const Token& next() {
    const Token& token = peek();
    if (position_ + 1 < tokens_.size()) ++position_;
    return token;
  }
  bool at_operator(std::string_view text, size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::kOperator && peek(ahead).text == text;
  }
  bool at_name(std::string_view text, size_t ahead = 0) const {
    return peek(ahead).kind == TokenKind::kName && peek(ahead).text == text;
  }
  bool skip_operator(std::string_view text) {
    if (!at_operator(text)) return false;
    next();
    return true;
  }
  bool skip_name(std::string_view text) {
    if (!at_name(text)) return false;
    next();
    return true;
  }
  [[noreturn]] void error(const std::string& message) const { syntax_error(message, peek().line, peek().column); }
  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) error("expected '" + std::string(text) + "', got " + describe());
  }
  std::string expect_name() {
    if (peek().kind != TokenKind::kName) error("expected a name, got " + describe());
    return next().text;
  }
  std::string describe() const {
    switch (peek().kind) {
      case TokenKind::kBlockEnd:
      case TokenKind::kVariableEnd:
        return "the end of the tag";
      case TokenKind::kEnd:
        return "the end of the template";
      case TokenKind::kString:
        return "a string";
      default:
        return "'" + peek().text + "'";
    }
  }
  void expect_block_end() {
    if (peek().kind != TokenKind::kBlockEnd) error("expected the end of the tag, got " + describe());
    next();
  }

  // Nodes.

  ExpressionPtr make(ExpressionKind kind, std::string name = "", std::vector<ExpressionPtr> children = {}) {
    auto node = std::make_unique<Expression>();
    node->kind = kind;
    node->line = peek().line;
    node->name = std::move(name);
    node->children = std::move(children);
    for (const auto& child : node->children) deepen(*node, child.get());
    return node;
  }
  void deepen(Expression& node, const Expression* child) const {
    if (child == nullptr) return;
    node.depth = std::max(node.depth, child->depth + 1);
    if (node.depth > kMaxTreeDepth) error("an expression is more than " + std::to_string(kMaxTreeDepth) + " deep");
  }
  template <typename... Children>
  static std::vector<ExpressionPtr> list_of(Children... children) {
    std::vector<ExpressionPtr> out;
    (out.push_back(std::move(children)), ...);
    return out;
  }
  ExpressionPtr constant(Value value) {
    auto node = make(ExpressionKind::kConstant);
    node->constant = std::move(value);
    return node;
  }
  StatementPtr make_statement(StatementKind kind) {
    auto node = std::make_unique<Statement>();
    node->kind = kind;
    node->line = peek().line;
    return node;
  }

  // Statements.

  // Until a tag whose name is among `ends`, which is left at the name; with no ends, until the template's end.
  Block parse_block(std::initializer_list<std::string_view> ends) {
    const Nested nested(*this);
    Block block;
    for (;;) {
      const Token& token = peek();
      if (token.kind == TokenKind::kEnd) {
        if (ends.size() > 0) error("the template ends where '" + std::string(*(ends.end() - 1)) + "' was expected");
        return block;
      }
      if (token.kind == TokenKind::kText) {
        auto text = make_statement(StatementKind::kText);
        text->text = next().text;
        block.push_back(std::move(text));
      } else if (token.kind == TokenKind::kVariableBegin) {
        next();
        auto output = make_statement(StatementKind::kOutput);
        output->expressions.push_back(parse_tuple(true));
        if (peek().kind != TokenKind::kVariableEnd) error("expected '}}', got " + describe());
        next();
        block.push_back(std::move(output));
      } else if (token.kind == TokenKind::kBlockBegin) {
        next();
        for (const std::string_view end : ends) {
          if (at_name(end)) return block;
        }
        block.push_back(parse_statement());
      } else {
        error("unexpected " + describe());
      }
    }
  }

  // The body of a tag that has just been read, and its end tag.
  Block parse_body(std::string_view end, bool soft = false) {
    const bool outer = soft_;
    soft_ = soft;
    expect_block_end();
    Block body = parse_block({end});
    next();
    soft_ = outer;
    return body;
  }

  StatementPtr parse_statement() {
    const std::string tag = peek().kind == TokenKind::kName ? peek().text : "";
    if (tag == "if") return parse_if();
    if (tag == "for") return parse_for();
    if (tag == "set") return parse_set();
    if (tag == "macro") return parse_macro();
    if (tag == "call") return parse_call_block();
    if (tag == "filter") return parse_filter_block();
    if (tag == "with") return parse_with();
    if (tag == "generation") {
      has_generation_ = true;
      auto node = make_statement(StatementKind::kGeneration);
      next();
      const int loops = std::exchange(loops_, 0);
      node->blocks.push_back(parse_body("endgeneration"));
      loops_ = loops;
      expect_block_end();
      return node;
    }
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) error("'" + tag + "' outside of a loop");
      auto node = make_statement(tag == "break" ? StatementKind::kBreak : StatementKind::kContinue);
      next();
      expect_block_end();
      return node;
    }
    error("unknown tag " + describe());
  }

  StatementPtr parse_if() {
    auto node = make_statement(StatementKind::kIf);
    const bool outer = soft_;
    soft_ = true;
    next();
    for (;;) {
      node->expressions.push_back(parse_expression(false));
      expect_block_end();
      node->blocks.push_back(parse_block({"elif", "else", "endif"}));
      if (skip_name("elif")) continue;
      if (skip_name("else")) {
        expect_block_end();
        node->blocks.push_back(parse_block({"endif"}));
      }
      next();
      break;
    }
    soft_ = outer;
    expect_block_end();
    return node;
  }

  StatementPtr parse_for() {
    auto node = make_statement(StatementKind::kFor);
    next();
    node->target = parse_target(false);
    if (!skip_name("in")) error("expected 'in', got " + describe());
    node->expressions.push_back(parse_tuple(false));
    const bool outer = std::exchange(soft_, false);
    node->expressions.push_back(skip_name("if") ? parse_expression(true) : nullptr);
    node->recursive = skip_name("recursive");
    expect_block_end();
    ++loops_;
    node->blocks.push_back(parse_block({"endfor", "else"}));
    --loops_;
    node->blocks.emplace_back();
    if (skip_name("else")) {
      expect_block_end();
      node->blocks.back() = parse_block({"endfor"});
    }
    next();
    soft_ = outer;
    expect_block_end();
    return node;
  }

  // What is assigned to: a name, namespace.attribute, or a list of names.
  ExpressionPtr parse_target(bool with_namespace) {
    std::vector<ExpressionPtr> items;
    bool is_tuple = false;
    const auto one = [&]() -> ExpressionPtr {
      if (skip_operator("(")) {
        auto inner = parse_target(false);
        expect_operator(")");
        return inner;
      }
      std::string name = expect_name();
      if (is_reserved(name)) error("cannot assign to '" + name + "'");
      if (with_namespace && skip_operator(".")) {
        auto base = make(ExpressionKind::kName, std::move(name));
        return make(ExpressionKind::kAttribute, expect_name(), list_of(std::move(base)));
      }
      return make(ExpressionKind::kName, std::move(name));
    };
    const Nested nested(*this);
    items.push_back(one());
    while (skip_operator(",")) {
      is_tuple = true;
      if (peek().kind != TokenKind::kName && !at_operator("(")) break;
      if (at_name("in")) break;
      items.push_back(one());
    }
    if (!is_tuple) return std::move(items[0]);
    return make(ExpressionKind::kTuple, "", std::move(items));
  }

  static bool is_reserved(const std::string& name) {
    static constexpr std::string_view kReserved[] = {"true", "false", "none", "True", "False", "None"};
    return std::find(std::begin(kReserved), std::end(kReserved), name) != std::end(kReserved);
  }

  StatementPtr parse_set() {
    auto node = make_statement(StatementKind::kSet);
    next();
    node->target = parse_target(true);
    if (skip_operator("=")) {
      node->expressions.push_back(parse_tuple(true));
      expect_block_end();
      return node;
    }
    node->kind = StatementKind::kSetBlock;
    const bool outer = std::exchange(soft_, false);
    node->expressions.push_back(at_operator("|") ? parse_filters(nullptr) : nullptr);
    soft_ = outer;
    node->blocks.push_back(parse_body("endset"));
    expect_block_end();
    return node;
  }

  std::vector<Parameter> parse_parameters() {
    std::vector<Parameter> out;
    expect_operator("(");
    while (!at_operator(")")) {
      if (!out.empty()) {
        expect_operator(",");
        if (at_operator(")")) break;
      }
      Parameter parameter;
      parameter.name = expect_name();
      if (skip_operator("=")) {
        parameter.fallback = parse_expression(true);
      } else if (!out.empty() && out.back().fallback) {
        error("a parameter without a default follows one with a default");
      }
      out.push_back(std::move(parameter));
    }
    next();
    return out;
  }

  StatementPtr parse_macro() {
    auto node = make_statement(StatementKind::kMacro);
    next();
    node->text = expect_name();
    const bool outer = std::exchange(soft_, false);
    node->parameters = parse_parameters();
    const int loops = std::exchange(loops_, 0);
    macros_.push_back(node.get());
    node->blocks.push_back(parse_body("endmacro"));
    macros_.pop_back();
    loops_ = loops;
    soft_ = outer;
    expect_block_end();
    return node;
  }

  StatementPtr parse_call_block() {
    auto node = make_statement(StatementKind::kCallBlock);
    next();
    if (at_operator("(")) node->parameters = parse_parameters();
    node->expressions.push_back(parse_expression(true));
    if (node->expressions[0]->kind != ExpressionKind::kCall) error("expected a call");
    const int loops = std::exchange(loops_, 0);
    macros_.push_back(node.get());
    node->blocks.push_back(parse_body("endcall"));
    macros_.pop_back();
    loops_ = loops;
    expect_block_end();
    return node;
  }

  StatementPtr parse_filter_block() {
    auto node = make_statement(StatementKind::kFilterBlock);
    next();
    const bool outer = std::exchange(soft_, false);
    node->expressions.push_back(parse_one_filter(nullptr));
    while (at_operator("|")) node->expressions[0] = parse_filters(std::move(node->expressions[0]));
    node->blocks.push_back(parse_body("endfilter"));
    soft_ = outer;
    expect_block_end();
    return node;
  }

  StatementPtr parse_with() {
    auto node = make_statement(StatementKind::kWith);
    next();
    while (peek().kind != TokenKind::kBlockEnd) {
      if (!node->parameters.empty()) expect_operator(",");
      Parameter parameter;
      parameter.name = expect_name();
      expect_operator("=");
      parameter.fallback = parse_expression(true);
      node->parameters.push_back(std::move(parameter));
    }
    node->blocks.push_back(parse_body("endwith"));
    expect_block_end();
    return node;
  }

  // Expressions, from the loosest to the tightest binding.

  // One expression, or several with commas between: a tuple.
  ExpressionPtr parse_tuple(bool with_condition) {
    auto first = parse_expression(with_condition);
    if (!at_operator(",")) return first;
    std::vector<ExpressionPtr> items;
    items.push_back(std::move(first));
    while (skip_operator(",")) {
      if (at_tuple_end()) break;
      items.push_back(parse_expression(with_condition));
    }
    return make(ExpressionKind::kTuple, "", std::move(items));
  }
  bool at_tuple_end() const {
    return peek().kind == TokenKind::kBlockEnd || peek().kind == TokenKind::kVariableEnd || at_operator(")") ||
           at_name("in") || at_name("if") || at_name("recursive");
  }

  ExpressionPtr parse_expression(bool with_condition) {
    const Nested nested(*this);
    if (!with_condition) return parse_or();
    const size_t unknown_before = unknown_.size();
    auto value = parse_or();
    while (skip_name("if")) {
      auto condition = parse_or();
      ExpressionPtr otherwise;
      if (skip_name("else")) otherwise = parse_expression(true);
      value =
          make(ExpressionKind::kConditional, "", list_of(std::move(value), std::move(condition), std::move(otherwise)));
      unknown_.resize(unknown_before);  // within a condition they fail only when they are used
    }
    return value;
  }

  ExpressionPtr parse_or() {
    auto left = parse_and();
    while (skip_name("or")) {
      auto right = parse_and();
      left = make(ExpressionKind::kOr, "", list_of(std::move(left), std::move(right)));
    }
    return left;
  }

  ExpressionPtr parse_and() {
    auto left = parse_not();
    while (skip_name("and")) {
      auto right = parse_not();
      left = make(ExpressionKind::kAnd, "", list_of(std::move(left), std::move(right)));
    }
    return left;
  }

  ExpressionPtr parse_not() {
    if (!at_name("not")) return parse_compare();
    const Nested nested(*this);
    next();
    return make(ExpressionKind::kNot, "", list_of(parse_not()));
  }

  ExpressionPtr parse_compare() {
    auto first = parse_sum();
    std::vector<std::string> operators;
    std::vector<ExpressionPtr> operands;
    operands.push_back(std::move(first));
    for (;;) {
      static constexpr std::string_view kOperators[] = {"==", "!=", "<", "<=", ">", ">="};
      if (peek().kind == TokenKind::kOperator &&
          std::find(std::begin(kOperators), std::end(kOperators), peek().text) != std::end(kOperators)) {
        operators.push_back(next().text);
      } else if (skip_name("in")) {
        operators.emplace_back("in");
      } else if (at_name("not") && at_name("in", 1)) {
        next();
        next();
        operators.emplace_back("not in");
      } else {
        break;
      }
      operands.push_back(parse_sum());
    }
    if (operators.empty()) return std::move(operands[0]);
    auto node = make(ExpressionKind::kCompare, "", std::move(operands));
    node->operators = std::move(operators);
    return node;
  }

  ExpressionPtr binary(std::string name, ExpressionPtr left, ExpressionPtr right) {
    return make(ExpressionKind::kBinary, std::move(name), list_of(std::move(left), std::move(right)));
  }

  ExpressionPtr parse_sum() {
    auto left = parse_concat();
    while (at_operator("+") || at_operator("-")) {
      const std::string name = next().text;
      auto right = parse_concat();
      left = binary(name, std::move(left), std::move(right));
    }
    return left;
  }

  ExpressionPtr parse_concat() {
    std::vector<ExpressionPtr> parts;
    parts.push_back(parse_product());
    while (skip_operator("~")) parts.push_back(parse_product());
    if (parts.size() == 1) return std::move(parts[0]);
    return make(ExpressionKind::kConcat, "", std::move(parts));
  }

  ExpressionPtr parse_product() {
    auto left = parse_power();
    while (at_operator("*") || at_operator("/") || at_operator("//") || at_operator("%")) {
      const std::string name = next().text;
      auto right = parse_power();
      left = binary(name, std::move(left), std::move(right));
    }
    return left;
  }

  ExpressionPtr parse_power() {
    auto left = parse_unary(true);
    while (skip_operator("**")) {
      auto right = parse_unary(true);
      left = binary("**", std::move(left), std::move(right));
    }
    return left;
  }

  ExpressionPtr parse_unary(bool with_filters) {
    ExpressionPtr node;
    if (at_operator("-") || at_operator("+")) {
      const Nested nested(*this);
      const std::string name = next().text;
      node = make(ExpressionKind::kUnary, name, list_of(parse_unary(false)));
    } else {
      node = parse_postfix(parse_primary());
    }
    return with_filters ? parse_filters(std::move(node)) : std::move(node);
  }

  ExpressionPtr parse_primary() {
    const Token& token = peek();
    switch (token.kind) {
      case TokenKind::kName: {
        const std::string name = next().text;
        if (name == "true" || name == "True") return constant(true);
        if (name == "false" || name == "False") return constant(false);
        if (name == "none" || name == "None") return constant(None{});
        for (Statement* macro : macros_) {
          macro->uses_varargs = macro->uses_varargs || name == "varargs";
          macro->uses_kwargs = macro->uses_kwargs || name == "kwargs";
          macro->uses_caller = macro->uses_caller || name == "caller";
        }
        return make(ExpressionKind::kName, name);
      }
      case TokenKind::kString: {
        std::string text = next().text;
        while (peek().kind == TokenKind::kString) text += next().text;
        return constant(std::move(text));
      }
      case TokenKind::kInteger: {
        const std::string digits = next().text;
        errno = 0;
        const int64_t value = std::strtoll(digits.c_str(), nullptr, 10);
        if (errno != 0) error("the number " + digits.substr(0, 40) + " is too large");
        return constant(value);
      }
      case TokenKind::kFloat:
        return constant(std::strtod(next().text.c_str(), nullptr));
      case TokenKind::kOperator:
        if (token.text == "(") return parse_parenthesis();
        if (token.text == "[") return parse_list();
        if (token.text == "{") return parse_dict();
        break;
      default:
        break;
    }
    error("unexpected " + describe());
  }

  ExpressionPtr parse_parenthesis() {
    const Nested nested(*this);
    next();
    if (skip_operator(")")) return make(ExpressionKind::kTuple);
    auto inner = parse_tuple(true);
    expect_operator(")");
    return inner;
  }

  ExpressionPtr parse_list() {
    const Nested nested(*this);
    next();
    std::vector<ExpressionPtr> items;
    while (!at_operator("]")) {
      if (!items.empty()) {
        expect_operator(",");
        if (at_operator("]")) break;
      }
      items.push_back(parse_expression(true));
    }
    next();
    return make(ExpressionKind::kList, "", std::move(items));
  }

  ExpressionPtr parse_dict() {
    const Nested nested(*this);
    next();
    std::vector<ExpressionPtr> items;
    while (!at_operator("}")) {
      if (!items.empty()) {
        expect_operator(",");
        if (at_operator("}")) break;
      }
      items.push_back(parse_expression(true));
      expect_operator(":");
      items.push_back(parse_expression(true));
    }
    next();
    return make(ExpressionKind::kDict, "", std::move(items));
  }

  ExpressionPtr parse_postfix(ExpressionPtr node) {
    for (;;) {
      if (skip_operator(".")) {
        if (peek().kind == TokenKind::kInteger) {
          auto index = constant(static_cast<int64_t>(std::strtoll(next().text.c_str(), nullptr, 10)));
          node = make(ExpressionKind::kItem, "", list_of(std::move(node), std::move(index)));
        } else {
          node = make(ExpressionKind::kAttribute, expect_name(), list_of(std::move(node)));
        }
      } else if (at_operator("[")) {
        node = parse_subscript(std::move(node));
      } else if (at_operator("(")) {
        node = parse_call(std::move(node));
      } else {
        return node;
      }
    }
  }

  ExpressionPtr parse_subscript(ExpressionPtr node) {
    const Nested nested(*this);
    next();
    ExpressionPtr parts[3];
    size_t count = 0;
    bool is_slice = false;
    for (;;) {
      if (at_operator("]") && (count > 0 || is_slice)) break;
      if (at_operator(":")) {
        next();
        is_slice = true;
        if (++count > 2) error("too many ':' in a slice");
        continue;
      }
      if (parts[count]) error("unexpected " + describe() + " in a subscript");
      parts[count] = parse_expression(true);
      if (at_operator(",")) error("a subscript has one index");
      if (at_operator("]")) break;
      if (!at_operator(":")) error("expected ']', got " + describe());
    }
    next();
    if (!is_slice) return make(ExpressionKind::kItem, "", list_of(std::move(node), std::move(parts[0])));
    return make(ExpressionKind::kSlice, "",
                list_of(std::move(node), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])));
  }

  void parse_arguments(Expression& node) {
    const Nested nested(*this);
    expect_operator("(");
    bool named = false;
    for (bool first = true; !at_operator(")"); first = false) {
      if (!first) {
        expect_operator(",");
        if (at_operator(")")) break;
      }
      Argument argument;
      if (skip_operator("*")) {
        argument.kind = Argument::Kind::kList;
      } else if (skip_operator("**")) {
        argument.kind = Argument::Kind::kDict;
        named = true;
      } else if (peek().kind == TokenKind::kName && at_operator("=", 1)) {
        argument.kind = Argument::Kind::kNamed;
        argument.name = next().text;
        next();
        named = true;
      } else if (named) {
        error("a positional argument follows a named one");
      }
      argument.value = parse_expression(true);
      deepen(node, argument.value.get());
      node.arguments.push_back(std::move(argument));
    }
    next();
  }

  ExpressionPtr parse_call(ExpressionPtr callee) {
    auto node = make(ExpressionKind::kCall, "", list_of(std::move(callee)));
    parse_arguments(*node);
    return node;
  }

  // Filters, tests and calls behind a value.
  ExpressionPtr parse_filters(ExpressionPtr node) {
    for (;;) {
      if (skip_operator("|")) {
        node = parse_one_filter(std::move(node));
      } else if (node && at_name("is")) {
        node = parse_test(std::move(node));
      } else if (node && at_operator("(")) {
        node = parse_call(std::move(node));
      } else {
        return node;
      }
    }
  }

  std::string parse_dotted_name() {
    std::string name = expect_name();
    while (skip_operator(".")) name += "." + expect_name();
    return name;
  }

  // Jinja refuses unknown filters and tests when it compiles, but for those that a condition may leave unused. Whether
  // an expression is conditional shows only behind it, so they are noted here and judged later.
  void note_unknown(std::string message) {
    unknown_.push_back({TokenKind::kName, std::move(message), peek().line, peek().column});
  }

  ExpressionPtr parse_one_filter(ExpressionPtr input) {
    const std::string name = parse_dotted_name();
    if (!soft_ && find_filter(name) == nullptr) note_unknown("no filter named '" + name + "'");
    auto node = make(ExpressionKind::kFilter, name, list_of(std::move(input)));
    if (at_operator("(")) parse_arguments(*node);
    return node;
  }

  ExpressionPtr parse_test(ExpressionPtr input) {
    next();
    const bool negated = skip_name("not");
    const std::string name = parse_dotted_name();
    if (!soft_ && find_test(name) == nullptr) note_unknown("no test named '" + name + "'");
    auto node = make(ExpressionKind::kTest, name, list_of(std::move(input)));
    const TokenKind kind = peek().kind;
    const bool argument = kind == TokenKind::kName || kind == TokenKind::kString || kind == TokenKind::kInteger ||
                          kind == TokenKind::kFloat || at_operator("[") || at_operator("{");
    if (at_operator("(")) {
      parse_arguments(*node);
    } else if (argument && !at_name("else") && !at_name("or") && !at_name("and")) {
      if (at_name("is")) error("tests cannot be chained with 'is'");
      Argument value;
      value.value = parse_postfix(parse_primary());
      deepen(*node, value.value.get());
      node->arguments.push_back(std::move(value));
    }
    return negated ? make(ExpressionKind::kNot, "", list_of(std::move(node))) : std::move(node);
  }

  std::vector<Token> tokens_;
  size_t position_ = 0;
  int nesting_ = 0;
  int loops_ = 0;
  std::vector<Statement*> macros_;  // that are being read
  bool soft_ = false;               // within a condition's reach, where an unknown filter fails only when it is used
  bool has_generation_ = false;
  std::vector<Token> unknown_;  // text: the message
};

}  // namespace

Tree parse(const std::string& source) {
  if (source.size() > kMaxSourceBytes) {
    throw base::Error(base::kInvalidModel,
                      "the chat template is longer than " + std::to_string(kMaxSourceBytes) + " bytes");
  }
  return Parser(source).run();
}

}  // namespace slipway::text::jinja
