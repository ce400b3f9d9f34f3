// Checks a spec against its JSON Schema before anything else happens. Used by every engine, and by the agent's tests.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::spec {

struct Violation {
  std::string path;     // JSON path: training.learning_rate, data.train[0].format
  std::string message;  // what is wrong, and what was expected
  std::string nearest;  // for an unknown field or value: the nearest valid name; else empty
};

// Checks `value` against the subset of JSON Schema (2020-12) that our specs use: type, properties, required,
// additionalProperties, items, enum, const, minimum, maximum, exclusiveMinimum, exclusiveMaximum, minItems, minLength,
// additionalProperties as a schema, local $ref, and oneOf whose alternative is chosen by the `const` of the property
// that `discriminator` names. Returns all violations at once, and fills in `default`s where there are none.
std::vector<Violation> check_against_schema(const nlohmann::json& schema, nlohmann::json& value);

// The schema that the build embedded from agents/engine/spec/<kind>.schema.json; kind: prep, train, eval, serve.
const nlohmann::json& schema_of(std::string_view kind);

// Parses `text` as the spec of an engine, checks it and fills in the defaults. Throws base::Error INVALID_SPEC that
// lists every violation, one per line.
nlohmann::json parse_spec(std::string_view kind, std::string_view text);

// The candidate with the least edit distance to `name`, or empty when none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace slipway::spec
