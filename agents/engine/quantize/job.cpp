#include "agents/engine/quantize/job.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "agents/engine/quantize/quantize.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::quantize {
namespace {

using Clock = std::chrono::steady_clock;

Settings settings_of(const spec::EngineContext& context) {
  const nlohmann::json& spec = context.spec;
  Settings settings;
  settings.model = context.resolve(spec["model"]["path"]);
  settings.output = context.resolve(spec["output"]["file"]);
  settings.type = spec["dtype"] == "int4" ? runtime::WeightType::kInt4 : runtime::WeightType::kInt8;
  const std::string rows = spec["calibration"]["path"];
  if (!rows.empty()) settings.calibration = context.resolve(rows);
  settings.calibration_rows = spec["calibration"]["rows"];
  settings.calibration_length = spec["calibration"]["length"];
  settings.threads = spec["threads"];
  return settings;
}

}  // namespace

int run_job(spec::EngineContext& context) {
  const std::filesystem::path file = context.spec["output"]["file"].get<std::string>();
  if (file.is_absolute() || !file.has_parent_path()) {
    throw base::Error(base::kInvalidSpec, "output.file is \"" + file.string() + "\"",
                      "name a file in a folder below the work folder: out/model.slipway");
  }
  const Settings settings = settings_of(context);
  std::filesystem::create_directories(settings.output.parent_path());
  context.events.phase("quantize", "begin");
  const Clock::time_point begin = Clock::now();
  const auto on_progress = [&](int64_t done, int64_t total) {
    const double elapsed = std::chrono::duration<double>(Clock::now() - begin).count();
    const double eta = done > 0 ? elapsed / static_cast<double>(done) * static_cast<double>(total - done) : -1;
    context.events.progress("quantize", done, total, "layer", eta);
  };
  Report report;
  if (!quantize(settings, on_progress, context.stop, report)) return spec::kExitStopped;
  base::write_file_atomically(context.workdir / "quantize.json", to_json(settings, report).dump(2) + "\n");
  context.events.artifact("model", file.parent_path().string());
  context.events.phase("quantize", "end");
  return spec::kExitSucceeded;
}

}  // namespace slipway::quantize
