// The adapters of an engine by name: where their files are, and the few whose weights are in memory, read again from
// disk when they are needed and put out by least recent use.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agents/engine/model/architecture.h"
#include "agents/engine/runtime/adapter_weights.h"
#include "agents/engine/runtime/page_pool.h"

namespace slipway::runtime {

// One adapter; requests hold it, also after its name is gone. Its members are the store's, but for the constant ones.
struct Adapter {
  const std::string name;
  const std::filesystem::path folder;
  const int64_t task_id = 0;         // whose virtual tokens, of several tasks
  const int64_t virtual_tokens = 0;  // that stand before each of its prompts
  const PrefixNode root = 0;         // of its pages in the KV cache

  enum class State { kOnDisk, kLoading, kInMemory };
  State state = State::kOnDisk;
  std::shared_ptr<const AdapterWeights> weights = {};
  int64_t pins = 0;                              // running sequences
  uint64_t last_use = 0;                         // a count, not a time
  bool removed = false;                          // its name is gone
  std::string failure = {};                      // why it could not be read again
  std::filesystem::file_time_type written = {};  // of its weights' file, when it was checked
};

class AdapterStore {
 public:
  // At most `most_in_memory` have their weights in memory. `max_length`: tokens of a sequence, virtual ones with them.
  // `on_loaded` is called on the store's own thread.
  AdapterStore(const model::Architecture& architecture, int64_t most_in_memory, int64_t max_length,
               std::function<void()> on_loaded);
  ~AdapterStore();

  // Any thread. add() reads the files once, to check them; a name that is there already is replaced for new requests.
  // Throws what load_adapter_weights throws, and INVALID_MODEL for virtual tokens that leave no room for a prompt.
  void add(const std::string& name, const std::filesystem::path& folder, int64_t task_id);
  void remove(const std::string& name);
  std::vector<std::string> names() const;
  // Throws base::Error NOT_FOUND.
  std::shared_ptr<Adapter> find(const std::string& name) const;
  int64_t in_memory() const;

  // For the engine's thread: the weights, which stay until unpin(). Null while they are being read or while all places
  // are taken by pinned ones: ask again after on_loaded or an unpin(). Throws base::Error when they cannot be read.
  const AdapterWeights* pin(const std::shared_ptr<Adapter>& adapter);
  void unpin(const std::shared_ptr<Adapter>& adapter);

 private:
  void load_in_background();
  // With mutex_ held. True when there is a place for one more.
  bool make_room();
  void drop(Adapter& adapter);

  const model::Architecture& architecture_;
  const int64_t most_in_memory_, max_length_;
  const std::function<void()> on_loaded_;

  mutable std::mutex mutex_;  // guards what follows, and the members of the adapters
  std::condition_variable wake_;
  bool stop_ = false;
  uint64_t uses_ = 0, roots_ = 0;
  std::map<std::string, std::shared_ptr<Adapter>> by_name_;
  std::vector<std::shared_ptr<Adapter>> resident_;  // in memory, or being loaded
  std::deque<std::shared_ptr<Adapter>> to_load_;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace slipway::runtime
