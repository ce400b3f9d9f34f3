// The rotary embedding's part of config.json, both ways. Used by the families.
#pragma once

#include <nlohmann/json.hpp>

#include "agents/engine/model/architecture.h"
#include "agents/engine/model/config_reader.h"

namespace slipway::model {

// Fills rope, local_rope and rotary_dim from rope_theta and rope_scaling (transformers 4) or rope_parameters
// (transformers 5). Wants head_dim and max_position_embeddings to be known; lowers the latter where a scaling rule
// changes beyond a position (longrope, dynamic): only what one table of angles can serve is offered.
void read_rope(const ConfigReader& reader, Architecture& architecture);

// One rule, as it stands in rope_parameters or rope_scaling. `theta` and `partial`: what holds when it does not say.
Rope read_rope_rule(const ConfigReader& rule, Architecture& architecture, double theta, double partial);

// rope_theta and rope_scaling.
void write_rope(const Architecture& architecture, nlohmann::ordered_json& config);

// Throws base::Error INVALID_MODEL when a number is out of range.
void check_rope(const Rope& rope, int64_t rotary_dim, const std::string& origin);

}  // namespace slipway::model
