#include "agents/engine/train/decoder/virtual_tokens.h"

#include <ATen/ATen.h>

#include <map>
#include <utility>

#include "agents/engine/model/prompt_adapter.h"

namespace slipway::train {

VirtualTokens::VirtualTokens(const PromptSettings& settings, int64_t width, Parameters& parameters)
    : count_(settings.num_virtual_tokens), multitask_(settings.num_tasks > 0) {
  const auto add = [&](const char* name, std::vector<int64_t> shape) {
    return parameters.add({name, std::move(shape), true, true, 1.0, 0, 0});
  };
  embeddings_ = add(model::kPromptEmbeddings, {count_, width});
  if (!multitask_) return;
  columns_ = add(model::kPromptTaskColumns, {settings.num_tasks, count_, settings.num_ranks});
  rows_ = add(model::kPromptTaskRows, {settings.num_tasks, settings.num_ranks, width});
}

std::vector<VirtualTokens::Task> VirtualTokens::tasks_of(const Batch& batch) const {
  std::map<int64_t, std::vector<int64_t>> starts;
  for (size_t i = 0; i < batch.tasks.size(); ++i) {
    starts[multitask_ ? batch.tasks[i] : 0].push_back(batch.document_starts[i]);
  }
  std::vector<Task> tasks;
  for (auto& [id, own] : starts) tasks.push_back({id, std::move(own)});
  return tasks;
}

at::Tensor VirtualTokens::factors(const Parameters& parameters, int64_t task) const {
  return parameters.value(columns_).select(0, task).mm(parameters.value(rows_).select(0, task));
}

void VirtualTokens::put(const Parameters& parameters, const Batch& batch, at::Tensor x) const {
  for (const Task& task : tasks_of(batch)) {
    at::Tensor rows = parameters.value(embeddings_);
    if (multitask_) rows = rows * factors(parameters, task.id);
    for (const int64_t start : task.starts) x.narrow(0, start, count_).copy_(rows);
  }
}

void VirtualTokens::backward(const Batch& batch, const at::Tensor& dx, Parameters& parameters) const {
  const at::Tensor embeddings = parameters.value(embeddings_);
  for (const Task& task : tasks_of(batch)) {
    at::Tensor sum = at::zeros_like(embeddings);
    for (const int64_t start : task.starts) sum.add_(dx.narrow(0, start, count_));
    if (!multitask_) {
      parameters.gradient(embeddings_).add_(sum);
      continue;
    }
    parameters.gradient(embeddings_).addcmul_(sum, factors(parameters, task.id));
    const at::Tensor dfactors = sum.mul_(embeddings);
    const at::Tensor columns = parameters.value(columns_).select(0, task.id);
    const at::Tensor rows = parameters.value(rows_).select(0, task.id);
    parameters.gradient(columns_).select(0, task.id).addmm_(dfactors, rows.t());
    parameters.gradient(rows_).select(0, task.id).addmm_(columns.t(), dfactors);
  }
}

}  // namespace slipway::train
