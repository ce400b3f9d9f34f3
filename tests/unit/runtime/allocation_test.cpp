// That decoding allocates no memory: operator new is replaced in this whole program, and counts while it is told to.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <future>
#include <new>

#include "agents/engine/runtime/engine.h"
#include "backend/base/files.h"
#include "tests/unit/runtime/tiny_model.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> allocations{0};

void* allocate(std::size_t size) {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace slipway::runtime {
namespace {

TEST(TokenLoop, AllocatesNothing) {
  const base::TemporaryFolder folder;
  write_tiny_model(folder.path());
  for (const auto type : {WeightType::kF32, WeightType::kBF16, WeightType::kInt8, WeightType::kInt4}) {
    EngineOptions options;
    options.weight_type = type;
    options.cache_type = type == WeightType::kInt4 ? CacheType::kInt8 : CacheType::kAuto;
    options.threads = 2;
    Engine engine(folder.path(), options);
    constexpr size_t kStreams = 3;
    std::promise<void> done[kStreams];
    std::atomic<int> tokens{0};
    for (size_t stream = 0; stream < kStreams; ++stream) {
      GenerationRequest request;
      for (int32_t i = 0; i < 20; ++i) request.prompt.push_back(3 + (static_cast<int32_t>(stream) * 31 + i * 17) % 120);
      request.sampling.temperature = 0;
      request.max_tokens = 120;
      request.ignore_eos = true;
      // From when all streams run, and over many pages of the cache.
      request.on_token = [&tokens](const GeneratedToken&) {
        const int count = ++tokens;
        if (count == 60) counting = true;
        if (count == 300) counting = false;
        return true;
      };
      request.on_finish = [&done, stream](FinishReason, const std::string&) { done[stream].set_value(); };
      engine.submit(std::move(request));
    }
    for (auto& one : done) one.get_future().get();
    EXPECT_EQ(tokens, 360);
    EXPECT_EQ(allocations.exchange(0), 0) << weight_type_name(type);
  }
}

}  // namespace
}  // namespace slipway::runtime
