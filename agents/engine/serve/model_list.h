// The names under which clients call the base model and its adapters. Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "agents/engine/serve/generator.h"
#include "backend/base/clock.h"

namespace slipway::serve {

class ModelList {
 public:
  // `fingerprint`: of the served tokenizer.
  ModelList(std::string base_name, std::string fingerprint, Generator& generator, const base::Clock& clock);

  const std::string& base_name() const { return base_name_; }

  // The engine's adapter for a request's model: "" for the base. Throws ApiError 404 that lists what there is.
  std::string adapter_of(const std::string& model) const;

  // Loads a PEFT folder. Throws base::Error: ALREADY_EXISTS, INVALID_MODEL (also when the adapter was trained with
  // another tokenizer), NOT_FOUND.
  void load(const std::string& name, const std::filesystem::path& folder);
  // Throws base::Error NOT_FOUND.
  void unload(const std::string& name);

  struct Entry {
    std::string name;
    std::string parent;   // empty for the base
    int64_t created = 0;  // Unix seconds
  };
  std::vector<Entry> entries() const;  // the base first

 private:
  const std::string base_name_;
  const std::string fingerprint_;
  Generator& generator_;
  const base::Clock& clock_;
  const int64_t created_;
  mutable std::mutex mutex_;
  std::map<std::string, int64_t> adapters_;  // name -> Unix seconds
  std::mutex loading_;                       // one load at a time
};

}  // namespace slipway::serve
