#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>

#include "agents/engine/model/adapter.h"
#include "agents/engine/model/architecture.h"
#include "agents/engine/model/container.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/model/prompt_adapter.h"
#include "agents/engine/model/safetensors.h"
#include "backend/base/status.h"
#include "tests/unit/service_registry/registry_fixture.h"

namespace slipway::service {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

constexpr char kTinyConfig[] = R"("],"hidden_size":8,
      "intermediate_size":16,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":3,
      "max_position_embeddings":32,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":true})";
constexpr char kTinyTokenizer[] = R"({"version":"1.0","added_tokens":[],"normalizer":null,
      "pre_tokenizer":{"type":"WhitespaceSplit"},"post_processor":null,"decoder":null,
      "model":{"type":"BPE","vocab":{"a":0,"b":1,"c":2},"merges":[]}})";

class ModelTest : public RegistryFixture {
 protected:
  // A LoRA of one layer; `width` is the hidden size it says it fits.
  std::string put_adapter(int64_t width, const std::string& base_name, std::vector<float> score = {}) {
    model::Adapter adapter;
    adapter.config.r = 2;
    adapter.config.lora_alpha = 4;
    adapter.config.target_modules = {"q_proj"};
    adapter.config.base_model_name_or_path = base_name;
    model::AdapterTensor tensor;
    tensor.module = "model.layers.0.self_attn.q_proj";
    tensor.rank = 2;
    tensor.in_features = width;
    tensor.out_features = width;
    tensor.a.assign(static_cast<size_t>(2 * width), 0.5F);
    tensor.b.assign(static_cast<size_t>(2 * width), 0.25F);
    adapter.tensors = {tensor};
    adapter.score = std::move(score);
    const base::TemporaryFolder folder;
    model::save_adapter(folder.path(), adapter);
    return put_folder(folder.path());
  }
  std::string put_prompt(int64_t width, const std::string& base_name, int64_t tasks = 0) {
    model::PromptAdapter adapter;
    adapter.virtual_tokens = 3;
    adapter.width = width;
    adapter.embeddings.assign(static_cast<size_t>(3 * width), 0.5F);
    adapter.tasks = tasks;
    adapter.ranks = tasks > 0 ? 1 : 0;
    adapter.task_columns.assign(static_cast<size_t>(tasks * 3), 1.0F);
    adapter.task_rows.assign(static_cast<size_t>(tasks * width), 1.0F);
    adapter.base_model_name_or_path = base_name;
    const base::TemporaryFolder folder;
    model::save_prompt_adapter(folder.path(), adapter);
    return put_folder(folder.path());
  }
  // A whole model of one layer, of width 8; with a score head of `labels` where there are any.
  std::string put_tiny(int64_t labels) {
    const base::TemporaryFolder folder;
    const std::string kind = labels > 0 ? "LlamaForSequenceClassification" : "LlamaForCausalLM";
    base::write_file_atomically(folder.path() / "config.json",
                                R"({"model_type":"llama","architectures":[")" + kind + kTinyConfig);
    base::write_file_atomically(folder.path() / "tokenizer.json", kTinyTokenizer);
    const model::Architecture architecture = model::load_architecture(folder.path());
    const std::vector<float> zeros(1024);
    std::vector<model::TensorView> views;
    for (const model::DecoderTensor& tensor : model::decoder_tensors(architecture)) {
      int64_t elements = 1;
      for (const int64_t size : tensor.shape) elements *= size;
      views.push_back({tensor.name(), model::DType::kF32, tensor.shape,
                       std::as_bytes(std::span(zeros).first(static_cast<size_t>(elements)))});
    }
    if (labels > 0) {
      views.push_back({"score.weight",
                       model::DType::kF32,
                       {labels, 8},
                       std::as_bytes(std::span(zeros).first(static_cast<size_t>(labels * 8)))});
    }
    model::write_safetensors(folder.path() / "model.safetensors", views);
    return put_folder(folder.path());
  }
  std::string put_folder(const std::filesystem::path& folder) {
    std::vector<std::pair<std::string, std::string>> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      files.emplace_back(entry.path().filename().string(), base::read_file(entry.path()));
    }
    return put(files);
  }
  int64_t count_models() { return models_.list({})->total; }
};

TEST_F(ModelTest, AQuantisedFileIsReadWithItsFactsAndItsHashes) {
  model::ContainerContent content;
  content.weights = "int4";
  content.method = "gptq";
  content.files["config.json"] =
      std::string(R"({"model_type":"llama","architectures":["LlamaForCausalLM)") + kTinyConfig;
  content.files["tokenizer.json"] = kTinyTokenizer;
  const base::TemporaryFolder folder;
  base::write_file_atomically(folder.path() / "config.json", content.files["config.json"]);
  const model::Architecture architecture = model::load_architecture(folder.path());
  const std::vector<std::byte> weights(1024, std::byte{1});
  for (const model::DecoderTensor& tensor : model::decoder_tensors(architecture)) {
    content.tensors[tensor.name()] = {tensor.shape.size() == 1 ? "f32" : "int4", tensor.shape, weights};
  }
  const auto path = folder.path() / "m.slipway";
  model::write_container(path, content);
  std::string bytes = base::read_file(path);
  const auto version = models_.import("packed", put({{"m.slipway", bytes}}), "");
  ASSERT_TRUE(version.ok()) << version.status();
  EXPECT_EQ(version->format, "slipway int4 gptq");
  EXPECT_EQ(version->family, "llama");
  EXPECT_EQ(version->path, "m.slipway");
  EXPECT_EQ(version->context_length, 32);
  EXPECT_FALSE(version->adapter);

  bytes[bytes.size() - 600] ^= 1;  // in the last tensor
  const auto damaged = models_.import("damaged", put({{"m.slipway", bytes}}), "");
  EXPECT_EQ(damaged.status().code(), StatusCode::kInvalidArgument);
  content.tensors.erase(content.tensors.begin());
  model::write_container(path, content);
  const auto incomplete = models_.import("incomplete", put({{"m.slipway", base::read_file(path)}}), "");
  EXPECT_EQ(incomplete.status().code(), StatusCode::kInvalidArgument);
}

TEST_F(ModelTest, RewardModelsAndPromptAdaptersAreReadForWhatTheyAre) {
  const auto plain = models_.import("tiny", put_tiny(0), "");
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_FALSE(plain->reward);

  const auto reward = models_.import("judge", put_tiny(1), "");
  ASSERT_TRUE(reward.ok()) << reward.status();
  EXPECT_TRUE(reward->reward);
  EXPECT_FALSE(reward->adapter);
  EXPECT_EQ(reward->parameter_count, plain->parameter_count + 8);
  EXPECT_TRUE(models_.get_version("judge")->reward) << "the store keeps it";
  const auto classes = models_.import("classes", put_tiny(3), "");
  EXPECT_EQ(base::detail_of(classes.status()).reason, "UNSUPPORTED");

  const auto scores = models_.import("judge-adapter", put_adapter(8, "tiny", std::vector<float>(8, 0.5F)), "");
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_TRUE(scores->reward && scores->adapter);
  EXPECT_EQ(scores->base_version_id, plain->id);
  EXPECT_EQ(scores->parameter_count, 4 * 8 + 8);

  const auto prompt = models_.import("prompt", put_prompt(8, "tiny"), "");
  ASSERT_TRUE(prompt.ok()) << prompt.status();
  EXPECT_EQ(prompt->format, "peft prompt tokens=3");
  EXPECT_EQ(prompt->parameter_count, 3 * 8);
  EXPECT_EQ(prompt->base_version_id, plain->id);
  const auto several = models_.import("prompts", put_prompt(8, "tiny", 2), "");
  ASSERT_TRUE(several.ok()) << several.status();
  EXPECT_EQ(several->format, "peft prompt tokens=3 tasks=2");
  EXPECT_EQ(base::detail_of(models_.import("wide", put_prompt(16, "tiny"), "").status()).reason,
            "ADAPTER_DOES_NOT_FIT");
}

TEST_F(ModelTest, ARealModelIsReadRegisteredAndDeletedWithItsBytes) {
  const store::ModelVersion version = import_smollm2();
  EXPECT_EQ(version.label(), "SmolLM2-135M-Instruct@1");
  EXPECT_EQ(version.family, "llama");
  EXPECT_EQ(version.parameter_count, 134'515'008);
  EXPECT_EQ(version.context_length, 8192);
  EXPECT_EQ(version.format, "gguf Q4_1");
  EXPECT_EQ(version.path, "model.gguf");
  EXPECT_TRUE(version.has_chat_template);

  // The same files again are the same version; names resolve with and without a version, in any case.
  const auto again = models_.import("smollm2-135m-instruct", version.artifact_id, "");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->id, version.id);
  for (const std::string& reference :
       {version.id, std::string("SmolLM2-135M-Instruct"), std::string("SmolLM2-135M-Instruct@1")}) {
    EXPECT_EQ(models_.get_version(reference)->id, version.id) << reference;
  }
  EXPECT_EQ(models_.get_version("SmolLM2-135M-Instruct@2").status().code(), StatusCode::kNotFound);

  // An adapter finds its base by name, and keeps it from being deleted.
  EXPECT_EQ(base::detail_of(models_.import("tuned", put_adapter(576, "acme/unknown"), "").status()).reason,
            "BASE_MODEL_MISSING");
  EXPECT_EQ(
      base::detail_of(models_.import("tuned", put_adapter(64, "HuggingFaceTB/SmolLM2-135M-Instruct"), "").status())
          .reason,
      "ADAPTER_DOES_NOT_FIT");
  const auto adapter = models_.import("tuned", put_adapter(576, "HuggingFaceTB/SmolLM2-135M-Instruct"), "");
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_TRUE(adapter->adapter);
  EXPECT_EQ(adapter->base_version_id, version.id);
  EXPECT_EQ(adapter->format, "peft lora r=2");
  EXPECT_EQ(adapter->parameter_count, 4 * 576);
  const absl::Status in_use = models_.remove("SmolLM2-135M-Instruct");
  EXPECT_EQ(base::detail_of(in_use).reason, "MODEL_IN_USE");
  EXPECT_THAT(std::string(in_use.message()), HasSubstr("tuned@1"));

  const auto lineage = models_.lineage("tuned");
  ASSERT_TRUE(lineage.ok());
  EXPECT_EQ(lineage->nodes.size(), 2U);
  ASSERT_EQ(lineage->edges.size(), 1U);
  EXPECT_EQ(lineage->edges[0], (store::LineageEdge{version.id, adapter->id, "base"}));

  EXPECT_EQ(models_.list({0, "", "kind:adapter"})->total, 1);
  EXPECT_EQ(models_.list({0, "", "smol kind:base"})->total, 1);
  EXPECT_EQ(models_.list({0, "", "colour:red"}).status().code(), StatusCode::kInvalidArgument);

  ASSERT_TRUE(models_.remove("tuned").ok());
  ASSERT_TRUE(models_.remove("SmolLM2-135M-Instruct").ok());
  EXPECT_EQ(count_models(), 0);
  EXPECT_EQ(store_.get(version.artifact_id).status().code(), StatusCode::kNotFound);
}

TEST_F(ModelTest, PromptsOfPromptTuningAreAdaptersToo) {
  import_smollm2();
  const auto adapter = models_.import("prompt", put_prompt(576, "HuggingFaceTB/SmolLM2-135M-Instruct"), "");
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  EXPECT_TRUE(adapter->adapter);
  EXPECT_EQ(adapter->format, "peft prompt tokens=3");
  EXPECT_EQ(adapter->parameter_count, 3 * 576);
  const auto narrow = models_.import("narrow", put_prompt(575, "HuggingFaceTB/SmolLM2-135M-Instruct"), "");
  EXPECT_EQ(base::detail_of(narrow.status()).reason, "ADAPTER_DOES_NOT_FIT");
}

TEST_F(ModelTest, BrokenFilesAreRefusedAndNothingIsRegistered) {
  const std::string good = smollm2();
  const std::string truncated = good.substr(0, good.size() / 20);
  const std::string wrong_magic = "GGUX" + good.substr(4, 1 << 20);
  std::string absurd = good.substr(0, 1 << 20);
  absurd.replace(8, 8, "\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
  for (const auto& [name, files] :
       std::vector<std::pair<std::string, std::vector<std::pair<std::string, std::string>>>>{
           {"truncated", {{"m.gguf", truncated}}},
           {"wrong magic", {{"m.gguf", wrong_magic}}},
           {"absurd sizes", {{"m.gguf", absurd}}},
           {"empty", {{"m.gguf", ""}}},
           {"no json", {{"config.json", "{"}}},
           {"no weights", {{"config.json", R"({"model_type":"llama"})"}}},
           {"unknown family", {{"config.json", R"({"model_type":"mystery"})"}}},
           {"bad adapter", {{"adapter_config.json", R"({"peft_type":"LORA"})"}}},
           {"two models", {{"a.gguf", "x"}, {"b.gguf", "y"}}},
           {"no model", {{"readme.txt", "hello"}}}}) {
    const auto version = models_.import("broken", put(files), "");
    EXPECT_EQ(version.status().code(), StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(base::detail_of(version.status()).field, "artifact_id") << name;
    EXPECT_FALSE(base::detail_of(version.status()).advice.empty()) << name;
    EXPECT_THAT(std::string(version.status().message()), testing::Not(HasSubstr(folder_.path().string()))) << name;
  }
  EXPECT_EQ(count_models(), 0);
}

TEST_F(ModelTest, NamesAreChecked) {
  for (const std::string& name :
       {std::string(), std::string("a b"), std::string("a/b"), std::string("a@1"), std::string(101, 'a')}) {
    EXPECT_EQ(base::detail_of(models_.import(name, "x", "").status()).field, "name") << name;
  }
  EXPECT_EQ(models_.import("fine", std::string(64, 'a'), "").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(models_.import("fine", "", "").status().code(), StatusCode::kInvalidArgument);
}

TEST_F(ModelTest, ARunsAdapterIsRegisteredInItsTransactionOrNotAtAll) {
  const store::ModelVersion base_version = import_smollm2();
  NewModelVersion made;
  made.model_name = "perl-faq";
  made.artifact_id = put_adapter(576, "work/model.gguf");
  made.base_version_id = base_version.id;
  made.run_id = "run-1";
  made.metrics = {{"held_out_perplexity", 7.5}};
  absl::StatusOr<std::string> id = absl::UnknownError("");
  const absl::Status undone = database_->write([&](store::Transaction& transaction) {
    id = registry_.register_version(transaction, made);
    return absl::AbortedError("something after it failed");
  });
  EXPECT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(models_.get("perl-faq").status().code(), StatusCode::kNotFound);
  ASSERT_TRUE(database_
                  ->write([&](store::Transaction& transaction) {
                    id = registry_.register_version(transaction, made);
                    return id.status();
                  })
                  .ok());
  const auto version = models_.get_version(*id);
  ASSERT_TRUE(version.ok());
  EXPECT_EQ(version->context_length, 8192);
  EXPECT_EQ(version->metrics.at("held_out_perplexity"), 7.5);
  const auto facts = database_->read(
      [&](store::Connection& connection) { return registry_.find_model_version(connection, "perl-faq"); });
  EXPECT_TRUE(facts->adapter);
  EXPECT_EQ(facts->base_version_id, base_version.id);
}

}  // namespace
}  // namespace slipway::service
