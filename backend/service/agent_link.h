// What backend and agent say to each other, as plain values: rpc/ turns the wire's messages into these and back.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace slipway::service {

struct DeviceFacts {
  std::string id;    // cpu, gpu0
  std::string kind;  // cpu, cuda
  std::string name;
  int64_t memory_bytes = 0;
};

struct NodeFacts {
  std::string name;
  std::string cpu_model;
  int32_t cpu_cores = 0;
  int64_t memory_bytes = 0;
  int64_t disk_bytes = 0;
  std::string os;
  std::vector<std::string> cpu_features;
  std::vector<DeviceFacts> devices;
  std::string agent_version;
};
std::string to_json(const NodeFacts& facts);
// Of what to_json wrote.
NodeFacts node_facts_from_json(const std::string& json);

struct GpuSample {
  std::string device_id;
  double utilization = 0;  // 0 to 1
  int64_t memory_used_bytes = 0;
  int64_t memory_total_bytes = 0;
  double power_watts = 0;
  double temperature_celsius = 0;
};

struct NodeSample {
  int64_t time_ms = 0;
  double cpu_utilization = 0;  // 0 to 1
  int64_t memory_used_bytes = 0;
  int64_t memory_total_bytes = 0;
  int64_t disk_used_bytes = 0;
  int64_t disk_total_bytes = 0;
  double disk_read_bytes_per_second = 0;
  double disk_write_bytes_per_second = 0;
  std::vector<GpuSample> gpus;
};
std::string to_json(const NodeSample& sample);
NodeSample node_sample_from_json(const std::string& json, int64_t time_ms);

// How an attempt stands, as its agent says.
struct AttemptReport {
  enum class State { kPreparing, kPrepared, kRunning, kUploading, kSucceeded, kFailed, kStopped };
  std::string attempt_id;
  State state = State::kPreparing;
  std::optional<int32_t> exit_code;
  int32_t signal = 0;
  std::string code;
  std::string message;
  std::string advice;
  std::map<std::string, std::string> artifact_ids;
  std::map<std::string, std::string> returned_files;
  std::string meeting;  // when prepared: HOST:PORT where other ranks could meet it
};

// Whole lines of one file of an attempt, at byte offsets of that file.
struct LineBatch {
  std::string attempt_id;
  std::string file;  // events, stdout, stderr
  int64_t offset = 0;
  int64_t end_offset = 0;
  std::vector<std::string> lines;
  int64_t time_ms = 0;
};

struct FilePosition {
  std::string attempt_id;
  std::string file;
  int64_t end_offset = 0;
};

struct StartOrder {
  struct Input {
    std::string artifact_id;
    std::string path;
  };
  std::string attempt_id;
  std::string engine;
  std::string spec_json;
  std::vector<Input> inputs;
  std::string work_key;
  int32_t grace_seconds = 0;
  std::string device;
  std::vector<std::string> upload_artifacts;
  std::vector<std::string> return_files;
  int32_t restarts = 0;
  bool plan = false;  // measure only
  struct Gang {
    int rank = 0;
    int size = 1;
    int local_size = 1;  // ranks on the same node
  };
  std::optional<Gang> gang;  // one rank of several, each on a device
};

// An adapter that a serving engine is to have.
struct AdapterOrder {
  std::string name;
  std::string artifact_id;
  std::string path;     // in the artifact; empty for its root
  int64_t task_id = 0;  // whose prompt, of an adapter of several tasks
};

struct AdaptersReport {
  struct Failure {
    std::string name, code, message, advice;
  };
  std::string attempt_id;
  std::vector<std::string> loaded;
  std::vector<Failure> failures;
};

// The connection to one agent. Implemented by rpc/. Any thread; nothing blocks; after the connection's end all is
// dropped.
class AgentLink {
 public:
  virtual ~AgentLink() = default;
  virtual void welcome(const std::string& node_id, const std::vector<FilePosition>& positions) = 0;
  virtual void start(const StartOrder& order) = 0;
  // keep: end the work early and keep the result, rather than save it for later.
  virtual void stop(const std::string& attempt_id, int32_t grace_seconds, bool keep) = 0;
  // All ranks of the attempt's gang are prepared; they meet at rank 0's HOST:PORT.
  virtual void meet(const std::string& attempt_id, const std::string& meeting) = 0;
  virtual void set_adapters(const std::string& attempt_id, const std::vector<AdapterOrder>& adapters) = 0;
  virtual void acknowledge(const FilePosition& position) = 0;
  virtual void release(const std::string& attempt_id) = 0;
  // Ends the connection: another of the same node has taken its place, or the node was removed.
  virtual void close(const std::string& reason) = 0;
};

}  // namespace slipway::service
