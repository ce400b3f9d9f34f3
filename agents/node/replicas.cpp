#include "agents/node/replicas.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "agents/node/layout.h"
#include "agents/node/replica_client.h"
#include "agents/node/replica_metrics.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::node {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kSampleTimeout{500};
constexpr milliseconds kListTimeout{10'000};
constexpr milliseconds kLoadTimeout{300'000};
constexpr size_t kMostNoteBytes = 1 << 20;
// In the work folder: which artifact each adapter that was loaded here came from.
constexpr char kNote[] = "adapters.json";

std::string read_whole_events(const fs::path& workdir) {
  std::string url;
  spec::LineTail tail(workdir / "events.jsonl", 0);
  for (auto lines = tail.read(); !lines.empty(); lines = tail.read()) follow_ready(lines, url);
  return url;
}

// Resident bytes, from the second number of /proc/PID/statm (proc(5)).
int64_t resident_bytes(const ProcessId& process) {
  std::ifstream file("/proc/" + std::to_string(process.pid) + "/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

std::string message_of(const HttpAnswer& answer) {
  const json body = json::parse(answer.body, nullptr, false);
  if (body.is_object() && body.contains("error") && body["error"].is_object()) {
    return body["error"].value("message", "status " + std::to_string(answer.status));
  }
  return "the engine answered with status " + std::to_string(answer.status);
}

// One change of an engine's adapters, and what became of it.
class AdapterChange {
 public:
  AdapterChange(std::string url, fs::path workdir, Transfer& transfer, Cancellation& cancellation)
      : url_(std::move(url)), workdir_(std::move(workdir)), transfer_(transfer), cancellation_(cancellation) {}

  void run(const v1::SetAdapters& wanted, v1::AdaptersReport* report) {
    report_ = report;
    report->set_attempt_id(wanted.attempt_id());
    const auto loaded = list();
    if (!loaded.ok()) {
      for (const auto& adapter : wanted.adapters())
        fail(adapter.name(), "ENGINE_NOT_READY", std::string(loaded.status().message()));
      return;
    }
    read_note();
    std::map<std::string, const v1::SetAdapters::Adapter*> by_name;
    for (const auto& adapter : wanted.adapters()) by_name[adapter.name()] = &adapter;
    // Those of the spec are not in the note, and stay.
    for (const auto& [name, artifact] : std::map<std::string, std::string>(note_)) {
      const auto found = by_name.find(name);
      const bool stays = found != by_name.end() && found->second->artifact_id() == artifact;
      if (stays && loaded->contains(name)) continue;
      if (loaded->contains(name)) unload(name);
      note_.erase(name);
    }
    for (const auto& adapter : wanted.adapters()) {
      if (note_.contains(adapter.name()) || load(adapter)) report->add_loaded(adapter.name());
    }
    base::write_file_atomically(workdir_ / kNote, json(note_).dump(), 0644);
  }

 private:
  void fail(const std::string& name, const std::string& code, const std::string& message) {
    auto* failure = report_->add_failures();
    failure->set_name(name);
    failure->set_code(code);
    failure->set_message(message);
    failure->set_advice("unload it, or mend what is wrong and load it again");
  }

  // Names of the adapters that the engine has.
  absl::StatusOr<std::set<std::string>> list() {
    const auto answer = call_replica(url_, "GET", "/v1/models", "", kListTimeout);
    if (!answer.ok()) return answer.status();
    const json body = json::parse(answer->body, nullptr, false);
    if (answer->status != 200 || !body.is_object() || !body.contains("data") || !body["data"].is_array()) {
      return absl::UnavailableError(message_of(*answer));
    }
    std::set<std::string> names;
    for (const json& model : body["data"]) {
      if (model.is_object() && model.contains("parent") && model["parent"].is_string())
        names.insert(model.value("id", ""));
    }
    return names;
  }

  void unload(const std::string& name) {
    const auto answer =
        call_replica(url_, "POST", "/v1/unload_lora_adapter", json{{"lora_name", name}}.dump(), kListTimeout);
    const bool done = answer.ok() && answer->status == 200;
    spdlog::info("adapter unloaded name={} ok={}", name, done);
  }

  bool load(const v1::SetAdapters::Adapter& adapter) {
    const fs::path folder = fs::path("inputs") / "adapters" / as_file_name(adapter.artifact_id());
    const auto fetched = transfer_.fetch(adapter.artifact_id(), workdir_ / folder, cancellation_);
    if (!fetched.ok()) {
      fail(adapter.name(), "INPUT_NOT_AVAILABLE", std::string(fetched.message()));
      return false;
    }
    json body = {{"lora_name", adapter.name()}, {"lora_path", (folder / adapter.path()).string()}};
    if (adapter.task_id() > 0) body["task_id"] = adapter.task_id();
    const auto answer = call_replica(url_, "POST", "/v1/load_lora_adapter", body.dump(), kLoadTimeout);
    const bool done = answer.ok() && answer->status == 200;
    if (!done)
      fail(adapter.name(), "ADAPTER_NOT_LOADED",
           answer.ok() ? message_of(*answer) : std::string(answer.status().message()));
    if (done) note_[adapter.name()] = adapter.artifact_id();
    spdlog::info("adapter loaded name={} ok={}", adapter.name(), done);
    return done;
  }

  void read_note() {
    std::error_code ignored;
    if (!fs::exists(workdir_ / kNote, ignored)) return;
    const json note = json::parse(base::read_file(workdir_ / kNote, kMostNoteBytes), nullptr, false);
    if (note.is_object()) note_ = note.get<std::map<std::string, std::string>>();
  }

  const std::string url_;
  const fs::path workdir_;
  Transfer& transfer_;
  Cancellation& cancellation_;
  v1::AdaptersReport* report_ = nullptr;
  std::map<std::string, std::string> note_;  // name -> artifact
};

}  // namespace

void follow_ready(const std::vector<std::string>& lines, std::string& url) {
  for (const std::string& line : lines) {
    if (line.find("\"ready\"") == std::string::npos && line.find("\"started\"") == std::string::npos) continue;
    const json event = json::parse(line, nullptr, false);
    if (!event.is_object()) continue;
    const auto type = event.find("type");
    if (type == event.end() || !type->is_string()) continue;
    if (*type == "started") url.clear();
    const auto said = event.find("url");
    if (*type == "ready" && said != event.end() && said->is_string()) url = said->get<std::string>();
  }
}

Replicas::Replicas(Transfer& transfer, BackendLink& link) : transfer_(transfer), link_(link) {
  worker_ = std::thread([this] { work(); });
}

Replicas::~Replicas() {
  cancellation_.cancel();
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

std::vector<v1::AgentMessage> Replicas::sample(const std::vector<RunningReplica>& running) {
  std::vector<v1::AgentMessage> messages;
  std::set<std::string> present;
  for (const RunningReplica& replica : running) {
    present.insert(replica.attempt_id);
    const auto [entry, unused] =
        known_.try_emplace(replica.attempt_id, Known{spec::LineTail(replica.workdir / "events.jsonl", 0), ""});
    Known& known = entry->second;
    for (auto lines = known.tail.read(); !lines.empty(); lines = known.tail.read()) follow_ready(lines, known.url);
    if (known.url.empty() || !replica.process) continue;
    const auto answer = call_replica(known.url, "GET", "/metrics", "", kSampleTimeout);
    if (!answer.ok() || answer->status != 200) continue;
    v1::AgentMessage message;
    auto* sample = message.mutable_replica_sample();
    sample->set_attempt_id(replica.attempt_id);
    const int64_t now_ms =
        std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
    sample->mutable_time()->set_seconds(now_ms / 1000);
    sample->mutable_time()->set_nanos(static_cast<int32_t>(now_ms % 1000) * 1'000'000);
    sample->set_memory_bytes(resident_bytes(*replica.process));
    read_metrics(answer->body, sample);
    messages.push_back(std::move(message));
  }
  std::erase_if(known_, [&](const auto& entry) { return !present.contains(entry.first); });
  return messages;
}

void Replicas::set_adapters(uint64_t session, const fs::path& workdir, v1::SetAdapters wanted) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({session, workdir, std::move(wanted)});
  }
  changed_.notify_all();
}

void Replicas::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return closing_ || !jobs_.empty(); });
    if (closing_) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    change(job);
    lock.lock();
  }
}

void Replicas::change(const Job& job) {
  const std::string url = read_whole_events(job.workdir);
  if (url.empty()) return;  // it was started again: the backend says it once more when it is ready
  v1::AgentMessage message;
  try {
    AdapterChange(url, job.workdir, transfer_, cancellation_).run(job.wanted, message.mutable_adapters());
  } catch (const std::exception& error) {  // base::Error: a full disk, a folder taken away
    spdlog::error("adapters not changed attempt={} error={}", job.wanted.attempt_id(), error.what());
    return;
  }
  if (cancellation_.cancelled()) return;
  link_.send(job.session, std::move(message));
}

}  // namespace slipway::node
