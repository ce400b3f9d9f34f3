// Reads the files of an artifact as a model, before anything is registered: what it is, or why it is none. Used by
// Models. No state; any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "backend/artifacts/manifest.h"

namespace slipway::service {

// The formats of quantised models begin with it.
inline constexpr char kQuantisedFormat[] = "slipway ";

struct ModelInspection {
  std::string path;  // inside the artifact: empty for its root, a folder, or the .gguf or .slipway file
  bool adapter = false;
  bool reward = false;  // its config or adapter has a score head
  std::string family;
  int64_t parameter_count = 0;
  int64_t context_length = 0;
  std::string format;  // "gguf Q4_1", "safetensors BF16", "slipway int4 gptq", "peft lora r=8", "peft prompt tokens=20"
  bool has_chat_template = false;
  std::string base_name;  // an adapter's base_model_name_or_path
  int64_t tasks = 0;      // of an adapter of multitask prompt tuning
};

// `folder` holds the files of `manifest` under their names. INVALID_ARGUMENT (reason INVALID_MODEL or UNSUPPORTED)
// names file and tensor or key.
absl::StatusOr<ModelInspection> inspect_model(const std::filesystem::path& folder, const artifacts::Manifest& manifest);

// Whether the adapter's matrices fit the base model. Both are where their files lie.
absl::Status check_adapter_fits(const std::filesystem::path& adapter_folder, const std::filesystem::path& base_path);

}  // namespace slipway::service
