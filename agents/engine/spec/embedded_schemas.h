// The texts of the *.schema.json files, as CMake embedded them. Read by schema_of alone.
#pragma once

#include <string_view>
#include <vector>

namespace slipway::spec {

struct EmbeddedSchema {
  std::string_view kind;
  std::string_view text;
};

const std::vector<EmbeddedSchema>& embedded_schemas();

}  // namespace slipway::spec
