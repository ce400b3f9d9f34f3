#include "agents/engine/runtime/grammar.h"

#include <dlfcn.h>

#include <utility>

#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

constexpr char kModule[] = "libslipway_grammar.so";

}  // namespace

std::vector<std::filesystem::path> module_folders() {
  std::error_code failure;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", failure);
  if (failure) return {};
  const auto folder = program.parent_path();
  return {folder, folder.parent_path() / "lib" / "slipway", folder.parent_path() / "lib"};
}

GrammarCompiler::GrammarCompiler(std::vector<std::filesystem::path> folders,
                                 std::function<GrammarVocabulary()> vocabulary)
    : folders_(std::move(folders)), vocabulary_(std::move(vocabulary)) {}

GrammarCompiler::~GrammarCompiler() = default;  // the module stays loaded: its constraints may live longer

void GrammarCompiler::load() {
  std::string looked;
  void* library = nullptr;
  for (const auto& folder : folders_) {
    const auto path = folder / kModule;
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
      looked += (looked.empty() ? "" : ", ") + folder.string();
      continue;
    }
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) failure_ = dlerror();
    break;
  }
  if (library == nullptr) {
    if (failure_.empty()) failure_ = std::string(kModule) + " is not in " + looked;
    return;
  }
  const auto make = reinterpret_cast<MakeGrammarModule*>(dlsym(library, kMakeGrammarModule));
  if (make == nullptr) {
    failure_ = std::string(kModule) + " is of another version";
    return;
  }
  module_.reset(make(vocabulary_(), failure_));
}

std::shared_ptr<TokenConstraint> GrammarCompiler::compile(GrammarKind kind, const std::string& text) {
  GrammarModule* loaded = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (!module_ && failure_.empty()) load();
    if (!module_) {
      throw base::Error(base::kUnsupported, "constrained output is not available here: " + failure_,
                        "install Slipway with its XGrammar library, or ask for free text");
    }
    loaded = module_.get();
  }
  std::string failure;
  auto constraint = loaded->compile(kind, text, failure);
  if (!constraint) throw base::Error("INVALID_REQUEST", failure, "");
  return constraint;
}

}  // namespace slipway::runtime
