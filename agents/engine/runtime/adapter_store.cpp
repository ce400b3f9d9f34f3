#include "agents/engine/runtime/adapter_store.h"

#include <algorithm>

#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

std::filesystem::file_time_type written_at(const std::filesystem::path& folder) {
  std::error_code ignored;
  return std::filesystem::last_write_time(folder / "adapter_model.safetensors", ignored);
}

}  // namespace

AdapterStore::AdapterStore(const model::Architecture& architecture, int64_t most_in_memory, int64_t max_length,
                           std::function<void()> on_loaded)
    : architecture_(architecture),
      most_in_memory_(most_in_memory),
      max_length_(max_length),
      on_loaded_(std::move(on_loaded)),
      thread_([this] { load_in_background(); }) {}

AdapterStore::~AdapterStore() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void AdapterStore::add(const std::string& name, const std::filesystem::path& folder, int64_t task_id) {
  const auto written = written_at(folder);
  auto weights = load_adapter_weights(folder, architecture_, task_id);
  const auto virtual_tokens = static_cast<int64_t>(weights->virtual_tokens.size()) / architecture_.hidden_size;
  if (virtual_tokens > 0 && virtual_tokens + 2 > max_length_) {
    throw base::Error(base::kInvalidModel,
                      folder.string() + " has " + std::to_string(virtual_tokens) +
                          " virtual tokens; sequences of this model have at most " + std::to_string(max_length_),
                      "serve the model with a larger max_model_len, or train fewer virtual tokens");
  }
  const std::lock_guard lock(mutex_);
  const auto adapter = std::make_shared<Adapter>(Adapter{name, folder, task_id, virtual_tokens, kBaseRoot + ++roots_});
  adapter->written = written;
  if (make_room()) {
    adapter->weights = std::move(weights);
    adapter->state = Adapter::State::kInMemory;
    adapter->last_use = ++uses_;
    resident_.push_back(adapter);
  }
  auto& place = by_name_[name];
  if (place) {
    place->removed = true;
    if (place->pins == 0) drop(*place);
  }
  place = adapter;
}

void AdapterStore::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return;
  found->second->removed = true;
  if (found->second->pins == 0) drop(*found->second);
  by_name_.erase(found);
}

std::vector<std::string> AdapterStore::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, adapter] : by_name_) names.push_back(name);
  return names;
}

std::shared_ptr<Adapter> AdapterStore::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    throw base::Error(base::kNotFound, "the adapter '" + name + "' is not loaded",
                      "load it first, or use the base model");
  }
  return found->second;
}

int64_t AdapterStore::in_memory() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(resident_.size());
}

bool AdapterStore::make_room() {
  if (static_cast<int64_t>(resident_.size()) < most_in_memory_) return true;
  Adapter* oldest = nullptr;
  for (const auto& adapter : resident_) {
    const bool free = adapter->pins == 0 && adapter->state == Adapter::State::kInMemory;
    if (free && (oldest == nullptr || adapter->last_use < oldest->last_use)) oldest = adapter.get();
  }
  if (oldest == nullptr) return false;
  drop(*oldest);
  return true;
}

void AdapterStore::drop(Adapter& adapter) {
  if (adapter.state != Adapter::State::kInMemory) return;  // one that is being loaded stays for those who wait for it
  adapter.state = Adapter::State::kOnDisk;
  adapter.weights.reset();
  std::erase_if(resident_, [&](const auto& other) { return other.get() == &adapter; });
}

const AdapterWeights* AdapterStore::pin(const std::shared_ptr<Adapter>& adapter) {
  const std::lock_guard lock(mutex_);
  adapter->last_use = ++uses_;
  if (adapter->state == Adapter::State::kInMemory) {
    ++adapter->pins;
    return adapter->weights.get();
  }
  if (!adapter->failure.empty()) {
    throw base::Error(base::kInvalidModel,
                      "the adapter '" + adapter->name + "' cannot be read again: " + adapter->failure,
                      "unload it and load it from where its files are");
  }
  if (adapter->state == Adapter::State::kOnDisk && make_room()) {
    adapter->state = Adapter::State::kLoading;
    resident_.push_back(adapter);
    to_load_.push_back(adapter);
    wake_.notify_one();
  }
  return nullptr;
}

void AdapterStore::unpin(const std::shared_ptr<Adapter>& adapter) {
  const std::lock_guard lock(mutex_);
  if (--adapter->pins == 0 && adapter->removed) drop(*adapter);
}

void AdapterStore::load_in_background() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [&] { return stop_ || !to_load_.empty(); });
    if (stop_) return;
    const std::shared_ptr<Adapter> adapter = to_load_.front();
    to_load_.pop_front();
    std::shared_ptr<const AdapterWeights> weights;
    std::string failure;
    lock.unlock();
    try {
      // Other weights under the same name would make one answer out of two models.
      if (written_at(adapter->folder) != adapter->written) failure = "its files have changed since it was loaded";
      if (failure.empty()) weights = load_adapter_weights(adapter->folder, architecture_, adapter->task_id);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    lock.lock();
    adapter->failure = failure;
    adapter->weights = std::move(weights);
    adapter->state = Adapter::State::kInMemory;
    // A request that waits for a removed adapter came before the removal, and is still served.
    if (!failure.empty()) drop(*adapter);
    lock.unlock();
    on_loaded_();
    lock.lock();
  }
}

}  // namespace slipway::runtime
