// The rows of one JSONL file: checked on import, shown in previews. Used by Datasets. No state; any thread.
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/statusor.h"
#include "backend/service/dataset_format.h"
#include "backend/service/datasets.h"

namespace slipway::service {

struct CheckedFile {
  ColumnMapping mapping;  // completed
  int64_t row_count = 0;
};

// Reads every row. INVALID_ARGUMENT (reason INVALID_DATA) with the lines that are broken, the first few of them.
// `name` is the file's own, for messages.
absl::StatusOr<CheckedFile> check_file(const std::filesystem::path& path, const std::string& name,
                                       const ColumnMapping& mapping);

// Some rows, and how many there are. What is wrong with single rows is said beside them. `tokenizer` may be null.
absl::StatusOr<Preview> preview_file(const std::filesystem::path& path, const std::string& name,
                                     const PreviewRequest& request, const LoadedTokenizer* tokenizer);

}  // namespace slipway::service
