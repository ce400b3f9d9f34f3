#include "agents/engine/runtime/adapter_weights.h"

#include <string>

#include "agents/engine/model/prompt_adapter.h"
#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

// `tasks`: that the adapter has; 0: it is not trained by task.
void check_task(const std::filesystem::path& folder, int64_t task, int64_t tasks) {
  if (task == 0 || (task > 0 && task < tasks)) return;
  throw base::Error(base::kInvalidSpec,
                    folder.string() + ": task_id is " + std::to_string(task) + ", the adapter has " +
                        (tasks == 0 ? "no tasks" : "the tasks 0 to " + std::to_string(tasks - 1)),
                    tasks == 0 ? "leave task_id out" : "give one of these");
}

std::vector<float> load_virtual_tokens(const std::filesystem::path& folder, const model::Architecture& architecture,
                                       int64_t task) {
  const model::PromptAdapter adapter = model::load_prompt_adapter(folder);
  check_task(folder, task, adapter.tasks);
  if (adapter.width != architecture.hidden_size) {
    throw base::Error(base::kInvalidModel,
                      folder.string() + ": tensor " + model::kPromptEmbeddings + " is " +
                          std::to_string(adapter.virtual_tokens) + " × " + std::to_string(adapter.width) +
                          ", the base model's hidden size is " + std::to_string(architecture.hidden_size),
                      "use an adapter that was trained on this base model");
  }
  return model::prompt_rows(adapter, task);
}

}  // namespace

std::shared_ptr<const AdapterWeights> load_adapter_weights(const std::filesystem::path& folder,
                                                           const model::Architecture& architecture, int64_t task) {
  auto weights = std::make_shared<AdapterWeights>();
  if (model::is_prompt_adapter(folder)) {
    weights->virtual_tokens = load_virtual_tokens(folder, architecture, task);
  } else {
    weights->lora = load_lora(folder, architecture);
    check_task(folder, task, 0);
  }
  return weights;
}

}  // namespace slipway::runtime
