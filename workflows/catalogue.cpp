#include "workflows/catalogue.h"

#include <algorithm>

#include "backend/base/error.h"
#include "backend/base/files.h"
#include "backend/base/status.h"

namespace slipway::workflows {
namespace {
constexpr size_t kMaxFileBytes = 256 * 1024;
}  // namespace

absl::StatusOr<Catalogue> Catalogue::load(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(folder, failure)) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  if (failure) {
    return base::error(absl::StatusCode::kNotFound, "workflows folder " + folder.string() + ": " + failure.message(),
                       {"NOT_FOUND", "", "give the folder with --workflows"});
  }
  std::sort(files.begin(), files.end());
  std::vector<Workflow> workflows;
  std::string problems;
  for (const auto& file : files) {
    try {
      auto workflow = parse_workflow(base::read_file(file, kMaxFileBytes), file.filename().string());
      if (workflow.ok()) {
        workflows.push_back(*std::move(workflow));
      } else {
        problems += (problems.empty() ? "" : "\n") + std::string(workflow.status().message());
      }
    } catch (const base::Error& error) {
      problems += (problems.empty() ? "" : "\n") + std::string(error.what());
    }
  }
  for (size_t i = 0; i < workflows.size(); ++i) {
    for (size_t j = i + 1; j < workflows.size(); ++j) {
      if (workflows[i].name != workflows[j].name) continue;
      problems +=
          (problems.empty() ? "" : "\n") + folder.string() + ": two workflows have the name " + workflows[i].name;
    }
  }
  if (!problems.empty()) {
    return base::error(absl::StatusCode::kInvalidArgument, problems, {"INVALID_WORKFLOW", "", "correct the file"});
  }
  return Catalogue(std::move(workflows));
}

const Workflow* Catalogue::find(const std::string& name) const {
  const auto found =
      std::find_if(workflows_.begin(), workflows_.end(), [&](const Workflow& w) { return w.name == name; });
  return found == workflows_.end() ? nullptr : &*found;
}

}  // namespace slipway::workflows
