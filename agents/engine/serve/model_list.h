// The names under which clients call the base models and their adapters. Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "agents/engine/serve/generator.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/clock.h"

namespace slipway::serve {

// What a request's model names.
struct ModelTarget {
  size_t base = 0;      // index of the base model
  std::string adapter;  // the engine's name of it; empty: the base itself
};

class ModelList {
 public:
  // The first of `bases` answers requests that name none.
  ModelList(std::vector<std::string> bases, const base::Clock& clock);

  const std::string& base_name(size_t base) const { return bases_[base]; }

  // Throws ApiError 404 that lists what there is, 503 for an adapter that could not be loaded with its base model.
  ModelTarget resolve(const std::string& model) const;
  // As resolve(), for the name of a base model alone; empty: the first.
  size_t resolve_base(const std::string& model) const;

  // A PEFT folder that is given to its base model's engine when that is loaded. Throws base::Error ALREADY_EXISTS,
  // INVALID_NAME. task_id: as runtime::Engine::load_adapter, here and below.
  void expect(const std::string& name, size_t base, const std::filesystem::path& folder, int64_t task_id);
  // Gives the engine of a base model all of its adapters. One that cannot be used is logged and refused from then on;
  // with `strict` its base::Error is thrown.
  void give_adapters(size_t base, const text::Tokenizer& tokenizer, Generator& generator, bool strict);

  // Loads a PEFT folder into a base model that is in memory. Throws base::Error: ALREADY_EXISTS, INVALID_MODEL (also
  // when the adapter was trained with another tokenizer), NOT_FOUND.
  void load(const std::string& name, size_t base, const std::filesystem::path& folder, int64_t task_id,
            const text::Tokenizer& tokenizer, Generator& generator);
  // Forgets the name; the engine must be told. Returns its base model. Throws base::Error NOT_FOUND.
  size_t forget(const std::string& name);

  struct Entry {
    std::string name;
    size_t base = 0;
    bool adapter = false;
    int64_t created = 0;         // Unix seconds
    int64_t virtual_tokens = 0;  // that it takes of the model's length; known since it was loaded
  };
  std::vector<Entry> entries() const;  // each base, then its adapters

 private:
  struct Adapter {
    size_t base = 0;
    std::filesystem::path folder;
    int64_t task_id = 0;
    int64_t created = 0;
    int64_t virtual_tokens = 0;
    std::string failure = {};  // why it could not be loaded with its base model
  };

  void check_free(const std::string& name) const;  // with mutex_ held

  const std::vector<std::string> bases_;
  const base::Clock& clock_;
  const int64_t created_;
  mutable std::mutex mutex_;
  std::map<std::string, Adapter> adapters_;
  std::mutex loading_;  // one load at a time
};

}  // namespace slipway::serve
