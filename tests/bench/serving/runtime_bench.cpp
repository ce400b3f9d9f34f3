// Rates of the inference engine without HTTP, for work on the kernels: runtime_bench MODEL DTYPE[/CACHE] THREADS
// [WORK…], where a WORK is decode:STREAMS, decode:STREAMS@PROMPT, prompt:TOKENS or load; all of the usual ones by
// default. Prints one line for each. Measures, and is no test.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <string>
#include <vector>

#include "agents/engine/runtime/engine.h"
#include "backend/base/error.h"

namespace {

using namespace slipway;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 5;
constexpr int64_t kDecoded = 96;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

runtime::GenerationRequest request_of(int64_t prompt, int64_t tokens, int seed) {
  runtime::GenerationRequest request;
  for (int64_t i = 0; i < prompt; ++i)
    request.prompt.push_back(static_cast<int32_t>(1000 + (i * 7919 + seed * 131) % 40000));
  request.sampling.temperature = 0;
  request.max_tokens = tokens;
  request.ignore_eos = true;
  return request;
}

// Tokens per second of all streams together, from the last one's first token to the first one's last.
double decode_rate(runtime::Engine& engine, int64_t streams, int64_t prompt) {
  std::vector<std::promise<void>> done(static_cast<size_t>(streams));
  std::vector<std::vector<Clock::time_point>> times(static_cast<size_t>(streams));
  for (size_t i = 0; i < done.size(); ++i) {
    auto request = request_of(prompt, kDecoded + 1, static_cast<int>(i));
    request.on_token = [&times, i](const runtime::GeneratedToken&) {
      times[i].push_back(Clock::now());
      return true;
    };
    request.on_finish = [&done, i](runtime::FinishReason, const std::string&) { done[i].set_value(); };
    engine.submit(std::move(request));
  }
  for (auto& one : done) one.get_future().get();
  auto begin = times[0].front(), end = times[0].back();
  for (const auto& of_stream : times) {
    begin = std::max(begin, of_stream.front());
    end = std::min(end, of_stream.back());
  }
  int64_t tokens = 0;
  for (const auto& of_stream : times) {
    for (const auto& time : of_stream) tokens += time > begin && time <= end ? 1 : 0;
  }
  return static_cast<double>(tokens) / std::chrono::duration<double>(end - begin).count();
}

double prompt_rate(runtime::Engine& engine, int64_t tokens, int seed) {
  std::promise<void> done;
  auto request = request_of(tokens, 1, seed);
  request.on_finish = [&done](runtime::FinishReason, const std::string&) { done.set_value(); };
  const auto begin = Clock::now();
  engine.submit(std::move(request));
  done.get_future().get();
  return static_cast<double>(tokens) / seconds_since(begin);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int run(const std::vector<std::string>& arguments) {
  runtime::EngineOptions options;
  const size_t slash = arguments[1].find('/');
  options.weight_type = runtime::choose_weight_type(arguments[1].substr(0, slash), arguments[0]);
  if (slash != std::string::npos) options.cache_type = runtime::choose_cache_type(arguments[1].substr(slash + 1));
  options.threads = std::atoi(arguments[2].c_str());
  options.max_model_len = 4096;
  std::vector<std::string> work(arguments.begin() + 3, arguments.end());
  if (work.empty()) work = {"load", "decode:1", "decode:4", "decode:16", "prompt:512", "prompt:2000"};
  const auto begin = Clock::now();
  runtime::Engine engine(arguments[0], options);
  const double load = seconds_since(begin);
  int seed = 0;
  for (const std::string& item : work) {
    const int64_t count = item.find(':') == std::string::npos ? 0 : std::atoll(item.c_str() + item.find(':') + 1);
    const size_t at = item.find('@');
    const int64_t prompt = at == std::string::npos ? 16 : std::atoll(item.c_str() + at + 1);
    std::vector<double> rates;
    if (item == "load") {
      std::printf("%s load %.3f s\n", arguments[1].c_str(), load);
      continue;
    }
    for (int round = 0; round < kRounds; ++round) {
      rates.push_back(item.starts_with("decode") ? decode_rate(engine, count, prompt)
                                                 : prompt_rate(engine, count, ++seed));
    }
    std::printf("%s %s %.1f tokens/s\n", arguments[1].c_str(), item.c_str(), median(rates));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(
        stderr, "usage: runtime_bench MODEL DTYPE[/CACHE] THREADS [decode:STREAMS[@PROMPT] | prompt:TOKENS | load]…\n");
    return 2;
  }
  try {
    return run({argv + 1, argv + argc});
  } catch (const base::Error& error) {
    std::fprintf(stderr, "runtime_bench: error: %s: %s (%s)\n", error.code().c_str(), error.what(),
                 error.advice().c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "runtime_bench: error: %s\n", error.what());
  }
  return 1;
}
