// The migrations that the build embedded from migrations/*.sql, by number. Used by Database alone.
#pragma once

#include <vector>

namespace slipway::store {

struct Migration {
  int number;
  const char* name;
  const char* sql;
};

const std::vector<Migration>& migrations();

}  // namespace slipway::store
