#include "agents/engine/model/adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "agents/engine/model/weights.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {
namespace {

using testing::HasSubstr;

Adapter small_adapter() {
  Adapter adapter;
  adapter.config.r = 2;
  adapter.config.lora_alpha = 4;
  adapter.config.target_modules = {"q_proj"};
  adapter.config.base_model_name_or_path = "base";
  adapter.tensors.push_back({"model.layers.0.self_attn.q_proj", 2, 3, 4, {1, 2, 3, 4, 5, 6}, {1, 2, 3, 4, 5, 6, 7, 8}});
  return adapter;
}

std::string failure(const std::filesystem::path& folder) {
  try {
    load_adapter(folder);
    return "";
  } catch (const base::Error& error) {
    return error.code() + " " + error.what();
  }
}

TEST(Adapter, ReadsBackWhatItWrote) {
  const base::TemporaryFolder folder;
  save_adapter(folder.path() / "adapter", small_adapter());
  const Adapter adapter = load_adapter(folder.path() / "adapter");
  EXPECT_EQ(adapter.scaling(adapter.tensors[0]), 2);
  EXPECT_EQ(adapter.config.base_model_name_or_path, "base");
  ASSERT_EQ(adapter.tensors.size(), 1U);
  EXPECT_EQ(adapter.tensors[0].module, "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(adapter.tensors[0].out_features, 4);
  EXPECT_EQ(adapter.tensors[0].b, small_adapter().tensors[0].b);
}

TEST(Adapter, RefusesWhatItCannotApply) {
  const base::TemporaryFolder folder;
  save_adapter(folder.path(), small_adapter());
  const auto config_file = folder.path() / "adapter_config.json";
  const auto good = nlohmann::json::parse(base::read_file(config_file));
  const auto with = [&](const char* key, const nlohmann::json& value) {
    auto config = good;
    config[key] = value;
    std::ofstream(config_file) << config;
    return failure(folder.path());
  };
  EXPECT_EQ(with("r", 2), "");
  EXPECT_THAT(with("peft_type", "PROMPT_TUNING"), HasSubstr("UNSUPPORTED"));
  EXPECT_THAT(with("use_dora", true), HasSubstr("use_dora is set"));  // unless the caller takes it
  EXPECT_THAT(with("modules_to_save", {"lm_head"}), HasSubstr("modules_to_save is set"));
  EXPECT_THAT(with("bias", "all"), HasSubstr("bias is set"));
  EXPECT_THAT(with("r", 0), HasSubstr("INVALID_MODEL"));
  EXPECT_THAT(with("r", 4), HasSubstr("has rank 2, r is 4"));
  EXPECT_THAT(with("lora_alpha", "high"), HasSubstr("lora_alpha"));
  std::ofstream(config_file) << "not json";
  EXPECT_THAT(failure(folder.path()), HasSubstr("adapter_config.json"));
}

TEST(Adapter, RefusesTensorsThatDoNotPair) {
  const base::TemporaryFolder folder;
  save_adapter(folder.path(), small_adapter());
  const std::vector<float> values(8);
  const auto with = [&](const std::string& name, std::vector<int64_t> shape) {
    const auto bytes = std::as_bytes(std::span(values));
    write_safetensors(folder.path() / "adapter_model.safetensors", {{name, DType::kF32, std::move(shape), bytes}});
    return failure(folder.path());
  };
  EXPECT_THAT(with("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", {2, 4}), HasSubstr("only one of"));
  EXPECT_THAT(with("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", {8}), HasSubstr("no matrix"));
  EXPECT_THAT(with("something.else", {8}), HasSubstr("UNSUPPORTED"));
  std::filesystem::remove(folder.path() / "adapter_model.safetensors");
  EXPECT_THAT(failure(folder.path()), HasSubstr("adapter_model.safetensors"));
  EXPECT_THAT(failure(folder.path() / "nowhere"), HasSubstr("NOT_FOUND"));
}

}  // namespace
}  // namespace slipway::model
