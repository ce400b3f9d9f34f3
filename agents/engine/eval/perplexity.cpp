#include "agents/engine/eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>
#include <vector>

#include "agents/engine/runtime/engine.h"

namespace slipway::eval {
namespace {

constexpr size_t kRowsAtOnce = 8;
constexpr auto kProgressInterval = std::chrono::seconds(1);

// Negative log-likelihood of the scored tokens of one row.
double row_loss(const Example& example, runtime::Engine& engine, const std::string& adapter) {
  const std::vector<float> logprobs = engine.score(example.tokens, adapter_of_task(adapter, example.task_id));
  double sum = 0;
  for (size_t i = 0; i < logprobs.size(); ++i) {
    if (example.scored[i + 1] != 0) sum -= static_cast<double>(logprobs[i]);
  }
  return sum;
}

// What the scoring threads share.
struct Shared {
  std::mutex mutex;
  std::condition_variable changed;
  size_t finished = 0;  // threads that have ended
  int64_t done = 0;     // tokens
  std::exception_ptr failure;
  std::atomic<size_t> next{0};
  std::atomic<bool> abandon{false};
};

}  // namespace

std::string adapter_of_task(const std::string& adapter, int64_t task_id) {
  return task_id == 0 ? adapter : adapter + " of task " + std::to_string(task_id);
}

std::optional<Perplexity> measure_perplexity(const Examples& examples, runtime::Engine& engine,
                                             const std::string& adapter,
                                             const std::function<void(int64_t, int64_t)>& on_progress,
                                             const std::atomic<bool>& stop) {
  const auto& rows = examples.kept;
  int64_t total = 0;
  for (const Example& row : rows) total += static_cast<int64_t>(row.tokens.size());
  // The longest first, so that none is left to run alone at the end.
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return rows[a].tokens.size() > rows[b].tokens.size(); });

  std::vector<double> losses(rows.size());
  Shared shared;
  const auto work = [&] {
    try {
      for (size_t i = shared.next++; i < order.size() && !shared.abandon && !stop; i = shared.next++) {
        losses[order[i]] = row_loss(rows[order[i]], engine, adapter);
        const std::lock_guard lock(shared.mutex);
        shared.done += static_cast<int64_t>(rows[order[i]].tokens.size());
      }
    } catch (...) {
      const std::lock_guard lock(shared.mutex);
      shared.failure = std::current_exception();
      shared.abandon = true;
    }
    const std::lock_guard lock(shared.mutex);
    ++shared.finished;
    shared.changed.notify_all();
  };
  std::vector<std::thread> threads;
  const size_t count = std::min(kRowsAtOnce, rows.size());
  for (size_t i = 0; i < count; ++i) threads.emplace_back(work);
  {
    std::unique_lock lock(shared.mutex);
    auto next_report = std::chrono::steady_clock::now() + kProgressInterval;
    while (shared.finished < count) {
      shared.changed.wait_for(lock, std::chrono::milliseconds(100));
      if (stop) shared.abandon = true;
      if (std::chrono::steady_clock::now() >= next_report && shared.failure == nullptr) {
        const int64_t done = shared.done;
        lock.unlock();
        try {
          on_progress(done, total);
        } catch (...) {
          lock.lock();
          shared.failure = std::current_exception();
          shared.abandon = true;
          continue;
        }
        next_report = std::chrono::steady_clock::now() + kProgressInterval;
        lock.lock();
      }
    }
  }
  for (std::thread& thread : threads) thread.join();
  if (shared.failure != nullptr) std::rethrow_exception(shared.failure);
  if (stop) return std::nullopt;
  on_progress(total, total);

  Perplexity result;
  result.tokens = examples.scored_tokens;
  result.loss =
      std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(std::max<int64_t>(1, result.tokens));
  result.perplexity = std::exp(result.loss);
  return result;
}

}  // namespace slipway::eval
