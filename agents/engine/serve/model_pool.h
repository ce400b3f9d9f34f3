// The base models of a server: which of them are in memory, who uses them, and which goes when another must come.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agents/engine/runtime/engine.h"
#include "agents/engine/serve/chat_prompt.h"
#include "agents/engine/serve/generator.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"

namespace slipway::serve {

// A base model in memory, with all that answering from it takes.
struct LoadedModel {
  LoadedModel(std::unique_ptr<const text::Tokenizer> given_tokenizer, std::unique_ptr<Generator> given_generator)
      : tokenizer(std::move(given_tokenizer)), generator(std::move(given_generator)), chat_prompt(*tokenizer) {}

  const std::unique_ptr<const text::Tokenizer> tokenizer;
  const std::unique_ptr<Generator> generator;  // its callbacks still use the tokenizer while it ends
  const ChatPrompt chat_prompt;
};

// Keeps a model in memory as long as it lives. It may outlive the pool, but must not be used then.
using ModelLease = std::shared_ptr<LoadedModel>;

struct PooledModel {
  std::string name;
  int64_t bytes = 0;          // that it will take in memory, by estimate
  int64_t max_model_len = 0;  // tokens
};

struct PoolOptions {
  int64_t memory_limit = 0;                // bytes of all models in memory; 0: none
  std::chrono::milliseconds idle_time{0};  // a model that nobody used for so long is dropped; 0: never
};

// What /metrics says of one model beside its engine's own counts, which go on over reloads.
struct PoolStats {
  runtime::EngineStats engine;
  bool loaded = false;
  int64_t loads = 0, drops = 0;
};

// Any thread. A model is loaded when it is first asked for, on the pool's own thread, one at a time in the order in
// which they were asked for. When it would pass the limit, the model unused for longest is dropped; one in use is only
// dropped once its last user has gone, and takes no new users while another waits for its place.
class ModelPool {
 public:
  // `load` makes the model of an index, on any thread; it throws base::Error. Throws base::Error INVALID_SPEC for a
  // model that is bigger than the limit.
  ModelPool(std::vector<PooledModel> models, const PoolOptions& options,
            std::function<std::unique_ptr<LoadedModel>(size_t)> load);
  ~ModelPool();  // refuses those who wait, cancels what runs

  const std::vector<PooledModel>& models() const { return models_; }

  // Loads a model now and waits for it. Throws what `load` throws.
  void load_now(size_t model);

  // The model when it can be used at once, else null.
  ModelLease try_use(size_t model);

  // `ready` or `failed` is called once, on the pool's thread, unless cancel() was in time.
  using Ready = std::function<void(ModelLease)>;
  using Failed = std::function<void(const base::Error&)>;
  uint64_t wait_for(size_t model, Ready ready, Failed failed);
  // True: neither of them is called any more.
  bool cancel(uint64_t ticket);

  PoolStats stats(size_t model) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Slot {
    std::unique_ptr<LoadedModel> loaded;
    int64_t users = 0;
    Clock::time_point last_use;
    bool making_room = false;  // another waits for its place
    int64_t loads = 0, drops = 0;
    runtime::EngineStats past;  // running totals of what was dropped
  };
  // What leases hold too, since they may live longer than the pool.
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<Slot> slots;
  };
  struct Waiting {
    uint64_t ticket = 0;
    size_t model = 0;
    Ready ready;
    Failed failed;
  };
  using Lock = std::unique_lock<std::mutex>;

  void work();
  // With the state's mutex held; those that take the lock let it go for a while.
  ModelLease lease(size_t model);
  bool usable(size_t model) const;
  bool serve_waiting(Lock& lock);
  bool load_next(Lock& lock);
  bool drop_idle(Lock& lock);
  bool make_room(size_t model, Lock& lock);
  void load(size_t model, Lock& lock);
  void drop(size_t model, Lock& lock);
  Clock::time_point next_idle_end() const;

  const std::vector<PooledModel> models_;
  const PoolOptions options_;
  const std::function<std::unique_ptr<LoadedModel>(size_t)> load_;
  const std::shared_ptr<State> state_;
  std::list<Waiting> waiting_;  // in order of their coming; guarded by the state's mutex, like what follows
  uint64_t last_ticket_ = 0;
  bool stop_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace slipway::serve
