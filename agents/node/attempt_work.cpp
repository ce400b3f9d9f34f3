// The parts of an attempt that take long: bringing its inputs, and uploading what it made. Both run on the attempt's
// worker thread, while its own thread goes on shipping lines.
#include <fcntl.h>
#include <sys/stat.h>

#include <exception>

#include "agents/node/attempt.h"
#include "agents/node/engine_events.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::node {
namespace {

namespace fs = std::filesystem;
using v1::AttemptStatus;
constexpr size_t kMostReturnedBytes = 1 << 20;
constexpr size_t kMostReturnedBytesInAll = 3 << 20;  // gRPC's messages end at 4 MiB

bool is_engine(const std::string& name) {
  return name == "prep" || name == "train" || name == "eval" || name == "quantize" || name == "serve";
}

}  // namespace

absl::Status Attempt::prepare() {
  const auto& start = record_.start;
  if (!is_engine(start.engine())) return absl::InvalidArgumentError("there is no engine '" + start.engine() + "'");
  try {
    for (const auto& input : start.inputs()) {
      if (!is_safe_relative(input.path())) {
        return absl::InvalidArgumentError("the input path '" + input.path() + "' leaves the work folder");
      }
      const auto fetched = environment_.transfer.fetch(input.artifact_id(), workdir_ / input.path(), cancellation_);
      if (!fetched.ok()) return fetched;
    }
    base::write_file_atomically(spec_path(), start.spec_json(), 0644);
  } catch (const base::Error& error) {
    return error.code() == base::kDiskFull ? absl::ResourceExhaustedError(error.what())
                                           : absl::InternalError(error.what());
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
  return absl::OkStatus();
}

AttemptStatus Attempt::upload() {
  AttemptStatus outcome;
  outcome.set_exit_code(0);
  const auto failed = [&](const std::string& code, const std::string& message, const std::string& advice) {
    outcome.set_state(AttemptStatus::STATE_FAILED);
    outcome.set_code(code);
    outcome.set_message(message);
    outcome.set_advice(advice);
    return outcome;
  };
  try {
    const auto summary = summarize_events(workdir_ / "events.jsonl", 0);
    for (const auto& name : record_.start.upload_artifacts()) {
      const auto artifact = summary.artifacts.find(name);
      if (artifact == summary.artifacts.end() || !is_safe_relative(artifact->second)) {
        return failed("ARTIFACT_MISSING", "the engine succeeded but named no artifact '" + name + "'",
                      "this is a mismatch of engine and workflow versions: update both");
      }
      const auto uploaded = environment_.transfer.publish(workdir_ / artifact->second, cancellation_);
      if (absl::IsCancelled(uploaded.status())) {
        outcome.set_state(AttemptStatus::STATE_STOPPED);
        outcome.set_message("stopped while its results were uploaded");
        return outcome;
      }
      if (!uploaded.ok()) {
        return failed("UPLOAD_FAILED",
                      "artifact '" + name + "' could not be uploaded: " + std::string(uploaded.status().message()),
                      "see whether the backend's disk is full, then retry");
      }
      (*outcome.mutable_artifact_ids())[name] = *uploaded;
    }
    add_returned_files(outcome);
  } catch (const std::exception& error) {
    return failed("UPLOAD_FAILED", error.what(), "retry");
  }
  outcome.set_state(AttemptStatus::STATE_SUCCEEDED);
  return outcome;
}

void Attempt::add_returned_files(AttemptStatus& status) const {
  size_t total = 0;
  for (const auto& name : record_.start.return_files()) {
    if (!is_safe_relative(name)) continue;
    try {
      std::error_code failure;
      if (!fs::is_regular_file(workdir_ / name, failure)) continue;
      std::string content = to_valid_utf8(base::read_file(workdir_ / name, kMostReturnedBytes));
      total += content.size();
      if (total > kMostReturnedBytesInAll) throw base::Error(base::kIo, "the files to return are too large together");
      (*status.mutable_returned_files())[name] = std::move(content);
    } catch (const base::Error& error) {
      note("could not return the file " + name + ": " + error.what());
    }
  }
}

}  // namespace slipway::node
