#include "agents/engine/runtime/memory_estimate.h"

#include <gtest/gtest.h>

#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

// SmolLM2-135M's sizes.
model::Architecture small_llama() {
  model::Architecture architecture;
  architecture.vocab_size = 49152;
  architecture.hidden_size = 576;
  architecture.intermediate_size = 1536;
  architecture.num_hidden_layers = 30;
  architecture.num_attention_heads = 9;
  architecture.num_key_value_heads = 3;
  architecture.head_dim = 64;
  architecture.max_position_embeddings = 8192;
  architecture.tie_word_embeddings = true;
  return architecture;
}
constexpr double kLayers = 106'168'320, kEmbeddings = 28'311'552;  // weights

double estimate(WeightType type, CacheType cache, int64_t tokens) {
  EngineOptions options;
  options.weight_type = type;
  options.cache_type = cache;
  options.kv_cache_tokens = tokens;
  options.max_model_len = 256;
  return static_cast<double>(estimate_memory(small_llama(), options));
}

TEST(MemoryEstimate, CountsWeightsAsTheKernelsKeepThem) {
  const auto weights = [](WeightType type) {
    return estimate(type, CacheType::kF32, 256) - 256.0 * 2 * 30 * 3 * 64 * sizeof(float);
  };
  const double all = kLayers + kEmbeddings;
  EXPECT_NEAR(weights(WeightType::kF32) / all, 4, 0.01);
  EXPECT_NEAR(weights(WeightType::kBF16) / all, 1.52, 0.02);  // 12 bits, and room for exceptions
  EXPECT_NEAR(weights(WeightType::kInt8) / all, 1.04, 0.02);
  // The embeddings, which are the output too, have more bits than the layers.
  EXPECT_GT(weights(WeightType::kInt4), 0.55 * kLayers + 0.65 * kEmbeddings);
  EXPECT_LT(weights(WeightType::kInt4), 0.64 * kLayers + 1.06 * kEmbeddings);
}

TEST(MemoryEstimate, CountsTheWholeCache) {
  const double numbers = 65536.0 * 2 * 30 * 3 * 64;
  const auto cache = [](CacheType type) {
    return estimate(WeightType::kF32, type, 256 + 65536) - estimate(WeightType::kF32, type, 256);
  };
  EXPECT_EQ(cache(CacheType::kF32), 4 * numbers);
  EXPECT_EQ(cache(CacheType::kBF16), 2 * numbers);
  EXPECT_EQ(cache(CacheType::kInt8), (1 + 4.0 / 64) * numbers);  // a scale for each vector
  EngineOptions options;
  options.max_model_len = 9000;
  EXPECT_THROW(estimate_memory(small_llama(), options), base::Error);
}

}  // namespace
}  // namespace slipway::runtime
