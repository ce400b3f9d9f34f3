#include "agents/engine/prep/operators.h"

#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "agents/engine/prep/near_duplicates.h"
#include "agents/engine/prep/normalize.h"
#include "backend/base/error.h"
#include "backend/base/sha256.h"

namespace slipway::prep {
namespace {

using nlohmann::json;

class NormalizeText : public Operator {
 public:
  explicit NormalizeText(const json& spec) {
    const std::string form = spec.value("unicode", "NFC");
    form_ = form == "NFC" ? UnicodeForm::kNfc : form == "NFKC" ? UnicodeForm::kNfkc : UnicodeForm::kNone;
  }
  const std::string& name() const override { return name_; }
  Verdict apply(Row& row, RowId) override {
    row.for_each_text([this](std::string& text) { text = normalize_text(text, form_); });
    return {};
  }

 private:
  std::string name_ = "normalize_text";
  UnicodeForm form_ = UnicodeForm::kNfc;
};

class FilterLength : public Operator {
 public:
  explicit FilterLength(const json& spec)
      : least_(spec.value("min_characters", int64_t{0})), most_(spec.value("max_characters", int64_t{0})) {
    if (most_ > 0 && most_ < least_) {
      throw base::Error(base::kInvalidSpec,
                        "filter_length has max_characters " + std::to_string(most_) + " below min_characters " +
                            std::to_string(least_),
                        "exchange the two, or leave one out");
    }
  }
  const std::string& name() const override { return name_; }
  Verdict apply(Row& row, RowId) override {
    const int64_t characters = row.characters();
    if (characters < least_) return {"too_short", std::to_string(characters) + " characters"};
    if (most_ > 0 && characters > most_) return {"too_long", std::to_string(characters) + " characters"};
    return {};
  }

 private:
  std::string name_ = "filter_length";
  int64_t least_, most_;
};

class DedupExact : public Operator {
 public:
  const std::string& name() const override { return name_; }
  Verdict apply(Row& row, RowId id) override {
    const std::string hex = base::sha256_hex(joined_texts(row, exact_key));
    const Key key{std::stoull(hex.substr(0, 16), nullptr, 16), std::stoull(hex.substr(16, 16), nullptr, 16)};
    const auto [found, added] = seen_.emplace(key, id.packed());
    if (added) return {};
    return {"duplicate", "", found->second};
  }

 private:
  // 128 bits of the SHA-256: no two different texts in any dataset share them.
  struct Key {
    uint64_t high, low;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const { return key.low; }
  };
  std::string name_ = "dedup_exact";
  std::unordered_map<Key, int64_t, Hash> seen_;
};

class DedupNear : public Operator {
 public:
  DedupNear(const json& spec, const std::filesystem::path& folder) : options_(options(spec)), folder_(folder) {}
  const std::string& name() const override { return name_; }
  Verdict apply(Row& row, RowId id) override {
    NearDuplicates& texts = of_task_.try_emplace(row.task_id, options_, folder_).first->second;
    const auto match = texts.find_or_add(near_key(joined_texts(row, nullptr)), id.packed());
    if (!match) return {};
    char similarity[32];
    std::snprintf(similarity, sizeof similarity, "similarity %.3f", match->similarity);
    return {"near_duplicate", similarity, match->id};
  }

 private:
  static NearDuplicateOptions options(const json& spec) {
    return {spec.value("threshold", 0.8),
            spec.value("ngram_unit", "character") == "word" ? NgramUnit::kWord : NgramUnit::kCharacter,
            spec.value("ngram_size", int64_t{5})};
  }
  std::string name_ = "dedup_near";
  NearDuplicateOptions options_;
  std::filesystem::path folder_;
  std::map<int64_t, NearDuplicates> of_task_;  // the same text may be an example of several tasks
};

}  // namespace

std::string joined_texts(const Row& row, std::string (*key)(std::string_view)) {
  std::string joined;
  const auto add = [&](const std::string& role, const std::string& text) {
    // For comparing word by word only the texts count; for identity the roles count too, and no text can fake a border.
    if (key == nullptr) {
      joined += text + "\n";
    } else {
      const std::string cleaned = key(text);
      joined += role + ":" + std::to_string(cleaned.size()) + ":" + cleaned;
    }
  };
  const auto add_side = [&](const std::string& name, const nlohmann::ordered_json& side) {
    if (side.is_string()) add(name, side.get_ref<const std::string&>());
    if (!side.is_array()) return;
    for (const nlohmann::ordered_json& item : side) {
      add(name + "." + item["role"].get<std::string>(), item["content"].get_ref<const std::string&>());
      if (item.contains("tool_calls"))
        add("tool_calls", item["tool_calls"].dump(-1, ' ', false, json::error_handler_t::replace));
    }
  };
  if (key != nullptr && row.task_id >= 0) add("task_id", std::to_string(row.task_id));
  add_side("text", row.text);
  add_side("messages", row.messages);
  add_side("prompt", row.prompt);
  add_side("chosen", row.chosen);
  add_side("rejected", row.rejected);
  return joined;
}

std::vector<std::unique_ptr<Operator>> make_operators(const nlohmann::json& specs,
                                                      const std::filesystem::path& folder) {
  std::vector<std::unique_ptr<Operator>> operators;
  for (const json& spec : specs) {
    const std::string type = spec.at("type").get<std::string>();
    if (type == "normalize_text") {
      operators.push_back(std::make_unique<NormalizeText>(spec));
    } else if (type == "filter_length") {
      operators.push_back(std::make_unique<FilterLength>(spec));
    } else if (type == "dedup_exact") {
      operators.push_back(std::make_unique<DedupExact>());
    } else if (type == "dedup_near") {
      operators.push_back(std::make_unique<DedupNear>(spec, folder));
    } else {
      throw base::Error(base::kInvalidSpec, "there is no operator " + type);
    }
  }
  return operators;
}

}  // namespace slipway::prep
