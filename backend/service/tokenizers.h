// Tokenizers of registered models, kept for previews. A few at a time: each holds some tens of MiB. Any thread.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "agents/engine/text/conversation.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/service/registry.h"
#include "backend/store/database.h"

namespace slipway::service {

struct LoadedTokenizer {
  std::unique_ptr<const text::Tokenizer> tokenizer;
  // Null when the model has no chat template.
  std::unique_ptr<const text::ConversationTokenizer> conversations;
};

class Tokenizers {
 public:
  Tokenizers(store::Database& database, Registry& registry) : database_(database), registry_(registry) {}

  // Of a model version (id, NAME@VERSION or NAME); of an adapter, its base's.
  absl::StatusOr<std::shared_ptr<const LoadedTokenizer>> find(const std::string& model_version);

 private:
  struct Entry {
    std::string version_id;
    std::shared_ptr<const LoadedTokenizer> loaded;
  };

  store::Database& database_;
  Registry& registry_;
  std::mutex mutex_;
  std::list<Entry> entries_;  // latest used first
};

}  // namespace slipway::service
