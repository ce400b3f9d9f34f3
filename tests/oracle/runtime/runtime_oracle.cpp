// Runs jobs from a JSON file on the inference engine, for the pytest files beside it to compare with transformers and
// peft.
//   runtime_oracle JOBS.json: {"model": PATH, "dtype": "f32", "threads": 2, "adapters": {NAME: FOLDER}, "jobs": [JOB,
//   …]}
// A FOLDER may be {"path": FOLDER, "task_id": N} of a multitask adapter.
// A job is {"op": "logits" | "score" | "generate", "tokens": […], "adapter": NAME, …}; all "generate" jobs run
// together. Writes one JSON array of results to stdout; logits go to the file that the job names, as f32.
#include <chrono>
#include <fstream>
#include <future>
#include <iostream>
#include <nlohmann/json.hpp>

#include "agents/engine/runtime/engine.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace {

using namespace slipway;
using nlohmann::json;

runtime::SamplingOptions sampling_of(const json& job) {
  runtime::SamplingOptions options;
  options.temperature = job.value("temperature", 0.0);
  options.top_p = job.value("top_p", 1.0);
  options.top_k = job.value("top_k", int64_t{0});
  options.min_p = job.value("min_p", 0.0);
  options.repetition_penalty = job.value("repetition_penalty", 1.0);
  options.seed = job.value("seed", uint64_t{0});
  options.top_logprobs = job.value("top_logprobs", -1);
  return options;
}

struct Generation {
  json tokens = json::array(), logprobs = json::array(), top = json::array();
  std::promise<std::string> done;
};

void submit(runtime::Engine& engine, const json& job, Generation& generation) {
  runtime::GenerationRequest request;
  request.prompt = job["tokens"].get<std::vector<int32_t>>();
  request.adapter = job.value("adapter", "");
  request.sampling = sampling_of(job);
  request.max_tokens = job.value("max_tokens", int64_t{16});
  request.ignore_eos = job.value("ignore_eos", false);
  request.on_token = [&generation](const runtime::GeneratedToken& token) {
    generation.tokens.push_back(token.id);
    generation.logprobs.push_back(token.logprob);
    json top = json::array();
    for (const auto& [id, logprob] : token.top_logprobs) top.push_back({id, logprob});
    generation.top.push_back(top);
    return true;
  };
  request.on_finish = [&generation](runtime::FinishReason reason, const std::string& message) {
    constexpr const char* kNames[] = {"stop", "length", "cancelled", "error"};
    generation.done.set_value(message.empty() ? kNames[static_cast<int>(reason)] : message);
  };
  engine.submit(std::move(request));
}

json run(const json& spec) {
  runtime::EngineOptions options;
  options.weight_type = runtime::choose_weight_type(spec.value("dtype", "f32"), spec["model"].get<std::string>());
  options.threads = spec.value("threads", 2);
  options.max_num_seqs = spec.value("max_num_seqs", int64_t{64});
  options.kv_cache_tokens = spec.value("kv_cache_tokens", int64_t{0});
  options.max_model_len = spec.value("max_model_len", int64_t{0});
  runtime::Engine engine(spec["model"].get<std::string>(), options);
  const json adapters = spec.value("adapters", json::object());
  for (const auto& [name, folder] : adapters.items()) {
    const bool task = folder.is_object();
    engine.load_adapter(name, (task ? folder["path"] : folder).get<std::string>(),
                        task ? folder["task_id"].get<int64_t>() : 0);
  }
  json results = json::array();
  std::vector<Generation> generations(spec["jobs"].size());
  for (size_t i = 0; i < spec["jobs"].size(); ++i) {
    if (spec["jobs"][i]["op"] == "generate") submit(engine, spec["jobs"][i], generations[i]);
  }
  for (size_t i = 0; i < spec["jobs"].size(); ++i) {
    const json& job = spec["jobs"][i];
    const auto begin = std::chrono::steady_clock::now();
    json result;
    if (job["op"] == "generate") {
      result["finish"] = generations[i].done.get_future().get();
      result["tokens"] = generations[i].tokens;
      result["logprobs"] = generations[i].logprobs;
      result["top_logprobs"] = generations[i].top;
    } else if (job["op"] == "score") {
      result["logprobs"] = engine.score(job["tokens"], job.value("adapter", ""));
    } else {
      const auto logits = engine.logits(job["tokens"], job.value("adapter", ""), job.value("all", true));
      std::ofstream out(job["out"].get<std::string>(), std::ios::binary);
      out.write(reinterpret_cast<const char*>(logits.data()),
                static_cast<std::streamsize>(logits.size() * sizeof(float)));
    }
    result["seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    results.push_back(result);
  }
  return results;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 2) return 2;
    std::cout << run(json::parse(base::read_file(argv[1])));
    return 0;
  } catch (const base::Error& error) {
    std::cerr << error.code() << ": " << error.what() << " (" << error.advice() << ")\n";
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
  }
  return 1;
}
