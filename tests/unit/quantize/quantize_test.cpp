#include "agents/engine/quantize/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/model/adapter.h"
#include "agents/engine/model/container.h"
#include "agents/engine/quantize/job.h"
#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"
#include "backend/base/files.h"
#include "tests/unit/runtime/tiny_model.h"

namespace slipway::quantize {
namespace {

using runtime::WeightType;

class QuantizeTest : public testing::Test {
 protected:
  QuantizeTest() {
    runtime::write_tiny_model(folder_.path() / "model");
    std::ofstream(folder_.path() / "model" / "tokenizer.json") << tokenizer_json();
    std::ofstream rows(folder_.path() / "rows.jsonl");
    for (int i = 0; i < 12; ++i) rows << "{\"text\": \"a b c d a c b " << static_cast<char>('a' + i) << " d d a\"}\n";
  }
  // A vocabulary of single letters.
  static std::string tokenizer_json() {
    std::string vocabulary;
    for (int i = 0; i < 131; ++i) {
      const std::string token = i < 26 ? std::string(1, static_cast<char>('a' + i)) : "token" + std::to_string(i);
      vocabulary += (i == 0 ? "\"" : ",\"") + token + "\":" + std::to_string(i);
    }
    return R"({"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"WhitespaceSplit"},)"
           R"("post_processor":null,"decoder":null,"model":{"type":"BPE","vocab":{)" +
           vocabulary + R"(},"merges":[]}})";
  }
  Settings settings(WeightType type) const {
    Settings settings;
    settings.model = folder_.path() / "model";
    settings.output = folder_.path() / "out.slipway";
    settings.type = type;
    settings.threads = 2;
    return settings;
  }
  static std::vector<float> logits(const std::filesystem::path& model, WeightType type,
                                   const std::filesystem::path& adapter = {}) {
    runtime::EngineOptions options;
    options.weight_type = type;
    options.threads = 2;
    runtime::Engine engine(model, options);
    if (!adapter.empty()) engine.load_adapter("adapter", adapter);
    return engine.logits({0, 1, 2, 3, 0, 2, 1, 5}, adapter.empty() ? "" : "adapter", true);
  }

  base::TemporaryFolder folder_;
  std::atomic<bool> stop_{false};
  Report report_;
};

TEST_F(QuantizeTest, TheFileGivesTheSameBitsAsRoundingWhileLoading) {
  const auto prompt = folder_.path() / "prompt";
  runtime::write_tiny_prompt(prompt, 3, 1);
  for (const auto type : {WeightType::kInt8, WeightType::kInt4}) {
    const Settings given = settings(type);
    ASSERT_TRUE(quantize(
        given, [](int64_t, int64_t) {}, stop_, report_));
    EXPECT_EQ(runtime::choose_weight_type("auto", given.output), type);
    EXPECT_THROW(runtime::choose_weight_type("bf16", given.output), base::Error);
    EXPECT_EQ(logits(given.output, type), logits(given.model, type));
    EXPECT_EQ(logits(given.output, type, prompt), logits(given.model, type, prompt));
  }
}

// Norms of the rows of W + scaling · B A, W as the container holds it.
std::vector<float> row_norms(const model::PackedTensor& packed, kernels::WeightFormat format,
                             const model::AdapterTensor& change, double scaling) {
  std::vector<float> norms, row(static_cast<size_t>(change.in_features));
  for (int64_t i = 0; i < change.out_features; ++i) {
    const auto panel = i / kernels::kPanel * kernels::panel_bytes(format, change.in_features);
    kernels::unpack_column(format, packed.data.data() + panel, i % kernels::kPanel, change.in_features, row.data());
    double squares = 0;
    for (int64_t j = 0; j < change.in_features; ++j) {
      double value = row[static_cast<size_t>(j)];
      for (int64_t k = 0; k < change.rank; ++k) {
        value += scaling * change.b[static_cast<size_t>(i * change.rank + k)] *
                 change.a[static_cast<size_t>(k * change.in_features + j)];
      }
      squares += value * value;
    }
    norms.push_back(static_cast<float>(std::sqrt(squares)));
  }
  return norms;
}

TEST_F(QuantizeTest, DoraTakesTheNormsOfTheWeightsThatTheFileHolds) {
  runtime::write_tiny_adapter(folder_.path() / "lora", 1);
  for (const auto& [type, format] : {std::pair{WeightType::kInt8, kernels::WeightFormat::kInt8},
                                     {WeightType::kInt4, kernels::WeightFormat::kInt4}}) {
    const Settings given = settings(type);
    ASSERT_TRUE(quantize(
        given, [](int64_t, int64_t) {}, stop_, report_));
    const model::Container container(given.output);
    model::Adapter dora = model::load_adapter(folder_.path() / "lora");
    dora.config.use_dora = true;
    for (auto& tensor : dora.tensors) {
      tensor.magnitude = row_norms(container.tensor(tensor.module + ".weight"), format, tensor, dora.scaling(tensor));
    }
    model::save_adapter(folder_.path() / "same", dora);
    for (auto& tensor : dora.tensors) {
      for (float& magnitude : tensor.magnitude) magnitude *= 2;
    }
    model::save_adapter(folder_.path() / "other", dora);
    // Magnitudes that are the norms change nothing.
    const auto wanted = logits(given.output, type, folder_.path() / "lora");
    const auto got = logits(given.output, type, folder_.path() / "same");
    const auto other = logits(given.output, type, folder_.path() / "other");
    double changed = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      ASSERT_NEAR(got[i], wanted[i], 0.02) << i;
      changed = std::max(changed, static_cast<double>(std::abs(other[i] - wanted[i])));
    }
    EXPECT_GT(changed, 0.2);
  }
}

TEST_F(QuantizeTest, CalibrationComesToAnEndAndTheFileIsServed) {
  Settings given = settings(WeightType::kInt4);
  given.calibration = folder_.path() / "rows.jsonl";
  given.calibration_length = 8;
  std::vector<int64_t> seen;
  ASSERT_TRUE(quantize(
      given, [&](int64_t done, int64_t) { seen.push_back(done); }, stop_, report_));
  EXPECT_EQ(seen, (std::vector<int64_t>{0, 1, 2, 2}));
  EXPECT_EQ(report_.calibration_tokens, 12 * 8);
  EXPECT_EQ(model::Container(given.output).method(), "gptq");
  // On what it was calibrated on, it loses less than rounding every weight by itself.
  const auto exact = logits(given.model, WeightType::kF32);
  const auto error = [&](const std::vector<float>& got) {
    double sum = 0;
    for (size_t i = 0; i < exact.size(); ++i) sum += (got[i] - exact[i]) * (got[i] - exact[i]);
    return sum;
  };
  EXPECT_LT(error(logits(given.output, WeightType::kInt4)), error(logits(given.model, WeightType::kInt4)));
}

TEST_F(QuantizeTest, StoppingLeavesNothingBehind) {
  Settings given = settings(WeightType::kInt4);
  given.calibration = folder_.path() / "rows.jsonl";
  EXPECT_FALSE(quantize(
      given, [&](int64_t done, int64_t) { stop_ = done == 1; }, stop_, report_));
  EXPECT_FALSE(std::filesystem::exists(given.output));
}

TEST_F(QuantizeTest, WhatCannotBeDoneIsRefused) {
  const auto refused = [&](const Settings& given) {
    EXPECT_THROW(quantize(
                     given, [](int64_t, int64_t) {}, stop_, report_),
                 base::Error);
  };
  Settings given = settings(WeightType::kInt8);
  given.output = folder_.path() / "out.bin";
  refused(given);
  given = settings(WeightType::kInt8);
  given.calibration = folder_.path() / "rows.jsonl";
  refused(given);
  refused(settings(WeightType::kBF16));
  given = settings(WeightType::kInt4);
  given.calibration = folder_.path() / "empty.jsonl";
  std::ofstream(given.calibration) << "\n";
  refused(given);
  ASSERT_TRUE(quantize(
      settings(WeightType::kInt8), [](int64_t, int64_t) {}, stop_, report_));
  given = settings(WeightType::kInt8);
  given.model = given.output;
  refused(given);
}

TEST_F(QuantizeTest, ADamagedTensorIsNamedWhenTheModelIsLoaded) {
  const Settings given = settings(WeightType::kInt8);
  ASSERT_TRUE(quantize(
      given, [](int64_t, int64_t) {}, stop_, report_));
  std::string text = base::read_file(given.output);
  const model::Container container(given.output);
  const auto data = container.tensor("model.layers.1.mlp.up_proj.weight").data;
  const size_t at = text.find(std::string(reinterpret_cast<const char*>(data.data()), 64));
  text[at + 20] = static_cast<char>(text[at + 20] ^ 1);
  std::ofstream(folder_.path() / "bad.slipway", std::ios::binary) << text;
  try {
    logits(folder_.path() / "bad.slipway", WeightType::kInt8);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_NE(std::string(error.what()).find("bad.slipway: tensor model.layers.1.mlp.up_proj.weight is damaged"),
              std::string::npos)
        << error.what();
  }
}

TEST_F(QuantizeTest, AsAnEngineItTellsProgressAndGivesTheFileAsAnArtifact) {
  const auto workdir = folder_.path() / "work";
  std::filesystem::create_directories(workdir);
  const base::SystemClock clock;
  const std::atomic<bool> stop{false};
  const auto run = [&](const std::string& dtype, const std::string& file) {
    nlohmann::json spec = {
        {"version", 1},   {"kind", "quantize"},         {"model", {{"path", (folder_.path() / "model").string()}}},
        {"dtype", dtype}, {"output", {{"file", file}}}, {"threads", 2}};
    if (dtype == "int4") spec["calibration"] = {{"path", (folder_.path() / "rows.jsonl").string()}};
    spec::EventWriter events(workdir, clock);
    spec::EngineContext context{spec::parse_spec("quantize", spec.dump()), workdir, events, stop};
    return run_job(context);
  };
  EXPECT_THROW(run("int8", "/tmp/model.slipway"), base::Error);
  ASSERT_EQ(run("int4", "out/model.slipway"), spec::kExitSucceeded);
  EXPECT_EQ(model::Container(workdir / "out/model.slipway").method(), "gptq");
  const auto report = nlohmann::json::parse(base::read_file(workdir / "quantize.json"));
  EXPECT_EQ(report.at("dtype"), "int4");
  EXPECT_EQ(report.at("bytes"), std::filesystem::file_size(workdir / "out/model.slipway"));
  const std::string events = base::read_file(workdir / "events.jsonl");
  EXPECT_NE(events.find(R"("type":"progress","phase":"quantize","done":2,"total":2,"unit":"layer")"), std::string::npos)
      << events;
  EXPECT_NE(events.find(R"("type":"artifact","name":"model","path":"out")"), std::string::npos);
}

}  // namespace
}  // namespace slipway::quantize
