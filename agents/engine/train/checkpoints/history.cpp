#include "agents/engine/train/checkpoints/history.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agents/engine/spec/events.h"

namespace slipway::train {

RunHistory RunHistory::read(const std::filesystem::path& workdir) {
  RunHistory history;
  spec::LineTail tail(workdir / "events.jsonl", 0);
  for (auto lines = tail.read(); !lines.empty(); lines = tail.read()) {
    for (const std::string& line : lines) {
      const nlohmann::json event = nlohmann::json::parse(line, nullptr, false);
      if (!event.is_object()) continue;
      const std::string type = event.value("type", "");
      if (type == "metric") {
        const int64_t step = event.value("step", int64_t{-1});
        const nlohmann::json values = event.value("values", nlohmann::json::object());
        if (values.contains("loss")) history.last_train_step = std::max(history.last_train_step, step);
        if (values.contains("eval_loss")) history.last_eval_step = std::max(history.last_eval_step, step);
        if (values.contains("train_rows")) history.last_data_step = std::max(history.last_data_step, step);
      } else if (type == "progress" && event.value("phase", "") == "train") {
        history.last_progress = std::max(history.last_progress, event.value("done", int64_t{-1}));
      } else if (type == "checkpoint") {
        history.checkpoints[event.value("step", int64_t{-1})] = event.value("sha256", "");
      } else if (type == "artifact") {
        history.artifacts.insert(event.value("name", ""));
      } else if (type == "warning") {
        history.warnings.insert(event.value("code", "") + " " + event.value("message", ""));
      }
    }
  }
  return history;
}

}  // namespace slipway::train
