// libslipway_grammar.so: XGrammar through tvm-ffi's C++ headers. Loaded by grammar.cpp; the one place where its
// exceptions are caught.
#include "agents/engine/runtime/grammar_module.h"

#include <dlfcn.h>
#include <dlpack/dlpack.h>
#include <tvm/ffi/tvm_ffi.h>

#include <algorithm>
#include <exception>
#include <stdexcept>

namespace slipway::runtime {
namespace {

namespace ffi = tvm::ffi;

constexpr char kLibrary[] = "libxgrammar_bindings.so";
constexpr int64_t kCompileThreads = 2;
constexpr int64_t kCacheBytes = int64_t{64} << 20U;  // of compiled grammars
constexpr int64_t kMostWhitespace = 32;              // in one place of JSON: small models would go on for ever

ffi::Function method(const char* type, const char* name) {
  return ffi::reflection::GetMethod(std::string("xgrammar.tvm_ffi_binding.") + type, name);
}

std::string reason_of(const std::exception& error) {
  std::string text = error.what();
  // tvm-ffi appends a backtrace; XGrammar puts file and line before its message.
  text = text.substr(0, text.find("\nTraceback"));
  if (const size_t bracket = text.find("] "); text.starts_with("[") && bracket != std::string::npos) {
    text.erase(0, bracket + 2);
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

class Matcher : public TokenConstraint {
 public:
  explicit Matcher(ffi::Any matcher) : matcher_(std::move(matcher)) {}

  bool fill_mask(std::span<int32_t> mask) noexcept override {
    try {
      int64_t shape[] = {1, static_cast<int64_t>(mask.size())};
      int64_t strides[] = {static_cast<int64_t>(mask.size()), 1};
      DLTensor tensor{};
      tensor.data = mask.data();
      tensor.device = {kDLCPU, 0};
      tensor.ndim = 2;
      tensor.dtype = {kDLInt, 32, 1};
      tensor.shape = shape;
      tensor.strides = strides;
      const bool limits = fill_(matcher_, &tensor, int64_t{0}, false).cast<bool>();
      if (!limits) std::fill(mask.begin(), mask.end(), -1);
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }
  bool accept(int32_t token) noexcept override {
    try {
      return accept_(matcher_, static_cast<int64_t>(token), false).cast<bool>();
    } catch (const std::exception&) {
      return false;
    }
  }
  bool complete() const noexcept override {
    try {
      return complete_(matcher_).cast<bool>();
    } catch (const std::exception&) {
      return true;
    }
  }

 private:
  ffi::Any matcher_;
  const ffi::Function fill_ = method("GrammarMatcher", "fill_next_token_bitmask");
  const ffi::Function accept_ = method("GrammarMatcher", "accept_token");
  const ffi::Function complete_ = method("GrammarMatcher", "is_terminated");
};

class Module : public GrammarModule {
 public:
  explicit Module(const GrammarVocabulary& vocabulary) {
    ffi::Array<ffi::Any> tokens;
    for (const std::string& token : vocabulary.tokens) tokens.push_back(ffi::Bytes(token));
    ffi::Array<int64_t> stops;
    for (const int32_t token : vocabulary.stop_tokens) stops.push_back(token);
    const int64_t raw = 0;  // the tokens are bytes, not spelled in any way
    const ffi::Any info = method("TokenizerInfo", "__ffi_init__")(tokens, raw, vocabulary.size, stops, false);
    compiler_ = method("GrammarCompiler", "__ffi_init__")(info, kCompileThreads, true, kCacheBytes);
  }

  std::shared_ptr<TokenConstraint> compile(GrammarKind kind, const std::string& text,
                                           std::string& failure) noexcept override {
    try {
      const ffi::Any none;
      const ffi::Any compiled = compiled_grammar(kind, text);
      return std::make_shared<Matcher>(
          method("GrammarMatcher", "__ffi_init__")(compiled, none, false, int64_t{-1}, none));
    } catch (const std::exception& error) {
      failure = reason_of(error);
      if (failure.empty()) failure = "XGrammar refused it without saying why";
      return nullptr;
    }
  }

 private:
  ffi::Any compiled_grammar(GrammarKind kind, const std::string& text) const {
    const ffi::Any none;
    switch (kind) {
      case GrammarKind::kJsonSchema:
        return method("GrammarCompiler", "compile_json_schema")(compiler_, text, true, none, none, true,
                                                                kMostWhitespace, false);
      case GrammarKind::kRegex:
        return method("GrammarCompiler", "compile_regex")(compiler_, text);
      case GrammarKind::kEbnf:
        return method("GrammarCompiler", "compile_grammar_from_strings")(compiler_, text, "root");
      case GrammarKind::kStructuralTag:
        return method("GrammarCompiler", "compile_structural_tag")(compiler_, text);
    }
    throw std::logic_error("no such kind of grammar");
  }

  ffi::Any compiler_;
};

}  // namespace
}  // namespace slipway::runtime

extern "C" slipway::runtime::GrammarModule* slipway_make_grammar_module(
    const slipway::runtime::GrammarVocabulary& vocabulary, std::string& failure) {
  try {
    if (dlopen(slipway::runtime::kLibrary, RTLD_NOW | RTLD_LOCAL) == nullptr) {
      failure = dlerror();
      return nullptr;
    }
    return new slipway::runtime::Module(vocabulary);
  } catch (const std::exception& error) {
    failure = slipway::runtime::reason_of(error);
    return nullptr;
  }
}
