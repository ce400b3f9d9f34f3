// Templates: JSON in which ${a.b.c} stands for a value. A string that is nothing but one reference becomes that value
// with its type; a reference inside other text becomes text. A mapping entry or list item that becomes null is left
// out, and so is a mapping whose `$when` becomes false. A mapping with `$case` becomes its entry of that name (for
// null, that is "null"), else that of `$else`, else null. A field of null is null. Used by parsing (which names are
// referred to) and planning.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "workflows/workflow.h"

namespace slipway::workflows {

// The dotted paths that `value` refers to. INVALID_ARGUMENT for a ${ without its }.
absl::StatusOr<std::vector<std::string>> references_of(const Json& value);

// `scope`: an object; a path walks down its keys. NOT_FOUND names a path that is not there.
absl::StatusOr<Json> fill_in(const Json& value, const Json& scope);

}  // namespace slipway::workflows
