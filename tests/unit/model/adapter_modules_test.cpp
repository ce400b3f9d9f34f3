#include "agents/engine/model/adapter_modules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backend/base/error.h"

namespace slipway::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<std::string> kLlamas = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};

Architecture of_family(const char* family) {
  nlohmann::json config = {{"model_type", family},     {"vocab_size", 40},
                           {"hidden_size", 16},        {"intermediate_size", 24},
                           {"num_hidden_layers", 2},   {"num_attention_heads", 4},
                           {"num_key_value_heads", 2}, {"max_position_embeddings", 64}};
  if (config["model_type"] == "gpt2") {
    config.update({{"n_embd", 16}, {"n_layer", 2}, {"n_head", 4}, {"n_positions", 64}});
  }
  return architecture_from_config(config, "config.json");
}

std::string refusal(const char* family, const std::vector<std::string>& names) {
  try {
    adapter_targets(of_family(family), names);
    return "";
  } catch (const base::Error& error) {
    return error.code() + " " + error.what() + " -> " + error.advice();
  }
}

TEST(AdapterModules, AreThoseOfTheFamilysFiles) {
  const auto modules = adapter_modules(of_family("phi3"));
  ASSERT_EQ(modules.size(), 8U);
  EXPECT_EQ(modules[4].name, "model.layers.1.self_attn.qkv_proj");
  EXPECT_EQ(modules[4].inner, "self_attn.qkv_proj");
  EXPECT_EQ(modules[4].layer, 1);
  EXPECT_EQ(modules[4].in_features, 16);
  EXPECT_EQ(modules[4].out_features, 16 + 2 * 8);
  EXPECT_THAT(modules[4].weights, ElementsAre("model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.k_proj",
                                              "model.layers.1.self_attn.v_proj"));
  EXPECT_FALSE(modules[4].transposed);
  EXPECT_TRUE(adapter_modules(of_family("gpt2"))[0].transposed);
}

TEST(AdapterModules, AreTargetsByTheEndsOfTheirNames) {
  EXPECT_TRUE(is_target("c_proj", "transformer.h.0.attn.c_proj"));
  EXPECT_TRUE(is_target("attn.c_proj", "transformer.h.0.attn.c_proj"));
  EXPECT_TRUE(is_target("transformer.h.0.attn.c_proj", "transformer.h.0.attn.c_proj"));
  EXPECT_FALSE(is_target("proj", "transformer.h.0.attn.c_proj"));
}

TEST(AdapterModules, LlamasNamesBecomeTheFiles) {
  EXPECT_EQ(adapter_targets(of_family("llama"), kLlamas), kLlamas);
  EXPECT_THAT(adapter_targets(of_family("llama"), {"v_proj", "q_proj", "q_proj"}), ElementsAre("q_proj", "v_proj"));
  EXPECT_THAT(adapter_targets(of_family("phi3"), kLlamas),
              ElementsAre("qkv_proj", "o_proj", "gate_up_proj", "down_proj"));
  EXPECT_THAT(adapter_targets(of_family("gpt2"), kLlamas), ElementsAre("c_attn", "c_proj", "c_fc"));
}

TEST(AdapterModules, AreNamedSoThatNoOtherIsMeant) {
  EXPECT_THAT(adapter_targets(of_family("gpt2"), {"c_proj"}), ElementsAre("c_proj"));
  EXPECT_THAT(adapter_targets(of_family("gpt2"), {"o_proj"}), ElementsAre("attn.c_proj"));
  EXPECT_THAT(adapter_targets(of_family("gpt2"), {"down_proj", "c_attn"}), ElementsAre("c_attn", "mlp.c_proj"));
}

TEST(AdapterModules, RefuseWhatTheFamilyDoesNotHave) {
  EXPECT_THAT(refusal("phi3", {"q_proj"}), HasSubstr("phi3 models have q_proj, k_proj, v_proj as one layer, qkv_proj"));
  EXPECT_THAT(refusal("llama", {"c_attn"}),
              HasSubstr("llama models have no layer c_attn -> use some of q_proj, k_proj, v_proj, o_proj"));
  EXPECT_THAT(refusal("gpt2", {"gate_proj"}), HasSubstr("gpt2 models have none of gate_proj -> use some of c_attn, "));
  EXPECT_THAT(refusal("gpt2", {"gate_proj"}), HasSubstr("attn.c_proj, c_fc, mlp.c_proj"));
}

}  // namespace
}  // namespace slipway::model
