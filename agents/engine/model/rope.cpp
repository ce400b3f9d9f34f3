// Formulas: transformers' modeling_rope_utils, computed in f32 as there.
#include "agents/engine/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "backend/base/error.h"

namespace slipway::model {
namespace {

constexpr const char* kKnownRules = "default, linear, dynamic, llama3, yarn, longrope";

// The attention factor of YaRN, section 3.4 of arXiv 2309.00071.
double yarn_mscale(double factor, double mscale) { return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

void read_yarn(const ConfigReader& rule, Rope& rope, const Architecture& architecture) {
  rope.original_max_position = rule.integer("original_max_position_embeddings", architecture.max_position_embeddings);
  const auto original = static_cast<double>(std::max<int64_t>(rope.original_max_position, 1));
  rope.factor = rule.number("factor", static_cast<double>(architecture.max_position_embeddings) / original);
  const auto or_default = [&](const char* key, double otherwise) {
    const double value = rule.number(key, otherwise);
    return value == 0 ? otherwise : value;
  };
  rope.beta_fast = or_default("beta_fast", 32);
  rope.beta_slow = or_default("beta_slow", 1);
  rope.truncate = rule.boolean("truncate", true);
  const double mscale = rule.number("mscale", 0), all_dim = rule.number("mscale_all_dim", 0);
  const double inferred = mscale != 0 && all_dim != 0
                              ? yarn_mscale(rope.factor, mscale) / yarn_mscale(rope.factor, all_dim)
                              : yarn_mscale(rope.factor, 1);
  rope.attention_factor = rule.number("attention_factor", inferred);
}

void read_longrope(const ConfigReader& rule, Rope& rope, Architecture& architecture) {
  rope.original_max_position = rule.integer("original_max_position_embeddings", architecture.max_position_embeddings);
  const auto original = static_cast<double>(std::max<int64_t>(rope.original_max_position, 2));
  rope.factor = rule.number("factor", static_cast<double>(architecture.max_position_embeddings) / original);
  rope.short_factors = rule.numbers("short_factor", static_cast<size_t>(architecture.rotary_dim / 2));
  rope.attention_factor = rule.number(
      "attention_factor", rope.factor <= 1 ? 1.0 : std::sqrt(1 + std::log(rope.factor) / std::log(original)));
  architecture.max_position_embeddings = std::min(architecture.max_position_embeddings, rope.original_max_position);
}

}  // namespace

Rope read_rope_rule(const ConfigReader& rule, Architecture& architecture, double theta, double partial) {
  Rope rope;
  rope.theta = rule.number("rope_theta", theta);
  const double share = rule.number("partial_rotary_factor", partial);
  architecture.rotary_dim = static_cast<int64_t>(static_cast<double>(architecture.head_dim) * share);
  const std::string type = rule.text("rope_type", rule.text("type", "default"));
  if (type == "default" || type == "dynamic") return rope;  // dynamic differs only beyond max_position_embeddings
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    rope.factor = rule.number("factor");
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::kLlama3;
    rope.factor = rule.number("factor");
    rope.low_freq_factor = rule.number("low_freq_factor");
    rope.high_freq_factor = rule.number("high_freq_factor");
    rope.original_max_position = rule.integer("original_max_position_embeddings", architecture.max_position_embeddings);
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    read_yarn(rule, rope, architecture);
  } else if (type == "longrope" || type == "su") {
    rope.scaling = RopeScaling::kLongRope;
    read_longrope(rule, rope, architecture);
  } else {
    fail_unsupported(rule.origin(), "rope_type is '" + type.substr(0, 80) + "'", kKnownRules);
  }
  return rope;
}

void read_rope(const ConfigReader& reader, Architecture& architecture) {
  const double theta = reader.number("rope_theta", 10000.0);
  const double partial = reader.number("partial_rotary_factor", 1.0);
  const char* key = reader.find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
  static const nlohmann::json kEmpty = nlohmann::json::object();
  const auto* object = reader.find(key);
  if (object != nullptr && !object->is_object()) {
    fail_config(reader.origin(), std::string("the key ") + key + " is no object");
  }
  nlohmann::json rule = object == nullptr ? kEmpty : *object;
  // Phi-3 keeps the length it was trained on beside the rule, and that one counts.
  if (const auto* original = reader.find("original_max_position_embeddings")) {
    rule["original_max_position_embeddings"] = *original;
  }
  architecture.rope =
      read_rope_rule(ConfigReader(rule, reader.origin(), std::string(key) + "."), architecture, theta, partial);
  architecture.local_rope = architecture.rope;
}

void write_rope(const Architecture& architecture, nlohmann::ordered_json& config) {
  const Rope& rope = architecture.rope;
  config["rope_theta"] = rope.theta;
  switch (rope.scaling) {
    case RopeScaling::kNone:
      config["rope_scaling"] = nullptr;
      break;
    case RopeScaling::kLinear:
      config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", rope.factor}};
      break;
    case RopeScaling::kLlama3:
      config["rope_scaling"] = {{"rope_type", "llama3"},
                                {"factor", rope.factor},
                                {"low_freq_factor", rope.low_freq_factor},
                                {"high_freq_factor", rope.high_freq_factor},
                                {"original_max_position_embeddings", rope.original_max_position}};
      break;
    case RopeScaling::kYarn:
      config["rope_scaling"] = {{"rope_type", "yarn"},
                                {"factor", rope.factor},
                                {"beta_fast", rope.beta_fast},
                                {"beta_slow", rope.beta_slow},
                                {"attention_factor", rope.attention_factor},
                                {"original_max_position_embeddings", rope.original_max_position}};
      break;
    case RopeScaling::kLongRope:
      throw base::Error(base::kUnsupported,
                        "a GGUF model with longrope scaling cannot be written as a Hugging Face folder",
                        "start from the model's Hugging Face folder");
  }
}

void check_rope(const Rope& rope, int64_t rotary_dim, const std::string& origin) {
  const auto positive = [&](const char* key, double value) {
    if (!(value > 0) || !std::isfinite(value)) fail_config(origin, std::string(key) + " is not above 0");
  };
  positive("rope_theta", rope.theta);
  positive("rope_scaling.attention_factor", rope.attention_factor);
  if (rope.scaling == RopeScaling::kNone) return;
  positive("rope_scaling.factor", rope.factor);
  if (rope.scaling == RopeScaling::kLinear) return;
  if (rope.original_max_position < 1 || rope.original_max_position > (1 << 28)) {
    fail_config(origin, "rope_scaling.original_max_position_embeddings is " +
                            std::to_string(rope.original_max_position) + ", expected 1 to " + std::to_string(1 << 28));
  }
  if (rope.scaling == RopeScaling::kLlama3) {
    positive("rope_scaling.low_freq_factor", rope.low_freq_factor);
    if (!(rope.high_freq_factor > rope.low_freq_factor)) {
      fail_config(origin, "rope_scaling.high_freq_factor is not above low_freq_factor");
    }
  } else if (rope.scaling == RopeScaling::kYarn) {
    positive("rope_scaling.beta_fast", rope.beta_fast);
    positive("rope_scaling.beta_slow", rope.beta_slow);
    if (rope.theta == 1) fail_config(origin, "rope_theta is 1, which yarn cannot scale");
  } else {
    if (rope.short_factors.size() != static_cast<size_t>(rotary_dim / 2)) {
      fail_config(origin, "rope_scaling.short_factor has not one number per frequency");
    }
    for (const double factor : rope.short_factors) positive("rope_scaling.short_factor", factor);
  }
}

std::vector<float> rope_inverse_frequencies(const Rope& rope, int64_t rotary_dim) {
  const auto size = static_cast<float>(rotary_dim);
  std::vector<float> frequencies(static_cast<size_t>(rotary_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = 1.0F / std::pow(static_cast<float>(rope.theta), static_cast<float>(2 * i) / size);
  }
  const auto factor = static_cast<float>(rope.factor);
  switch (rope.scaling) {
    case RopeScaling::kNone:
      break;
    case RopeScaling::kLinear:
      for (float& frequency : frequencies) frequency /= factor;
      break;
    case RopeScaling::kLlama3: {
      const auto low = static_cast<float>(rope.low_freq_factor), high = static_cast<float>(rope.high_freq_factor);
      const auto original = static_cast<float>(rope.original_max_position);
      for (float& frequency : frequencies) {
        const float wavelength = 2.0F * std::numbers::pi_v<float> / frequency;
        if (wavelength > original / low) {
          frequency /= factor;
        } else if (wavelength >= original / high) {
          const float smooth = (original / wavelength - low) / (high - low);
          frequency = (1.0F - smooth) * frequency / factor + smooth * frequency;
        }
      }
      break;
    }
    case RopeScaling::kYarn: {
      // The dimension whose wavelength fits `rotations` times into the original length.
      const auto dimension_of = [&](double rotations) {
        return static_cast<double>(rotary_dim) *
               std::log(static_cast<double>(rope.original_max_position) / (rotations * 2 * std::numbers::pi)) /
               (2 * std::log(rope.theta));
      };
      double low = dimension_of(rope.beta_fast), high = dimension_of(rope.beta_slow);
      if (rope.truncate) low = std::floor(low), high = std::ceil(high);
      low = std::max(low, 0.0);
      high = std::min(high, static_cast<double>(rotary_dim - 1));
      if (low == high) high += 0.001;
      for (size_t i = 0; i < frequencies.size(); ++i) {
        const float ramp =
            std::clamp((static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0F, 1.0F);
        frequencies[i] = frequencies[i] / factor * ramp + frequencies[i] * (1 - ramp);
      }
      break;
    }
    case RopeScaling::kLongRope:
      for (size_t i = 0; i < frequencies.size(); ++i) frequencies[i] /= static_cast<float>(rope.short_factors[i]);
      break;
  }
  return frequencies;
}

std::vector<float> rope_inverse_frequencies(const Architecture& architecture) {
  return rope_inverse_frequencies(architecture.rope, architecture.rotary_dim);
}

}  // namespace slipway::model
