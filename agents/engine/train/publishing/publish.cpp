#include "agents/engine/train/publishing/publish.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "agents/engine/train/environment.h"
#include "agents/engine/train/publishing/export.h"
#include "agents/engine/train/publishing/parity.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::train {

namespace fs = std::filesystem;

void check_outputs(const spec::EngineContext& context, const TrainSettings& settings) {
  for (const std::string& output : {settings.adapter_output, settings.merged_output, settings.gguf_output}) {
    if (output.empty()) continue;
    const fs::path parent = context.resolve(output + "/.").parent_path().parent_path();
    std::error_code failure;
    fs::create_directories(parent, failure);
    if (failure) throw base::system_error("cannot make the output folder " + parent.string(), failure.value());
    const base::TemporaryFolder probe(parent);
  }
}

namespace {

// What was trained in bf16, or on a base of fewer bits, is compared in f32 on the base that will be served, so that the
// comparison can be strict.
TrainedLogits logits_to_compare(const Job& job, Decoder& decoder, const Machine& machine) {
  const std::vector<std::vector<int64_t>> prompts = parity_prompts(job.train.documents, 3, 64);
  if (machine.compute_type == at::kFloat && machine.device.is_cpu() &&
      job.settings.method.quantization == Quantization::kNone) {
    return trained_logits(decoder, prompts);
  }
  MethodSettings on_the_base = job.settings.method;
  on_the_base.quantization = Quantization::kNone;
  DecoderOptions options;
  options.trainable = false;
  options.portable = true;  // without packed copies of the weights
  Decoder exact(job.architecture, *job.weights, on_the_base, options);
  exact.copy_parameters(decoder);
  return trained_logits(exact, prompts);
}

}  // namespace

void publish(const spec::EngineContext& context, const Job& job, Decoder& decoder, const Machine& machine,
             Reporter& reporter) {
  struct Result {
    std::string name, output;
    fs::path writing, target;
    std::string only_file = {};  // which of its files is the result, where that is not the folder
  };
  const TrainSettings& settings = job.settings;
  const bool prompt = settings.method.type == MethodType::kPrompt;
  const bool scores = settings.objective.type == ObjectiveType::kReward;
  std::vector<Result> results;
  results.reserve(3);
  const auto add = [&](const std::string& name, const std::string& output) -> const fs::path& {
    const fs::path target = context.resolve(output + "/.").parent_path();
    results.push_back({name, output, target.parent_path() / ("." + target.filename().string() + ".writing"), target});
    return results.back().writing;
  };
  // Scores are not served: there is nothing to compare with.
  const TrainedLogits trained = scores ? TrainedLogits() : logits_to_compare(job, decoder, machine);
  job.weights->leave_memory();
  give_back_freed_memory();
  if (!settings.adapter_output.empty()) {
    const fs::path& writing = add("adapter", settings.adapter_output);
    std::error_code ignored;
    fs::remove_all(writing, ignored);
    if (prompt) {
      model::save_prompt_adapter(writing, prompt_adapter_of(decoder, settings.method.prompt, settings.model_path));
    } else {
      model::save_adapter(writing, adapter_of(decoder, settings.method, settings.model_path));
    }
    // Serving refuses the adapter beside a base with another tokenizer.
    const nlohmann::json note = {{"tokenizer_fingerprint", job.tokenizer->fingerprint()}};
    base::write_file_atomically(writing / "slipway.json", note.dump(2) + "\n");
    if (!scores) {
      require_parity(logit_difference(trained, job.model_path, writing, usable_threads()), false, "the adapter");
    }
  }
  if (!settings.merged_output.empty()) {
    const fs::path& writing = add("merged", settings.merged_output);
    const model::DType stored = write_merged_model(writing, decoder, settings.method, *job.weights, job.model_path,
                                                   *job.tokenizer, padding_token(job));
    if (!scores) {
      require_parity(logit_difference(trained, writing, {}, usable_threads()), stored != model::DType::kF32,
                     "the merged model");
    }
  }
  if (!settings.gguf_output.empty()) {
    const fs::path& writing = add("gguf", settings.gguf_output);
    std::error_code failure;
    fs::remove_all(writing, failure);
    fs::create_directories(writing, failure);
    if (failure) throw base::system_error("cannot make the folder " + writing.string(), failure.value());
    const model::DType matrices =
        stored_type(*job.weights) == model::DType::kBF16 ? model::DType::kBF16 : model::DType::kF16;
    write_gguf(writing / "model.gguf", job.architecture, *job.tokenizer,
               trained_tensors(decoder, settings.method, *job.weights), matrices);
    require_parity(logit_difference(trained, writing / "model.gguf", {}, usable_threads()), true, "the GGUF file");
    if (settings.gguf_output.ends_with(".gguf")) results.back().only_file = "model.gguf";
  }
  for (const Result& result : results) {
    const bool is_file = !result.only_file.empty();
    replace(result.target, is_file ? result.writing / result.only_file : result.writing);
    std::error_code ignored;
    if (is_file) fs::remove_all(result.writing, ignored);
    reporter.artifact(result.name, result.output);
  }
}

}  // namespace slipway::train
