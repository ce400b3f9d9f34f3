#include "agents/node/attempt_record.h"

#include <google/protobuf/util/json_util.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::node {
namespace {

constexpr const char* kPhaseNames[] = {"preparing", "waiting", "running", "uploading", "ended"};

std::string to_json(const google::protobuf::Message& message) {
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text);
  if (!status.ok()) throw base::Error(base::kIo, "write as JSON: " + std::string(status.message()));
  return text;
}

}  // namespace

void AttemptRecord::save_start(const std::filesystem::path& folder) const {
  base::write_file_atomically(folder / "start.json", to_json(start) + "\n", 0600);
}

void AttemptRecord::save_state(const std::filesystem::path& folder) const {
  nlohmann::json value = {{"version", 1},
                          {"phase", kPhaseNames[static_cast<int>(phase)]},
                          {"launches", launches},
                          {"restarts_used", restarts_used},
                          {"restart_pending", restart_pending},
                          {"stop_requested", stop_requested},
                          {"grace_seconds", grace_seconds},
                          {"own_meeting", own_meeting},
                          {"meeting", meeting},
                          {"begun", begun},
                          {"files", nlohmann::json::object()}};
  for (const auto& [name, position] : files) {
    value["files"][name] = {{"begin", position.begin}, {"acknowledged", position.acknowledged}};
  }
  if (phase == Phase::kEnded) value["outcome"] = nlohmann::json::parse(to_json(outcome));
  base::write_file_atomically(folder / "state.json", value.dump(2) + "\n", 0600);
}

absl::StatusOr<AttemptRecord> AttemptRecord::load(const std::filesystem::path& folder) {
  try {
    AttemptRecord record;
    google::protobuf::util::JsonParseOptions lenient;
    lenient.ignore_unknown_fields = true;
    const auto parsed = google::protobuf::util::JsonStringToMessage(base::read_file(folder / "start.json", 64U << 20U),
                                                                    &record.start, lenient);
    if (!parsed.ok())
      return absl::DataLossError((folder / "start.json").string() + ": " + std::string(parsed.message()));
    if (!std::filesystem::exists(folder / "state.json")) return record;
    const auto value = nlohmann::json::parse(base::read_file(folder / "state.json", 64U << 20U));
    const std::string phase = value.at("phase");
    for (int i = 0; i < static_cast<int>(std::size(kPhaseNames)); ++i) {
      if (phase == kPhaseNames[i]) record.phase = static_cast<Phase>(i);
    }
    record.launches = value.at("launches");
    record.restarts_used = value.at("restarts_used");
    record.restart_pending = value.at("restart_pending");
    record.stop_requested = value.at("stop_requested");
    record.grace_seconds = value.at("grace_seconds");
    record.own_meeting = value.value("own_meeting", "");
    record.meeting = value.value("meeting", "");
    record.begun = value.at("begun");
    for (const auto& [name, position] : value.at("files").items()) {
      record.files[name] = {position.at("begin"), position.at("acknowledged")};
    }
    if (record.phase == Phase::kEnded) {
      const auto outcome =
          google::protobuf::util::JsonStringToMessage(value.at("outcome").dump(), &record.outcome, lenient);
      if (!outcome.ok()) return absl::DataLossError(folder.string() + ": " + std::string(outcome.message()));
    }
    return record;
  } catch (const std::exception& error) {
    return absl::DataLossError("attempt folder " + folder.string() + ": " + error.what());
  }
}

}  // namespace slipway::node
