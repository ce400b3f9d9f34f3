// The syntax tree of a template. Made by parser.cpp, walked by renderer.cpp and expressions.cpp.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agents/engine/text/jinja/value.h"

namespace slipway::text::jinja {

enum class ExpressionKind {
  kConstant,
  kName,
  kList,
  kTuple,
  kDict,       // dict: key, value, key, value
  kAttribute,  // child 0, name
  kItem,       // child 0 [child 1]
  kSlice,      // child 0 [child 1 : child 2 : child 3], missing ones null
  kCall,       // child 0 (arguments)
  kFilter,
  kTest,  // name; child 0 is the input, null inside {% filter %}
  kUnary,
  kBinary,
  kCompare,  // name is the operator; compare: child 0, then operators and children
  kAnd,
  kOr,
  kNot,
  kConditional,  // conditional: child 0 if child 1 else child 2 (null)
  kConcat,
};

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Argument {
  enum class Kind { kPositional, kNamed, kList, kDict } kind = Kind::kPositional;  // x, name=x, *x, **x
  std::string name;
  ExpressionPtr value;
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kConstant;
  int line = 0;
  int depth = 1;
  std::string name;
  Value constant;
  std::vector<ExpressionPtr> children;
  std::vector<std::string> operators;  // of a comparison chain
  std::vector<Argument> arguments;
};

enum class StatementKind {
  kText,
  kOutput,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kScope,
  kGeneration,
  kBreak,
  kContinue,
};

struct Statement;
using StatementPtr = std::unique_ptr<Statement>;
using Block = std::vector<StatementPtr>;

struct Parameter {
  std::string name;
  ExpressionPtr fallback;
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 0;
  std::string text;  // kText: the text; kMacro: the name
  std::vector<ExpressionPtr>
      expressions;            // kOutput: one; kIf: the conditions; kFor: iterable and filter or null; kSet: value
  ExpressionPtr target;       // kFor, kSet, kSetBlock: a name, a tuple of names, or an attribute of a namespace
  std::vector<Block> blocks;  // bodies; kIf: one per condition and perhaps one for else; kFor: body and else
  std::vector<Parameter> parameters;  // kMacro, kCallBlock; kWith: names and values
  bool recursive = false;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;  // of a macro: whether its body names them
};

struct Tree {
  Block body;
  bool has_generation = false;
};

}  // namespace slipway::text::jinja
