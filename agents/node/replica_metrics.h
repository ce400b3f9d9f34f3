// What of a serving engine's /metrics goes to the backend. Replicas uses it.
#pragma once

#include <string>

#include "slipway/v1/agent.pb.h"

namespace slipway::node {

// From Prometheus' text format: the counters, gauges and histograms that the console shows, summed over their labels.
// Lines that cannot be read, and other names, are left out.
void read_metrics(const std::string& text, v1::ReplicaSample* sample);

}  // namespace slipway::node
