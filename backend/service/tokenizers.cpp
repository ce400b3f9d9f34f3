#include "backend/service/tokenizers.h"

#include <utility>

#include "backend/base/error.h"
#include "backend/base/status.h"

namespace slipway::service {
namespace {
constexpr size_t kMostKept = 4;
}  // namespace

absl::StatusOr<std::shared_ptr<const LoadedTokenizer>> Tokenizers::find(const std::string& model_version) {
  const auto version = database_.read([&](store::Connection& connection) -> absl::StatusOr<store::ModelVersion> {
    auto found = store::find_model_version(connection, model_version);
    if (found && found->adapter) found = store::find_model_version(connection, found->base_version_id);
    if (!found) return base::not_found("model version", model_version);
    return *std::move(found);
  });
  if (!version.ok()) return version.status();
  {
    const std::lock_guard lock(mutex_);
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (entry->version_id != version->id) continue;
      entries_.splice(entries_.begin(), entries_, entry);
      return entry->loaded;
    }
  }
  const auto path = registry_.local_path(*version);
  if (!path.ok()) return path.status();
  auto loaded = std::make_shared<LoadedTokenizer>();
  try {
    loaded->tokenizer = text::load_tokenizer(*path);
    if (!loaded->tokenizer->chat_template().empty()) {
      loaded->conversations = std::make_unique<const text::ConversationTokenizer>(*loaded->tokenizer);
    }
  } catch (const base::Error& error) {
    return base::failed_precondition(
        error.code(), "the tokenizer of " + version->label() + " cannot be used: " + error.what(), error.advice());
  }
  const std::lock_guard lock(mutex_);
  entries_.push_front({version->id, loaded});
  if (entries_.size() > kMostKept) entries_.pop_back();
  return std::shared_ptr<const LoadedTokenizer>(std::move(loaded));
}

}  // namespace slipway::service
