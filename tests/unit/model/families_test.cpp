// Every family's config.json becomes the decoder it describes, and its tensors lie where the family's files have them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "agents/engine/model/architecture.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/model/gguf_export.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

json sizes(const char* family) {
  return {{"model_type", family},     {"vocab_size", 40},
          {"hidden_size", 16},        {"intermediate_size", 24},
          {"num_hidden_layers", 4},   {"num_attention_heads", 4},
          {"num_key_value_heads", 2}, {"max_position_embeddings", 64}};
}

json gpt2_sizes() {
  return {{"model_type", "gpt2"}, {"vocab_size", 40}, {"n_embd", 16},
          {"n_layer", 2},         {"n_head", 4},      {"n_positions", 32}};
}

Architecture read(const json& config) { return architecture_from_config(config, "config.json"); }

TEST(Families, Qwen2HasBiasesOnQueriesKeysAndValuesOnly) {
  const auto architecture = read(sizes("qwen2"));
  EXPECT_TRUE(architecture.attention_bias);
  EXPECT_FALSE(architecture.attention_output_bias);
  EXPECT_EQ(architecture.sliding_window, 0);
  json config = sizes("qwen2");
  config.update({{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 3}});
  EXPECT_THAT(read(config).windowed_layers, ElementsAre(false, false, false, true));
}

TEST(Families, Qwen3NormalizesHeadsOfAWidthOfTheirOwn) {
  const auto architecture = read(sizes("qwen3"));
  EXPECT_TRUE(architecture.query_key_norm);
  EXPECT_EQ(architecture.head_dim, 128);
  EXPECT_EQ(architecture.rotary_dim, 128);
}

TEST(Families, MistralsWindowHoldsForAllLayersUnlessItIsNull) {
  json config = sizes("mistral");
  EXPECT_EQ(read(config).sliding_window, 4096);
  config["sliding_window"] = 5;
  EXPECT_THAT(read(config).windowed_layers, ElementsAre(true, true, true, true));
  config["sliding_window"] = nullptr;
  EXPECT_EQ(read(config).sliding_window, 0);
}

TEST(Families, Gemma3RotatesWindowedLayersByTheirOwnRule) {
  json config = sizes("gemma3_text");
  config.update({{"head_dim", 8},
                 {"query_pre_attn_scalar", 4},
                 {"sliding_window", 16},
                 {"sliding_window_pattern", 3},
                 {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}});
  const auto old_form = read(config);
  EXPECT_THAT(old_form.windowed_layers, ElementsAre(true, true, false, true));
  EXPECT_EQ(old_form.rope.theta, 1e6);
  EXPECT_EQ(old_form.rope.scaling, RopeScaling::kLinear);
  EXPECT_EQ(old_form.rope_of(0).theta, 1e4);
  EXPECT_EQ(old_form.rope_of(0).scaling, RopeScaling::kNone);
  EXPECT_EQ(old_form.attention_scale, 0.5);
  EXPECT_EQ(old_form.embedding_scale, 4);
  EXPECT_TRUE(old_form.tie_word_embeddings);
  config.erase("rope_scaling");
  config["rope_parameters"] = {{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 1e6}}},
                               {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 1e4}}}};
  const auto new_form = read(config);
  EXPECT_EQ(rope_inverse_frequencies(new_form.rope, 8), rope_inverse_frequencies(old_form.rope, 8));
  EXPECT_EQ(rope_inverse_frequencies(new_form.local_rope, 8), rope_inverse_frequencies(old_form.local_rope, 8));
  const json images = {{"model_type", "gemma3"}, {"text_config", config}};
  EXPECT_EQ(read(images).windowed_layers, new_form.windowed_layers);
}

TEST(Families, Phi3OffersTheLengthThatOneTableOfAnglesServes) {
  json config = sizes("phi3");
  config.update({{"max_position_embeddings", 64},
                 {"original_max_position_embeddings", 16},
                 {"rope_scaling", {{"type", "longrope"}, {"short_factor", {1.0, 2.0}}, {"long_factor", {4.0, 8.0}}}}});
  const auto architecture = read(config);
  EXPECT_EQ(architecture.max_position_embeddings, 16);
  EXPECT_NEAR(architecture.rope.attention_factor, std::sqrt(1.5), 1e-12);  // √(1 + ln 4 / ln 16)
  config["rope_scaling"]["short_factor"] = {1.0};
  try {
    read(config);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("rope_scaling.short_factor is not a list of 2 numbers"));
  }
}

TEST(Families, GptNeoxRotatesAPartOfEachHead) {
  json config = sizes("gpt_neox");
  config.update({{"hidden_size", 64}, {"rotary_pct", 0.5}, {"rotary_emb_base", 500}});
  const auto architecture = read(config);
  EXPECT_EQ(architecture.rotary_dim, 8);
  EXPECT_EQ(architecture.rope.theta, 500);
  EXPECT_TRUE(architecture.parallel_residual);
  EXPECT_EQ(architecture.num_key_value_heads, 4);
}

// Distinct numbers for every element of every tensor, small enough to be exact in f32.
std::map<std::string, std::vector<float>> numbered_tensors(const Architecture& architecture) {
  std::map<std::string, std::vector<float>> values;
  float next = 0;
  for (const auto& tensor : decoder_tensors(architecture)) {
    auto& list = values[tensor.name()];
    list.resize(static_cast<size_t>(tensor.shape.size() == 1 ? tensor.shape[0] : tensor.shape[0] * tensor.shape[1]));
    for (float& value : list) value = next++;
  }
  return values;
}

ReadTensor reader_of(const std::map<std::string, std::vector<float>>& values) {
  return [&](const std::string& name, std::span<float> out) {
    std::copy(values.at(name).begin(), values.at(name).end(), out.begin());
  };
}

void expect_tensors(const Weights& weights, const std::map<std::string, std::vector<float>>& values,
                    const std::string& family) {
  ASSERT_EQ(weights.names().size(), values.size()) << family;
  for (const auto& [name, expected] : values) {
    std::vector<float> got(expected.size());
    weights.read_f32(name, got);
    EXPECT_EQ(got, expected) << family << " " << name;
  }
}

std::filesystem::path written_as_gguf(const base::TemporaryFolder& folder, const Architecture& architecture,
                                      const std::map<std::string, std::vector<float>>& values) {
  const auto file = folder.path() / "model.gguf";
  GgufWriter writer;
  put_model(writer, architecture, DType::kF32, reader_of(values));
  writer.write(file);
  return file;
}

constexpr const char* kAllLayouts[] = {"llama",       "mistral", "qwen2", "qwen3",    "gemma2",
                                       "gemma3_text", "phi3",    "gpt2",  "gpt_neox", "starcoder2"};

json config_of(const std::string& family) {
  json config = family == "gpt2" ? gpt2_sizes() : sizes(family.c_str());
  config["rotary_pct"] = 0.5;
  config["head_dim"] = 4;
  if (family.starts_with("gemma")) config["query_pre_attn_scalar"] = 4;
  if (family == "gemma2" || family == "phi3") config["sliding_window"] = 8;
  if (family == "mistral") config["sliding_window"] = nullptr;
  return config;
}

TEST(Families, TensorsWrittenAsAFamilyHasThemAreReadBack) {
  for (const char* family : kAllLayouts) {
    const auto architecture = read(config_of(family));
    const auto values = numbered_tensors(architecture);
    const auto files = file_tensors(architecture, FileLayout::kHuggingFace);
    std::vector<std::vector<float>> kept;
    for (const auto& file : files) kept.push_back(file_values(file, reader_of(values)));
    std::vector<TensorView> views;
    for (size_t i = 0; i < files.size(); ++i)
      views.push_back({files[i].name, DType::kF32, files[i].shape, std::as_bytes(std::span(kept[i]))});
    const base::TemporaryFolder folder;
    write_safetensors(folder.path() / "model.safetensors", views);
    const auto weights = open_decoder_weights(folder.path(), architecture);
    expect_tensors(*weights, values, family);
    for (const auto& [name, expected] : values) {
      const auto view = weights->get(name);
      if (!view.data.empty()) {
        EXPECT_EQ(view.data.size(), expected.size() * sizeof(float)) << family << " " << name;
        EXPECT_EQ(std::memcmp(view.data.data(), expected.data(), view.data.size()), 0) << family << " " << name;
      }
    }
  }
}

// What the oracle tests hold against llama.cpp's own converter when it is read, is written here.
TEST(Families, AModelWrittenAsGgufIsReadBackAsTheSameDecoder) {
  for (const char* family : kAllLayouts) {
    const auto architecture = read(config_of(family));
    const auto values = numbered_tensors(architecture);
    const base::TemporaryFolder folder;
    const auto file = written_as_gguf(folder, architecture, values);
    const auto again = load_architecture(file);
    EXPECT_EQ(again.windowed_layers, architecture.windowed_layers) << family;
    EXPECT_EQ(again.parallel_residual, architecture.parallel_residual) << family;
    EXPECT_EQ(again.activation, architecture.activation) << family;
    EXPECT_DOUBLE_EQ(again.attention_scale, architecture.attention_scale) << family;
    EXPECT_EQ(again.attention_softcap, architecture.attention_softcap) << family;
    EXPECT_EQ(again.logit_softcap, architecture.logit_softcap) << family;
    EXPECT_EQ(again.tie_word_embeddings, architecture.tie_word_embeddings) << family;
    EXPECT_DOUBLE_EQ(again.rms_norm_eps, architecture.rms_norm_eps) << family;
    if (architecture.positions == PositionKind::kRotary) {
      EXPECT_EQ(rope_inverse_frequencies(again), rope_inverse_frequencies(architecture)) << family;
    }
    expect_tensors(*open_decoder_weights(file, again), values, family);
  }
}

TEST(Families, RotaryScalingIsWrittenAsGguf) {
  const json rules[] = {
      {{"rope_type", "linear"}, {"factor", 2.0}},
      {{"rope_type", "llama3"},
       {"factor", 8.0},
       {"low_freq_factor", 1.0},
       {"high_freq_factor", 4.0},
       {"original_max_position_embeddings", 8192}},
      {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 16}},
  };
  for (const json& rule : rules) {
    json config = sizes("llama");
    config["rope_scaling"] = rule;
    const auto architecture = read(config);
    const auto values = numbered_tensors(architecture);
    const base::TemporaryFolder folder;
    const auto file = written_as_gguf(folder, architecture, values);
    const auto got = rope_inverse_frequencies(load_architecture(file));
    const auto expected = rope_inverse_frequencies(architecture);
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-6F * expected[i]) << rule;
  }
}

TEST(Families, WhatGgufHasNoKeyForIsRefused) {
  json config = config_of("gemma2");
  config["hidden_activation"] = "silu";
  const auto wanted = read(config), written = read(config_of("gemma2"));
  EXPECT_NO_THROW(require_same_decoder(written, written));
  try {
    require_same_decoder(wanted, written);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("activation function"));
  }
}

TEST(Families, AScaleOfScoresThatGgufHasNoKeyForGoesIntoTheQueries) {
  for (const char* family : {"gemma2", "gemma3_text"}) {
    json config = config_of(family);
    const double usual = read(config).attention_scale;
    config["query_pre_attn_scalar"] = 1 / (4 * usual * usual);
    const auto architecture = read(config);
    ASSERT_DOUBLE_EQ(architecture.attention_scale, 2 * usual);
    auto values = numbered_tensors(architecture);
    const base::TemporaryFolder folder;
    const auto file = written_as_gguf(folder, architecture, values);
    const auto again = load_architecture(file);
    EXPECT_DOUBLE_EQ(again.attention_scale, usual);
    const char* const scaled = architecture.query_key_norm ? ".q_norm." : ".q_proj.";
    for (auto& [name, list] : values) {
      if (name.find(scaled) == std::string::npos) continue;
      for (float& value : list) value *= 2;
    }
    expect_tensors(*open_decoder_weights(file, again), values, family);
  }
}

TEST(Families, AWindowThatGgufCannotSayCutsTheContext) {
  json config = sizes("mistral");
  config["sliding_window"] = 5;
  const auto architecture = read(config);
  const auto values = numbered_tensors(architecture);
  const base::TemporaryFolder folder;
  const auto file = written_as_gguf(folder, architecture, values);
  EXPECT_EQ(load_architecture(file).max_position_embeddings, 5);
}

TEST(Families, AWrongShapeNamesTensorAndWhatWasExpected) {
  const auto architecture = read(sizes("phi3"));
  const std::vector<float> values(16 * 16);
  const base::TemporaryFolder folder;
  write_safetensors(
      folder.path() / "model.safetensors",
      {{"model.layers.0.self_attn.qkv_proj.weight", DType::kF32, {16, 16}, std::as_bytes(std::span(values))}});
  const auto weights = open_decoder_weights(folder.path(), architecture);
  try {
    weights->get("model.layers.0.self_attn.k_proj.weight");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("tensor model.layers.0.self_attn.qkv_proj.weight is 16 × 16, the "
                                        "configuration says 32 × 16"));
  }
}

}  // namespace
}  // namespace slipway::model
