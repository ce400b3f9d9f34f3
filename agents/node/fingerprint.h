// What this machine is: read once at start, told to the backend in Hello.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "agents/node/nvml.h"
#include "slipway/v1/agent.pb.h"

namespace slipway::node {

// `name`: empty for the host's name. `data`: the folder whose disk counts.
v1::NodeFacts read_facts(const std::string& name, const std::filesystem::path& data, const Nvml& nvml,
                         const std::string& agent_version);

// Instruction sets that kernels choose by, as this CPU and its kernel offer them: avx2, fma, avx512f, …
std::vector<std::string> read_cpu_features();

// PRETTY_NAME of an os-release file's text, without quotes; empty when it has none.
std::string os_name_from(const std::string& os_release);

}  // namespace slipway::node
