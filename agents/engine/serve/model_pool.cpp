#include "agents/engine/serve/model_pool.h"

#include <malloc.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace slipway::serve {
namespace {

std::string mebibytes(int64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

// Running totals go on when a model is loaded again; the rest is of now.
void add_totals(runtime::EngineStats& sum, const runtime::EngineStats& more) {
  sum.prompt_tokens += more.prompt_tokens;
  sum.generated_tokens += more.generated_tokens;
  sum.prefix_queries += more.prefix_queries;
  sum.prefix_hits += more.prefix_hits;
  sum.preemptions += more.preemptions;
  sum.draft_tokens += more.draft_tokens;
  sum.accepted_draft_tokens += more.accepted_draft_tokens;
}

}  // namespace

ModelPool::ModelPool(std::vector<PooledModel> models, const PoolOptions& options,
                     std::function<std::unique_ptr<LoadedModel>(size_t)> load)
    : models_(std::move(models)), options_(options), load_(std::move(load)), state_(std::make_shared<State>()) {
  for (const PooledModel& model : models_) {
    if (options_.memory_limit == 0 || model.bytes <= options_.memory_limit) continue;
    throw base::Error(base::kInvalidSpec,
                      "the model " + model.name + " takes about " + mebibytes(model.bytes) +
                          " with its cache; the memory limit is " + mebibytes(options_.memory_limit),
                      "raise memory_limit_bytes, or lower its dtype, max_num_seqs or kv_cache_tokens");
  }
  state_->slots.resize(models_.size());
  thread_ = std::thread([this] { work(); });
}

ModelPool::~ModelPool() {
  {
    const std::lock_guard lock(state_->mutex);
    stop_ = true;
  }
  state_->changed.notify_all();
  thread_.join();
  for (const Waiting& request : std::exchange(waiting_, {}))
    request.failed(base::Error("STOPPING", "the server is stopping", ""));
  for (Slot& slot : state_->slots) {
    std::unique_ptr<LoadedModel> loaded;
    {
      const std::lock_guard lock(state_->mutex);
      loaded = std::move(slot.loaded);
    }
  }  // without the mutex: the end of an engine ends its requests, and they give their leases back
}

void ModelPool::load_now(size_t model) {
  Lock lock(state_->mutex);
  load(model, lock);
}

ModelLease ModelPool::try_use(size_t model) {
  const std::lock_guard lock(state_->mutex);
  return usable(model) ? lease(model) : nullptr;
}

uint64_t ModelPool::wait_for(size_t model, Ready ready, Failed failed) {
  const std::lock_guard lock(state_->mutex);
  waiting_.push_back({++last_ticket_, model, std::move(ready), std::move(failed)});
  state_->changed.notify_all();
  return last_ticket_;
}

bool ModelPool::cancel(uint64_t ticket) {
  Waiting taken;  // what it holds is freed without the mutex
  {
    const std::lock_guard lock(state_->mutex);
    const auto found =
        std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& one) { return one.ticket == ticket; });
    if (found == waiting_.end()) return false;
    taken = std::move(*found);
    waiting_.erase(found);
    state_->changed.notify_all();
  }
  return true;
}

PoolStats ModelPool::stats(size_t model) const {
  const std::lock_guard lock(state_->mutex);
  const Slot& slot = state_->slots[model];
  PoolStats stats;
  if (slot.loaded) stats.engine = slot.loaded->generator->stats();
  add_totals(stats.engine, slot.past);
  stats.engine.waiting +=
      std::count_if(waiting_.begin(), waiting_.end(), [&](const Waiting& one) { return one.model == model; });
  stats.loaded = slot.loaded != nullptr;
  stats.loads = slot.loads;
  stats.drops = slot.drops;
  return stats;
}

bool ModelPool::usable(size_t model) const {
  return state_->slots[model].loaded != nullptr && !state_->slots[model].making_room;
}

ModelLease ModelPool::lease(size_t model) {
  Slot& slot = state_->slots[model];
  ++slot.users;
  const auto give_back = [state = state_, model](LoadedModel*) {
    const std::lock_guard lock(state->mutex);
    --state->slots[model].users;
    state->slots[model].last_use = Clock::now();
    state->changed.notify_all();
  };
  return {slot.loaded.get(), give_back};
}

// From here on: the pool's thread, but for load().

void ModelPool::work() {
  Lock lock(state_->mutex);
  while (!stop_) {
    if (serve_waiting(lock) || load_next(lock) || drop_idle(lock)) continue;
    const Clock::time_point end = next_idle_end();
    if (end == Clock::time_point::max()) {
      state_->changed.wait(lock);
    } else {
      state_->changed.wait_until(lock, end);
    }
  }
}

// The first of those who wait for a model that is there. False: there is none.
bool ModelPool::serve_waiting(Lock& lock) {
  const auto found =
      std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& one) { return usable(one.model); });
  if (found == waiting_.end()) return false;
  Waiting request = std::move(*found);
  waiting_.erase(found);
  ModelLease model = lease(request.model);
  lock.unlock();
  request.ready(std::move(model));
  request = {};
  lock.lock();
  return true;
}

// Loads the model that was asked for first among those that are not there, or makes room for it. False: nothing can be
// done for now.
bool ModelPool::load_next(Lock& lock) {
  bool kept_out = false;
  for (Slot& slot : state_->slots) kept_out = std::exchange(slot.making_room, false) || kept_out;
  const auto found = std::find_if(waiting_.begin(), waiting_.end(),
                                  [&](const Waiting& one) { return state_->slots[one.model].loaded == nullptr; });
  if (found == waiting_.end()) return kept_out;  // those who were kept out of a model may use it again
  const size_t model = found->model;
  if (!make_room(model, lock)) return false;
  try {
    load(model, lock);
  } catch (const base::Error& error) {
    spdlog::error("a model cannot be loaded model={} error=\"{}\"", models_[model].name, error.what());
    std::list<Waiting> failed;
    for (auto next = waiting_.begin(); next != waiting_.end();) {
      const auto one = next++;
      if (one->model == model) failed.splice(failed.end(), waiting_, one);
    }
    lock.unlock();
    for (const Waiting& request : failed) request.failed(error);
    failed.clear();
    lock.lock();
  }
  return true;
}

// False: models in use must end first; they take no more users.
bool ModelPool::make_room(size_t model, Lock& lock) {
  if (options_.memory_limit == 0) return true;
  int64_t over = models_[model].bytes - options_.memory_limit;
  std::vector<size_t> others;
  for (size_t i = 0; i < models_.size(); ++i) {
    if (!state_->slots[i].loaded) continue;
    over += models_[i].bytes;
    others.push_back(i);
  }
  // Those that nobody uses first, then those unused for longest.
  std::sort(others.begin(), others.end(), [&](size_t a, size_t b) {
    const Slot &one = state_->slots[a], &other = state_->slots[b];
    return std::pair(one.users > 0, one.last_use) < std::pair(other.users > 0, other.last_use);
  });
  bool free = true;
  for (const size_t i : others) {
    if (over <= 0) break;
    over -= models_[i].bytes;
    state_->slots[i].making_room = true;
    free = free && state_->slots[i].users == 0;
  }
  if (!free) return false;
  for (const size_t i : others) {
    if (state_->slots[i].making_room) drop(i, lock);
  }
  return true;
}

void ModelPool::load(size_t model, Lock& lock) {
  const auto begin = Clock::now();
  lock.unlock();
  std::unique_ptr<LoadedModel> loaded;
  try {
    loaded = load_(model);
  } catch (const std::bad_alloc&) {
    lock.lock();
    throw base::Error(base::kOutOfMemory, "there was not enough memory to load the model " + models_[model].name,
                      "set a memory limit, or serve fewer or smaller models");
  } catch (...) {
    lock.lock();
    throw;
  }
  lock.lock();
  Slot& slot = state_->slots[model];
  slot.loaded = std::move(loaded);
  slot.last_use = Clock::now();
  ++slot.loads;
  spdlog::info("model loaded model={} ms={}", models_[model].name,
               std::chrono::duration_cast<std::chrono::milliseconds>(slot.last_use - begin).count());
}

// Nobody uses it, and nobody can while the place is being made or it has no place.
void ModelPool::drop(size_t model, Lock& lock) {
  Slot& slot = state_->slots[model];
  std::unique_ptr<LoadedModel> loaded = std::move(slot.loaded);
  add_totals(slot.past, loaded->generator->stats());
  slot.making_room = false;
  ++slot.drops;
  lock.unlock();
  loaded.reset();
  malloc_trim(0);
  spdlog::info("model dropped model={}", models_[model].name);
  lock.lock();
}

bool ModelPool::drop_idle(Lock& lock) {
  if (options_.idle_time.count() == 0) return false;
  for (size_t i = 0; i < models_.size(); ++i) {
    const Slot& slot = state_->slots[i];
    if (!slot.loaded || slot.users > 0 || Clock::now() - slot.last_use < options_.idle_time) continue;
    drop(i, lock);
    return true;
  }
  return false;
}

ModelPool::Clock::time_point ModelPool::next_idle_end() const {
  auto end = Clock::time_point::max();
  if (options_.idle_time.count() == 0) return end;
  for (const Slot& slot : state_->slots) {
    if (slot.loaded && slot.users == 0) end = std::min(end, slot.last_use + options_.idle_time);
  }
  return end;
}

}  // namespace slipway::serve
