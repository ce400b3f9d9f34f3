#include "agents/engine/model/architecture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "backend/base/error.h"
#include "backend/base/files.h"
#include "tests/unit/model/gguf_builder.h"

namespace slipway::model {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json good_config() {
  return {{"model_type", "llama"},   {"vocab_size", 100},        {"hidden_size", 32},
          {"intermediate_size", 64}, {"num_hidden_layers", 2},   {"num_attention_heads", 4},
          {"eos_token_id", 2},       {"num_key_value_heads", 2}, {"max_position_embeddings", 64}};
}

std::string failure(const json& config) {
  try {
    architecture_from_config(config, "config.json");
    return "";
  } catch (const base::Error& error) {
    return error.code() + " " + error.what() + " " + error.advice();
  }
}

std::string failure_with(const char* key, const json& value) {
  json config = good_config();
  config[key] = value;
  return failure(config);
}

TEST(Architecture, DefaultsAreThoseOfTransformers) {
  json config = good_config();
  config.erase("num_key_value_heads");
  const auto architecture = architecture_from_config(config, "config.json");
  EXPECT_EQ(architecture.num_key_value_heads, 4);
  EXPECT_EQ(architecture.head_dim, 8);
  EXPECT_EQ(architecture.rms_norm_eps, 1e-6);
  EXPECT_EQ(architecture.rope.theta, 10000.0);
  EXPECT_FALSE(architecture.tie_word_embeddings);
  EXPECT_THAT(architecture.eos_token_ids, testing::ElementsAre(2));
}

TEST(Architecture, AConfigMeansTheSameAfterWritingItAgain) {
  json config = good_config();
  config["eos_token_id"] = {2, 9};
  config["tie_word_embeddings"] = true;
  config["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", 8.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0},
                            {"original_max_position_embeddings", 32}};
  const auto first = architecture_from_config(config, "config.json");
  const auto written = config_from_architecture(first, "bfloat16");
  const auto second = architecture_from_config(json::parse(written.dump()), "config.json");
  EXPECT_EQ(json::parse(config_from_architecture(second, "bfloat16").dump()), json::parse(written.dump()));
  EXPECT_EQ(rope_inverse_frequencies(second), rope_inverse_frequencies(first));
}

TEST(Architecture, NamesTheKeyThatIsMissingOrWrong) {
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
    json config = good_config();
    config.erase(key);
    EXPECT_THAT(failure(config), HasSubstr(std::string("INVALID_MODEL config.json: the key ") + key + " is missing"));
    EXPECT_THAT(failure_with(key, "many"), HasSubstr(key));
    EXPECT_THAT(failure_with(key, -1), HasSubstr("INVALID_MODEL"));
    EXPECT_THAT(failure_with(key, int64_t{1} << 62U), HasSubstr(key));
    EXPECT_THAT(failure_with(key, 1e300), HasSubstr(key));
  }
  EXPECT_THAT(failure_with("num_key_value_heads", 3), HasSubstr("num_key_value_heads"));
  EXPECT_THAT(failure_with("head_dim", 7), HasSubstr("odd"));
  EXPECT_THAT(failure_with("rms_norm_eps", 0), HasSubstr("rms_norm_eps"));
  EXPECT_THAT(failure_with("eos_token_id", "end"), HasSubstr("eos_token_id"));
  EXPECT_THAT(failure(json::array()), HasSubstr("no JSON object"));
}

TEST(Architecture, SaysWhatIsNotSupportedAndWhatIs) {
  EXPECT_THAT(failure_with("model_type", "mamba"),
              HasSubstr("UNSUPPORTED config.json: model_type is 'mamba' known: llama"));
  EXPECT_THAT(failure_with("rope_scaling", {{"rope_type", "spiral"}}), HasSubstr("default, linear"));
  EXPECT_THAT(failure_with("hidden_act", "relu"), HasSubstr("silu"));
  EXPECT_THAT(failure_with("quantization_config", {{"bits", 4}}), HasSubstr("UNSUPPORTED"));
  json mistral = good_config();
  mistral["model_type"] = "mistral";
  EXPECT_EQ(failure(mistral), "");
  mistral["sliding_window"] = -16;
  EXPECT_THAT(failure(mistral), HasSubstr("sliding_window is -16"));
}

TEST(Architecture, MoreEndTokensComeFromTheGenerationConfig) {
  const base::TemporaryFolder folder;
  std::ofstream(folder.path() / "config.json") << good_config();
  std::ofstream(folder.path() / "generation_config.json") << R"({"eos_token_id":[2,7]})";
  EXPECT_THAT(load_architecture(folder.path()).eos_token_ids, testing::ElementsAre(2, 7));
  EXPECT_THROW(load_architecture(folder.path() / "nowhere"), base::Error);
}

TEST(Architecture, AGgufWithAbsurdSizesIsAnInvalidModel) {
  const base::TemporaryFolder folder;
  const auto path = folder.path() / "absurd.gguf";
  const auto write = [&](uint32_t heads, uint32_t width) {
    GgufBuilder builder;
    builder.header(1, 7).string_key("general.architecture", "llama").uint_key("llama.block_count", 2);
    builder.uint_key("llama.embedding_length", width).uint_key("llama.feed_forward_length", 64);
    builder.uint_key("llama.attention.head_count", heads).uint_key("llama.context_length", 128);
    builder.float_key("llama.attention.layer_norm_rms_epsilon", 1e-5F);
    builder.tensor("token_embd.weight", {8, 4}, 0, 0).align().bytes(128);
    std::ofstream(path, std::ios::binary) << builder.data();
  };
  write(4, 32);
  EXPECT_EQ(load_architecture(path).rms_norm_eps, 1e-5);
  for (const auto& [heads, width] : {std::pair{0U, 32U}, {4U, 0U}, {0xffffffffU, 32U}, {4U, 0xffffffffU}}) {
    write(heads, width);
    EXPECT_THROW(load_architecture(path), base::Error);
  }
}

}  // namespace
}  // namespace slipway::model
