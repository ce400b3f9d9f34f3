#include "agents/engine/train/initial_adapter.h"

#include <algorithm>
#include <map>
#include <set>

#include "agents/engine/model/adapter_modules.h"
#include "backend/base/error.h"

namespace slipway::train {

namespace {

// Virtual tokens to start from bring their own number and tasks.
void adopt_initial_prompt(const spec::EngineContext& context, const Warn& warn, Job& job) {
  const std::string origin = context.resolve(job.settings.method.init_adapter).string();
  PromptSettings& prompt = job.settings.method.prompt;
  job.initial_prompt = model::load_prompt_adapter(origin);
  const model::PromptAdapter& found = *job.initial_prompt;
  const auto wrong = [&](const std::string& what, const std::string& advice) {
    throw base::Error(base::kInvalidModel, origin + ": " + what, advice);
  };
  if (found.width != job.architecture.hidden_size) {
    wrong("its virtual tokens have " + std::to_string(found.width) + " numbers each, the model's tokens " +
              std::to_string(job.architecture.hidden_size),
          "use an adapter of this base model");
  }
  if ((found.tasks > 0) != (prompt.num_tasks > 0)) {
    wrong(found.tasks > 0 ? "it is of several tasks" : "it is not of several tasks",
          found.tasks > 0 ? "set method.type to multitask_prompt_tuning" : "set method.type to prompt_tuning");
  }
  if (found.virtual_tokens != prompt.num_virtual_tokens || found.tasks != prompt.num_tasks ||
      found.ranks != prompt.num_ranks) {
    warn("INIT_ADAPTER_DIFFERS",
         "num_virtual_tokens, num_tasks and num_ranks are those of method.init_adapter (" +
             count_text(found.virtual_tokens, "token") + "), not those of the spec",
         "give the adapter's values in the spec to be rid of this warning");
  }
  prompt.num_virtual_tokens = found.virtual_tokens;
  prompt.num_tasks = found.tasks;
  prompt.num_ranks = found.ranks;
}

// The layers that an adapter changes, in PEFT's words.
struct Targets {
  std::vector<std::string> modules;
  std::vector<int64_t> layers;  // empty: all
};

Targets targets_of(const model::Adapter& adapter, const model::Architecture& architecture, const std::string& origin) {
  std::map<std::string, std::set<int64_t>> layers_of;  // by what follows the layer's number
  std::map<std::string, model::AdapterModule> modules;
  for (model::AdapterModule& module : model::adapter_modules(architecture)) modules[module.name] = std::move(module);
  for (const model::AdapterTensor& tensor : adapter.tensors) {
    const auto found = modules.find(tensor.module);
    if (found == modules.end()) {
      throw base::Error(base::kInvalidModel,
                        origin + ": the adapter changes " + tensor.module + ", which the model does not have",
                        "use an adapter of this base model, on its attention and MLP projections");
    }
    layers_of[found->second.inner].insert(found->second.layer);
  }
  const std::set<int64_t>& layers = layers_of.begin()->second;
  Targets targets;
  if (std::any_of(layers_of.begin(), layers_of.end(), [&](const auto& entry) { return entry.second != layers; })) {
    for (const model::AdapterTensor& tensor : adapter.tensors) targets.modules.push_back(tensor.module);
    return targets;
  }
  std::vector<std::string> names;
  for (const auto& [inner, unused] : layers_of) names.push_back(inner);
  targets.modules = model::adapter_targets(architecture, names);
  if (static_cast<int64_t>(layers.size()) < architecture.num_hidden_layers) {
    targets.layers.assign(layers.begin(), layers.end());
  }
  return targets;
}

// The rank that all of them fit in; those of another rank or alpha keep theirs.
void take_shapes(const model::Adapter& adapter, MethodSettings& method) {
  method.r = adapter.config.r;
  method.lora_alpha = adapter.config.lora_alpha;
  for (const model::AdapterTensor& tensor : adapter.tensors) method.r = std::max(method.r, tensor.rank);
  for (const model::AdapterTensor& tensor : adapter.tensors) {
    const double alpha = adapter.alpha_of(tensor);
    if (tensor.rank == method.r && alpha == method.lora_alpha) continue;
    method.own_shapes[tensor.module] = {tensor.rank, alpha};
  }
}

}  // namespace

void name_target_modules(Job& job) {
  MethodSettings& method = job.settings.method;
  if (method.type != MethodType::kLora) return;
  method.target_modules = model::adapter_targets(job.architecture, method.target_modules);
}

void adopt_initial_adapter(const spec::EngineContext& context, const Warn& warn, Job& job) {
  MethodSettings& method = job.settings.method;
  if (method.init_adapter.empty()) return;
  if (method.type == MethodType::kPrompt) return adopt_initial_prompt(context, warn, job);
  const std::string origin = context.resolve(method.init_adapter).string();
  const bool scores = job.settings.objective.type == ObjectiveType::kReward;
  job.initial_adapter = model::load_adapter(origin, model::DoraAdapters::kTaken,
                                            scores ? model::ScoreHeads::kTaken : model::ScoreHeads::kRefused);
  const model::AdapterConfig& config = job.initial_adapter->config;
  const Targets targets = targets_of(*job.initial_adapter, job.architecture, origin);
  if (config.r != method.r || config.lora_alpha != method.lora_alpha || config.use_rslora != method.use_rslora ||
      config.use_dora > method.use_dora || targets.modules != method.target_modules ||
      targets.layers != method.layers_to_transform) {
    warn("INIT_ADAPTER_DIFFERS",
         "r, lora_alpha, use_rslora, use_dora, target_modules and layers_to_transform are those of method.init_adapter "
         "(r " +
             std::to_string(config.r) + "), not those of the spec",
         "give the adapter's values in the spec to be rid of this warning");
  }
  take_shapes(*job.initial_adapter, method);
  method.use_rslora = config.use_rslora;
  method.use_dora = method.use_dora || config.use_dora;  // a plain adapter may go on as DoRA
  method.target_modules = targets.modules;
  method.layers_to_transform = targets.layers;
}

}  // namespace slipway::train
