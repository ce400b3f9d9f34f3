#include "agents/engine/serve/model_list.h"

#include <nlohmann/json.hpp>

#include "agents/engine/serve/api_error.h"
#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::serve {
namespace {

constexpr size_t kMaxNameBytes = 256;
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

ModelList::ModelList(std::string base_name, std::string fingerprint, Generator& generator, const base::Clock& clock)
    : base_name_(std::move(base_name)),
      fingerprint_(std::move(fingerprint)),
      generator_(generator),
      clock_(clock),
      created_(clock.now_ms() / 1000) {}

std::string ModelList::adapter_of(const std::string& model) const {
  if (model.empty() || model == base_name_) return "";
  const std::lock_guard lock(mutex_);
  if (adapters_.contains(model)) return model;
  std::vector<std::string> names = {base_name_};
  for (const auto& [name, unused] : adapters_) names.push_back(name);
  std::string list;
  for (size_t i = 0; i < names.size() && i < 20; ++i) list += (list.empty() ? "" : ", ") + names[i];
  const std::string nearest = spec::nearest_name(model, names);
  throw ApiError(404,
                 "the model `" + model.substr(0, kMaxNameBytes) + "` is not served here; served: " + list +
                     (nearest.empty() ? "" : "; did you mean " + nearest + "?"),
                 "model", "model_not_found");
}

void ModelList::load(const std::string& name, const std::filesystem::path& folder) {
  if (name.empty() || name.size() > kMaxNameBytes) {
    throw base::Error("INVALID_NAME", "an adapter's name has 1 to " + std::to_string(kMaxNameBytes) + " bytes",
                      "choose another name");
  }
  const std::lock_guard one_at_a_time(loading_);
  {
    const std::lock_guard lock(mutex_);
    if (name == base_name_ || adapters_.contains(name)) {
      throw base::Error("ALREADY_EXISTS", "the name " + name + " is taken", "unload it first, or choose another name");
    }
  }
  check_fingerprint(name, folder, fingerprint_);
  generator_.load_adapter(name, folder);
  const std::lock_guard lock(mutex_);
  adapters_[name] = clock_.now_ms() / 1000;
}

void ModelList::unload(const std::string& name) {
  const std::lock_guard one_at_a_time(loading_);
  {
    const std::lock_guard lock(mutex_);
    if (adapters_.erase(name) == 0)
      throw base::Error(base::kNotFound, "no adapter " + name + " is loaded", "GET /v1/models lists what is");
  }
  generator_.unload_adapter(name);
}

std::vector<ModelList::Entry> ModelList::entries() const {
  const std::lock_guard lock(mutex_);
  std::vector<Entry> result = {{base_name_, "", created_}};
  for (const auto& [name, created] : adapters_) result.push_back({name, base_name_, created});
  return result;
}

}  // namespace slipway::serve
