// slipway-quantize: what `slipway model quantize` runs, with progress and errors on stderr and one line of result on
// stdout; and, with --spec, an engine that agents run (job.h).
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "agents/engine/quantize/job.h"
#include "agents/engine/quantize/quantize.h"
#include "agents/engine/spec/engine_main.h"
#include "backend/base/error.h"

namespace {

using namespace slipway;
using Clock = std::chrono::steady_clock;

constexpr char kUsage[] =
    "Usage: slipway-quantize --model PATH --output FILE.slipway [options]\n"
    "       slipway-quantize --spec FILE --workdir FOLDER\n\n"
    "Writes a model as one quantised file, which slipway-serve and slipway-eval map from disk.\n\n"
    "  --model PATH            a Hugging Face folder or a .gguf file\n"
    "  --output FILE.slipway   replaced in one step where it exists\n"
    "  --dtype TYPE            int8 (default) or int4\n"
    "  --calibration FILE      JSONL rows like those that the model will see: int4 by GPTQ, which loses less\n"
    "  --calibration-rows N    at most; default 128\n"
    "  --calibration-length N  tokens of a row at most; default 512\n"
    "  --threads N             default: as many as the machine has cores\n"
    "  --json                  the result, or the error, as JSON on stdout\n"
    "  --help, --version\n";

std::atomic<bool> stop_requested{false};  // reached by the signal handler
void on_stop_signal(int) { stop_requested.store(true); }

[[noreturn]] void wrong(const std::string& what) {
  throw base::Error(base::kInvalidSpec, what, "see slipway-quantize --help");
}

int64_t number(const std::string& flag, const std::string& text, int64_t least, int64_t most) {
  char* end = nullptr;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != 0 || value < least || value > most)
    wrong(flag + " is \"" + text + "\", expected " + std::to_string(least) + " to " + std::to_string(most));
  return value;
}

quantize::Settings settings_from(int argc, char** argv) {
  quantize::Settings settings;
  for (int i = 1; i < argc; ++i) {
    std::string flag = argv[i], value;
    if (flag == "--json") continue;
    if (const size_t equals = flag.find('='); equals != std::string::npos) {
      value = flag.substr(equals + 1);
      flag.resize(equals);
    } else if (i + 1 < argc) {
      value = argv[++i];
    } else {
      wrong(flag + " needs a value");
    }
    if (flag == "--model") {
      settings.model = value;
    } else if (flag == "--output") {
      settings.output = value;
    } else if (flag == "--dtype") {
      settings.type = value == "int8"   ? runtime::WeightType::kInt8
                      : value == "int4" ? runtime::WeightType::kInt4
                                        : (wrong("--dtype is \"" + value + "\", expected int8 or int4"), settings.type);
    } else if (flag == "--calibration") {
      settings.calibration = value;
    } else if (flag == "--calibration-rows") {
      settings.calibration_rows = number(flag, value, 1, 1 << 20);
    } else if (flag == "--calibration-length") {
      settings.calibration_length = number(flag, value, 2, 1 << 17);
    } else if (flag == "--threads") {
      settings.threads = static_cast<int>(number(flag, value, 0, 4096));
    } else {
      wrong("unknown flag " + flag);
    }
  }
  if (settings.model.empty() || settings.output.empty()) wrong("--model and --output are needed");
  return settings;
}

// "layer 7 of 30, 1:20 left"
class Progress {
 public:
  void operator()(int64_t done, int64_t total) {
    const double elapsed = std::chrono::duration<double>(Clock::now() - begin_).count();
    std::string left;
    if (done > 0 && done < total) {
      const auto seconds = static_cast<int>(elapsed / static_cast<double>(done) * static_cast<double>(total - done));
      char text[32];
      std::snprintf(text, sizeof text, ", %d:%02d left", seconds / 60, seconds % 60);
      left = text;
    }
    std::fprintf(stderr, "layer %lld of %lld%s\n", static_cast<long long>(done), static_cast<long long>(total),
                 left.c_str());
  }

 private:
  Clock::time_point begin_ = Clock::now();
};

void print_result(const quantize::Settings& settings, const quantize::Report& report, bool json) {
  const std::string dtype = runtime::weight_type_name(settings.type);
  if (json) {
    std::printf("%s\n", quantize::to_json(settings, report).dump().c_str());
    return;
  }
  std::string calibrated;
  if (report.calibration_tokens > 0)
    calibrated = ", calibrated on " + std::to_string(report.calibration_tokens) + " tokens";
  std::printf("%s: %s%s, %.1f million parameters, %.1f MiB\n", settings.output.c_str(), dtype.c_str(),
              calibrated.c_str(), static_cast<double>(report.parameters) / 1e6,
              static_cast<double>(report.bytes) / (1 << 20));
}

void print_failure(const std::string& code, const std::string& message, const std::string& advice, bool json) {
  if (json) {
    const nlohmann::ordered_json failure = {{"error", {{"code", code}, {"message", message}, {"advice", advice}}}};
    std::printf("%s\n", failure.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return;
  }
  std::fprintf(stderr, "slipway-quantize: %s: %s\n", code.c_str(), message.c_str());
  if (!advice.empty()) std::fprintf(stderr, "slipway-quantize: %s\n", advice.c_str());
}

int run(int argc, char** argv, bool json) {
  const quantize::Settings settings = settings_from(argc, argv);
  std::signal(SIGTERM, on_stop_signal);
  std::signal(SIGINT, on_stop_signal);
  quantize::Report report;
  Progress progress;
  const auto on_progress = [&](int64_t done, int64_t total) { progress(done, total); };
  if (!quantize::quantize(settings, on_progress, stop_requested, report)) {
    std::fprintf(stderr, "slipway-quantize: stopped; nothing was written\n");
    return spec::kExitStopped;
  }
  print_result(settings, report, json);
  return spec::kExitSucceeded;
}

}  // namespace

int main(int argc, char** argv) {
  const auto given = [&](const char* flag) {
    return std::any_of(argv + 1, argv + argc,
                       [&](const char* one) { return std::strncmp(one, flag, std::strlen(flag)) == 0; });
  };
  if (given("--spec")) return spec::run_engine(argc, argv, "quantize", quantize::run_job);
  bool json = false;
  for (int i = 1; i < argc; ++i) json = json || std::strcmp(argv[i], "--json") == 0;
  if (argc == 2 && (std::strcmp(argv[1], "--help") == 0 || std::strcmp(argv[1], "-h") == 0)) {
    std::fputs(kUsage, stdout);
    return spec::kExitSucceeded;
  }
  if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
    std::printf("slipway-quantize %s\n", spec::version().c_str());
    return spec::kExitSucceeded;
  }
  try {
    return run(argc, argv, json);
  } catch (const base::Error& error) {
    print_failure(error.code(), error.what(), error.advice(), json);
    return error.code() == base::kInvalidSpec ? spec::kExitWrongSpec : spec::kExitFailed;
  } catch (const std::exception& error) {
    print_failure("INTERNAL", error.what(), "", json);
    return spec::kExitFailed;
  }
}
