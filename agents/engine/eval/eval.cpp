#include "agents/engine/eval/eval.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "agents/engine/eval/examples.h"
#include "agents/engine/eval/perplexity.h"
#include "agents/engine/model/architecture.h"
#include "agents/engine/model/prompt_adapter.h"
#include "agents/engine/runtime/engine.h"
#include "agents/engine/spec/engine_main.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/clock.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::eval {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using SteadyClock = std::chrono::steady_clock;

constexpr char kAdapter[] = "adapter";
constexpr int64_t kUsualLength = 8192;  // what the engine takes of a longer model by itself
constexpr int kTaskVersion = 1;         // rises when the same task would give other numbers

double seconds_since(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

class Evaluation {
 public:
  explicit Evaluation(spec::EngineContext& context) : context_(context), spec_(context.spec) {}

  int run() {
    const auto begin = SteadyClock::now();
    check_task_names();
    load();
    for (size_t i = 0; i < spec_["tasks"].size(); ++i) {
      if (!run_perplexity(spec_["tasks"][i], static_cast<int64_t>(i))) return spec::kExitStopped;
    }
    write_results(seconds_since(begin));
    return spec::kExitSucceeded;
  }

 private:
  void check_task_names() const {
    for (size_t i = 0; i < spec_["tasks"].size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (spec_["tasks"][i]["name"] == spec_["tasks"][j]["name"]) {
          throw base::Error(
              base::kInvalidSpec,
              "tasks[" + std::to_string(i) + "].name is the same as tasks[" + std::to_string(j) + "].name",
              "give every task a name of its own");
        }
      }
    }
  }

  void load() {
    context_.events.phase("load", "begin");
    const auto model = context_.resolve(spec_["model"]["path"].get<std::string>());
    tokenizer_ = text::load_tokenizer(model);
    runtime::EngineOptions options;
    options.weight_type = runtime::choose_weight_type(spec_["model"]["dtype"].get<std::string>(), model);
    options.cache_type = runtime::choose_cache_type(spec_["model"]["kv_cache_dtype"].get<std::string>());
    options.threads = spec_["threads"].get<int>();
    inspect_adapter();
    options.max_model_len = needed_length(model);
    engine_ = std::make_unique<runtime::Engine>(model, options);
    dtype_ = runtime::weight_type_name(options.weight_type);
    if (tokenizer_->vocab_size() > engine_->architecture().vocab_size) {
      throw base::Error(base::kInvalidModel,
                        model.string() + ": the tokenizer has " + std::to_string(tokenizer_->vocab_size()) +
                            " tokens, the model " + std::to_string(engine_->architecture().vocab_size),
                        "use the tokenizer that belongs to the model");
    }
    if (!adapter_folder_.empty()) {
      engine_->load_adapter(kAdapter, adapter_folder_);
      adapter_ = kAdapter;
    }
    context_.events.phase("load", "end");
  }

  void inspect_adapter() {
    const std::string folder = spec_["model"]["adapter"].get<std::string>();
    if (folder.empty()) return;
    adapter_folder_ = context_.resolve(folder);
    if (!model::is_prompt_adapter(adapter_folder_)) return;
    const model::PromptAdapter adapter = model::load_prompt_adapter(adapter_folder_);
    virtual_tokens_ = adapter.virtual_tokens;
    adapter_tasks_ = adapter.tasks;
  }

  // For EngineOptions::max_model_len: rows may be longer than the engine's own choice for a long model.
  int64_t needed_length(const std::filesystem::path& model) const {
    const int64_t limit = model::load_architecture(model).max_position_embeddings - virtual_tokens_;
    int64_t needed = 0;
    for (size_t i = 0; i < spec_["tasks"].size(); ++i) {
      const auto length = spec_["tasks"][i]["max_length"].get<int64_t>();
      if (length > limit) {
        throw base::Error(
            base::kInvalidSpec,
            "tasks[" + std::to_string(i) + "].max_length is " + std::to_string(length) + ", the model takes at most " +
                std::to_string(limit) +
                (virtual_tokens_ > 0 ? " beside the adapter's " + std::to_string(virtual_tokens_) + " virtual tokens"
                                     : ""),
            "give 0 for the model's own");
      }
      if (length + virtual_tokens_ > kUsualLength) needed = std::max(needed, length + virtual_tokens_);
    }
    return needed;
  }

  // Each task of a multitask adapter is an adapter of its own to the engine, which has task 0 already.
  void load_tasks(const Examples& examples) {
    for (const Example& example : examples.kept) {
      if (example.task_id == 0 || !loaded_tasks_.insert(example.task_id).second) continue;
      engine_->load_adapter(adapter_of_task(kAdapter, example.task_id), adapter_folder_, example.task_id);
    }
  }

  // False: stopped.
  bool run_perplexity(const json& task, int64_t number) {
    const std::string name = task["name"].get<std::string>();
    context_.events.phase(name, "begin");
    ExampleOptions options;
    options.format = text::row_format(task["data"]["format"].get<std::string>()).value_or(text::RowFormat::kMessages);
    options.assistant_only = task["assistant_only"].get<bool>();
    options.limit = task["limit"].get<int64_t>();
    options.max_length = task["max_length"].get<int64_t>();
    if (options.max_length == 0) options.max_length = engine_->max_model_len() - virtual_tokens_;
    options.tasks = adapter_tasks_;
    const std::string path = task["data"]["path"].get<std::string>();
    const Examples examples = ExampleEncoder(*tokenizer_, options).read(context_.resolve(path));
    if (examples.kept.empty()) {
      throw base::Error(base::kInvalidData,
                        path + ": none of its " + std::to_string(examples.rows) + " rows has a token to score",
                        "check the file and its format; with assistant_only, rows need an answer of the assistant");
    }
    if (examples.truncated_rows > 0) {
      context_.events.warning("ROWS_TRUNCATED",
                              std::to_string(examples.truncated_rows) + " of " + std::to_string(examples.rows) +
                                  " rows were cut to " + std::to_string(options.max_length) + " tokens",
                              "raise max_length where the model allows it");
    }
    if (examples.dropped_rows > 0) {
      context_.events.warning("ROWS_DROPPED",
                              std::to_string(examples.dropped_rows) + " of " + std::to_string(examples.rows) +
                                  " rows have no token to score",
                              "");
    }
    load_tasks(examples);
    const auto begin = SteadyClock::now();
    const auto measured = measure_perplexity(
        examples, *engine_, adapter_,
        [&](int64_t done, int64_t total) {
          const double elapsed = seconds_since(begin);
          const double eta = done > 0 ? elapsed * static_cast<double>(total - done) / static_cast<double>(done) : -1;
          context_.events.progress(name, done, total, "token", eta);
        },
        context_.stop);
    if (!measured) return false;
    context_.events.metric(number, {{"eval_loss", measured->loss}, {"eval_perplexity", measured->perplexity}});

    // Named as lm-evaluation-harness names a metric and its filter.
    results_[name] = {{"alias", name},
                      {"perplexity,none", measured->perplexity},
                      {"loss", measured->loss},
                      {"tokens", measured->tokens},
                      {"rows", examples.kept.size()},
                      {"truncated_rows", examples.truncated_rows},
                      {"dropped_rows", examples.dropped_rows}};
    configs_[name] = {
        {"task", name},
        {"output_type", "loglikelihood_rolling"},
        {"dataset_path", path},
        {"format", task["data"]["format"]},
        {"assistant_only", options.assistant_only},
        {"max_length", options.max_length},
        {"metric_list", {{{"metric", "perplexity"}, {"aggregation", "perplexity"}, {"higher_is_better", false}}}}};
    versions_[name] = kTaskVersion;
    samples_[name] = {{"original", examples.rows}, {"effective", examples.kept.size()}};
    context_.events.phase(name, "end");
    return true;
  }

  void write_results(double elapsed) {
    ordered_json n_shot = ordered_json::object(), higher_is_better = ordered_json::object();
    for (const auto& [name, version] : versions_.items()) {
      n_shot[name] = 0;
      higher_is_better[name] = {{"perplexity", false}};
    }
    const std::string path = spec_["model"]["path"].get<std::string>();
    const std::string adapter = spec_["model"]["adapter"].get<std::string>();
    ordered_json file;
    file["results"] = results_;
    file["configs"] = configs_;
    file["versions"] = versions_;
    file["n-shot"] = n_shot;
    file["higher_is_better"] = higher_is_better;
    file["n-samples"] = samples_;
    file["config"] = {{"model", "slipway"},
                      {"model_args", {{"pretrained", path}, {"peft", adapter}, {"dtype", dtype_}}},
                      {"model_num_parameters", engine_->architecture().parameter_count()},
                      {"model_dtype", dtype_},
                      {"tokenizer_fingerprint", tokenizer_->fingerprint()},
                      {"slipway_version", spec::version()}};
    file["date"] = base::format_rfc3339(base::SystemClock().now_ms());
    file["total_evaluation_time_seconds"] = elapsed;
    const std::string target = spec_["output"]["results"].get<std::string>();
    const auto resolved = context_.resolve(target);
    std::filesystem::create_directories(resolved.parent_path());
    base::write_file_atomically(resolved, file.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
    context_.events.artifact("results", target);
  }

  spec::EngineContext& context_;
  const json& spec_;
  std::unique_ptr<const text::Tokenizer> tokenizer_;
  std::unique_ptr<runtime::Engine> engine_;
  std::string dtype_;
  std::string adapter_;                   // its name in the engine; empty: the base model
  std::filesystem::path adapter_folder_;  // empty: the base model
  int64_t virtual_tokens_ = 0;            // of a prompt tuning adapter, before each row
  int64_t adapter_tasks_ = 0;             // of a multitask one: rows say which
  std::set<int64_t> loaded_tasks_;        // but for 0
  ordered_json results_ = ordered_json::object(), configs_ = ordered_json::object();
  ordered_json versions_ = ordered_json::object(), samples_ = ordered_json::object();
};

}  // namespace

int run_eval(spec::EngineContext& context) { return Evaluation(context).run(); }

}  // namespace slipway::eval
