// GGUF metadata -> Architecture. Called by load_architecture.
#pragma once

#include <filesystem>
#include <string>

#include "agents/engine/model/architecture.h"

namespace slipway::model {

// Throws base::Error as load_architecture does.
Architecture architecture_from_gguf(const std::filesystem::path& path);

// Throws base::Error INVALID_MODEL when a size is out of range or two do not go together.
void check_architecture(const Architecture& architecture, const std::string& origin);

}  // namespace slipway::model
