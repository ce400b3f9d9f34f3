#include "backend/service/agent_link.h"

#include <nlohmann/json.hpp>

namespace slipway::service {

using nlohmann::json;

std::string to_json(const NodeFacts& facts) {
  json devices = json::array();
  for (const DeviceFacts& device : facts.devices) {
    devices.push_back(
        {{"id", device.id}, {"kind", device.kind}, {"name", device.name}, {"memory_bytes", device.memory_bytes}});
  }
  return json{{"name", facts.name},
              {"cpu_model", facts.cpu_model},
              {"cpu_cores", facts.cpu_cores},
              {"memory_bytes", facts.memory_bytes},
              {"disk_bytes", facts.disk_bytes},
              {"os", facts.os},
              {"cpu_features", facts.cpu_features},
              {"devices", devices},
              {"agent_version", facts.agent_version}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

NodeFacts node_facts_from_json(const std::string& text) {
  const json value = json::parse(text);
  NodeFacts facts;
  facts.name = value.value("name", "");
  facts.cpu_model = value.value("cpu_model", "");
  facts.cpu_cores = value.value("cpu_cores", 0);
  facts.memory_bytes = value.value("memory_bytes", int64_t{0});
  facts.disk_bytes = value.value("disk_bytes", int64_t{0});
  facts.os = value.value("os", "");
  facts.cpu_features = value.value("cpu_features", std::vector<std::string>());
  facts.agent_version = value.value("agent_version", "");
  for (const json& device : value.value("devices", json::array())) {
    facts.devices.push_back({device.value("id", ""), device.value("kind", ""), device.value("name", ""),
                             device.value("memory_bytes", int64_t{0})});
  }
  return facts;
}

std::string to_json(const NodeSample& sample) {
  json gpus = json::array();
  for (const GpuSample& gpu : sample.gpus) {
    gpus.push_back({gpu.device_id, gpu.utilization, gpu.memory_used_bytes, gpu.memory_total_bytes, gpu.power_watts,
                    gpu.temperature_celsius});
  }
  return json{{"cpu", sample.cpu_utilization},
              {"memory", {sample.memory_used_bytes, sample.memory_total_bytes}},
              {"disk", {sample.disk_used_bytes, sample.disk_total_bytes}},
              {"disk_rate", {sample.disk_read_bytes_per_second, sample.disk_write_bytes_per_second}},
              {"gpus", gpus}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

NodeSample node_sample_from_json(const std::string& text, int64_t time_ms) {
  const json value = json::parse(text);
  // NaN was written as null.
  const auto number = [](const json& item) { return item.is_number() ? item.get<double>() : 0.0; };
  NodeSample sample;
  sample.time_ms = time_ms;
  sample.cpu_utilization = number(value.at("cpu"));
  sample.memory_used_bytes = value.at("memory").at(0);
  sample.memory_total_bytes = value.at("memory").at(1);
  sample.disk_used_bytes = value.at("disk").at(0);
  sample.disk_total_bytes = value.at("disk").at(1);
  sample.disk_read_bytes_per_second = number(value.at("disk_rate").at(0));
  sample.disk_write_bytes_per_second = number(value.at("disk_rate").at(1));
  for (const json& gpu : value.at("gpus")) {
    sample.gpus.push_back({gpu.at(0), number(gpu.at(1)), gpu.at(2), gpu.at(3), number(gpu.at(4)), number(gpu.at(5))});
  }
  return sample;
}

}  // namespace slipway::service
