#include "agents/engine/runtime/weight_loader.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <map>

#include "agents/engine/runtime/engine.h"
#include "backend/base/files.h"
#include "tests/unit/runtime/tiny_model.h"

namespace slipway::runtime {
namespace {

using kernels::WeightFormat;

constexpr const char* kUnfit = "model.layers.0.mlp.up_proj.weight";

// As kBF16 has them.
float rounded(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7fffU + ((bits >> 16U) & 1U)) & 0xffff0000U);
}

// A tiny model in which one matrix has more weights that are nearly nothing than kBF12 has room for.
class WeightLoaderTest : public testing::Test {
 protected:
  WeightLoaderTest() {
    write_tiny_model(folder_.path() / "fit");
    const auto weights = model::open_weights(folder_.path() / "fit");
    std::vector<model::TensorView> views;
    for (const std::string& name : weights->names()) {
      model::TensorView view = weights->get(name);
      auto& values = values_[name] = std::vector<float>(static_cast<size_t>(view.elements()));
      weights->read_f32(name, values);
      for (size_t i = 0; name == kUnfit && i < values.size(); i += 7) values[i] *= 1e-20F;
      view.data = std::as_bytes(std::span(values));
      views.push_back(std::move(view));
    }
    std::filesystem::create_directories(model_);
    model::write_safetensors(model_ / "model.safetensors", views);
    std::filesystem::copy(folder_.path() / "fit" / "config.json", model_);
  }
  std::vector<float> logits(WeightType type) const {
    EngineOptions options;
    options.weight_type = type;
    options.threads = 2;
    Engine engine(model_, options);
    return engine.logits({7, 3, 90, 12, 55, 31}, "", true);
  }

  base::TemporaryFolder folder_;
  std::filesystem::path model_ = folder_.path() / "unfit";
  std::map<std::string, std::vector<float>> values_;
};

TEST_F(WeightLoaderTest, WhatTwelveBitsCannotHoldStaysInSixteenAndItsNeighboursStayWhole) {
  const model::Architecture architecture = model::load_architecture(model_);
  WeightLoader loader(model_, architecture, *kernels::table(kernels::best_level()));
  std::map<std::string, Matrix> matrices;
  for (const auto& tensor : model::decoder_tensors(architecture)) {
    if (tensor.shape.size() != 2) continue;
    const std::string name = tensor.name();
    loader.matrix(name, tensor.shape[0], tensor.shape[1], WeightFormat::kBF16, matrices[name]);
  }
  ThreadPool pool(2);
  loader.load(pool);
  for (const auto& [name, matrix] : matrices) {
    EXPECT_EQ(matrix.format(), name == kUnfit ? WeightFormat::kBF16 : WeightFormat::kBF12) << name;
    std::vector<float> row(static_cast<size_t>(matrix.columns()));
    for (int64_t i = 0; i < matrix.rows(); ++i) {
      matrix.read_row(i, row.data());
      for (size_t k = 0; k < row.size(); ++k)
        ASSERT_EQ(row[k], rounded(values_.at(name)[static_cast<size_t>(i) * row.size() + k])) << name << " " << i;
    }
  }
}

TEST_F(WeightLoaderTest, AModelOfWhichSomeStaysInSixteenBitsIsServed) {
  const auto exact = logits(WeightType::kF32), got = logits(WeightType::kBF16);
  ASSERT_EQ(got.size(), exact.size());
  double difference = 0, whole = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    difference += std::pow(got[i] - exact[i], 2);
    whole += std::pow(exact[i], 2);
  }
  EXPECT_LT(std::sqrt(difference / whole), 0.03);  // what sixteen bits lose in two layers, and no matrix that is wrong
}

}  // namespace
}  // namespace slipway::runtime
