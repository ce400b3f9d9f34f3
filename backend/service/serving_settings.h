// Serving settings as people give them, and as slipway-serve's spec has them. Called by
// Deployments and the conductor. Any thread.
#pragma once

#include <vector>

#include "backend/base/status.h"
#include "backend/domain/serving_settings.h"
#include "workflows/workflow.h"

namespace slipway::service {

// What is wrong with the settings, by field; an empty type is "auto". Empty when they are good.
std::vector<base::FieldViolation> check_serving(domain::ServingSettings& settings);

// Puts them into a spec of slipway-serve that names its model.
void add_to_spec(const domain::ServingSettings& settings, workflows::Json& spec);

}  // namespace slipway::service
