// PEFT prompt tuning adapters on disk (PROMPT_TUNING, MULTITASK_PROMPT_TUNING): adapter_config.json and
// adapter_model.safetensors. Used by train, by runtime and by the backend's imports.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace slipway::model {

// Rows that stand before a document in the place of token embeddings (Lester et al. 2021). With tasks a task's rows are
// embeddings ⊙ (columns · rows) of its own (Wang et al. 2023), without `columns` and `rows` are empty.
struct PromptAdapter {
  int64_t virtual_tokens = 0, width = 0;    // width: of the model's hidden states
  int64_t tasks = 0, ranks = 0;             // 0: PROMPT_TUNING
  std::vector<float> embeddings;            // [virtual_tokens, width]
  std::vector<float> task_columns;          // [tasks, virtual_tokens, ranks]
  std::vector<float> task_rows;             // [tasks, ranks, width]
  int64_t attention_heads = 0, layers = 0;  // of the base model; only written, PEFT asks for them
  std::string base_model_name_or_path;
};

// The names of its tensors.
inline constexpr char kPromptEmbeddings[] = "prompt_embeddings";
inline constexpr char kPromptTaskColumns[] = "prefix_task_cols";
inline constexpr char kPromptTaskRows[] = "prefix_task_rows";

// Whether a PEFT folder says that it holds one. False where nothing is said: the loaders tell what is wrong with it.
bool is_prompt_adapter(const std::filesystem::path& folder);

// Throws base::Error NOT_FOUND, INVALID_MODEL naming file and key or tensor, UNSUPPORTED for other PEFT types and for
// tensors that are no part of prompt tuning.
PromptAdapter load_prompt_adapter(const std::filesystem::path& folder);

// What stands before a document of task `task`, 0 to tasks − 1 (0 where there are no tasks): [virtual_tokens, width],
// as PEFT computes it in f32.
std::vector<float> prompt_rows(const PromptAdapter& adapter, int64_t task);

// Writes a folder that `peft` loads unchanged: files in one step each, the config last.
void save_prompt_adapter(const std::filesystem::path& folder, const PromptAdapter& adapter);

}  // namespace slipway::model
