#include "agents/engine/serve/model_list.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agents/engine/serve/api_error.h"
#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::serve {
namespace {

constexpr size_t kMaxNameBytes = 256;
constexpr size_t kMostNamesShown = 20;
constexpr size_t kMaxNoteBytes = size_t{1} << 20U;

// An adapter folder may carry slipway.json, {"tokenizer_fingerprint": "..."}: of the tokenizer it was trained with.
void check_fingerprint(const std::string& name, const std::filesystem::path& folder, const std::string& expected) {
  const std::filesystem::path note = folder / "slipway.json";
  std::error_code ignored;
  if (!std::filesystem::exists(note, ignored)) return;
  const nlohmann::json parsed = nlohmann::json::parse(base::read_file(note, kMaxNoteBytes), nullptr, false);
  if (!parsed.is_object())
    throw base::Error(base::kInvalidModel, note.string() + " is not a JSON object", "export the adapter again");
  const auto found = parsed.find("tokenizer_fingerprint");
  if (found == parsed.end() || !found->is_string() || *found == expected) return;
  throw base::Error(base::kInvalidModel,
                    "adapter " + name + " was trained with another tokenizer or chat template (" +
                        found->get<std::string>().substr(0, 12) + ") than this model's (" + expected.substr(0, 12) +
                        ")",
                    "serve it on the base model it was trained on, with the same tokenizer files");
}

}  // namespace

ModelList::ModelList(std::vector<std::string> bases, const base::Clock& clock)
    : bases_(std::move(bases)), clock_(clock), created_(clock.now_ms() / 1000) {}

ModelTarget ModelList::resolve(const std::string& model) const {
  if (model.empty()) return {};
  const auto base = std::find(bases_.begin(), bases_.end(), model);
  if (base != bases_.end()) return {static_cast<size_t>(base - bases_.begin()), ""};
  const std::lock_guard lock(mutex_);
  if (const auto found = adapters_.find(model); found != adapters_.end()) {
    if (found->second.failure.empty()) return {found->second.base, model};
    throw ApiError(503, "the adapter " + model + " could not be loaded: " + found->second.failure, "model",
                   "adapter_failed");
  }
  std::vector<std::string> names = bases_;
  for (const auto& [name, unused] : adapters_) names.push_back(name);
  std::string list;
  for (size_t i = 0; i < names.size() && i < kMostNamesShown; ++i) list += (list.empty() ? "" : ", ") + names[i];
  const std::string nearest = spec::nearest_name(model, names);
  throw ApiError(404,
                 "the model `" + model.substr(0, kMaxNameBytes) + "` is not served here; served: " + list +
                     (nearest.empty() ? "" : "; did you mean " + nearest + "?"),
                 "model", "model_not_found");
}

size_t ModelList::resolve_base(const std::string& model) const {
  const ModelTarget target = resolve(model);
  if (target.adapter.empty()) return target.base;
  throw ApiError(400, model + " is an adapter; adapters are loaded on a base model", "base_model_name",
                 "invalid_value");
}

void ModelList::check_free(const std::string& name) const {
  if (name.empty() || name.size() > kMaxNameBytes) {
    throw base::Error("INVALID_NAME", "an adapter's name has 1 to " + std::to_string(kMaxNameBytes) + " bytes",
                      "choose another name");
  }
  if (adapters_.contains(name) || std::find(bases_.begin(), bases_.end(), name) != bases_.end()) {
    throw base::Error("ALREADY_EXISTS", "the name " + name + " is taken", "unload it first, or choose another name");
  }
}

void ModelList::expect(const std::string& name, size_t base, const std::filesystem::path& folder, int64_t task_id) {
  const std::lock_guard lock(mutex_);
  check_free(name);
  adapters_[name] = {base, folder, task_id, clock_.now_ms() / 1000};
}

void ModelList::give_adapters(size_t base, const text::Tokenizer& tokenizer, Generator& generator, bool strict) {
  const std::lock_guard one_at_a_time(loading_);
  std::map<std::string, Adapter> adapters;
  {
    const std::lock_guard lock(mutex_);
    adapters = adapters_;
  }
  for (const auto& [name, adapter] : adapters) {
    if (adapter.base != base) continue;
    std::string failure;
    int64_t virtual_tokens = 0;
    try {
      check_fingerprint(name, adapter.folder, tokenizer.fingerprint());
      generator.load_adapter(name, adapter.folder, adapter.task_id);
      virtual_tokens = generator.virtual_tokens(name);
    } catch (const base::Error& error) {
      if (strict) throw;
      failure = error.what();
      spdlog::error("an adapter cannot be loaded with its model name={} model={} error=\"{}\"", name, bases_[base],
                    failure);
    }
    const std::lock_guard lock(mutex_);
    const auto found = adapters_.find(name);
    if (found == adapters_.end()) continue;
    found->second.failure = failure;
    found->second.virtual_tokens = virtual_tokens;
  }
}

void ModelList::load(const std::string& name, size_t base, const std::filesystem::path& folder, int64_t task_id,
                     const text::Tokenizer& tokenizer, Generator& generator) {
  const std::lock_guard one_at_a_time(loading_);
  {
    const std::lock_guard lock(mutex_);
    check_free(name);
  }
  check_fingerprint(name, folder, tokenizer.fingerprint());
  generator.load_adapter(name, folder, task_id);
  const int64_t virtual_tokens = generator.virtual_tokens(name);
  const std::lock_guard lock(mutex_);
  adapters_[name] = {base, folder, task_id, clock_.now_ms() / 1000, virtual_tokens};
}

size_t ModelList::forget(const std::string& name) {
  const std::lock_guard one_at_a_time(loading_);
  const std::lock_guard lock(mutex_);
  const auto found = adapters_.find(name);
  if (found == adapters_.end())
    throw base::Error(base::kNotFound, "no adapter " + name + " is loaded", "GET /v1/models lists what is");
  const size_t base = found->second.base;
  adapters_.erase(found);
  return base;
}

std::vector<ModelList::Entry> ModelList::entries() const {
  const std::lock_guard lock(mutex_);
  std::vector<Entry> result;
  for (size_t base = 0; base < bases_.size(); ++base) {
    result.push_back({bases_[base], base, false, created_, 0});
    for (const auto& [name, adapter] : adapters_) {
      if (adapter.base == base) result.push_back({name, base, true, adapter.created, adapter.virtual_tokens});
    }
  }
  return result;
}

}  // namespace slipway::serve
