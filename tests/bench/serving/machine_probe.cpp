// What this machine could do at most, for the shares that bench_serve.py prints: sequential read bandwidth, and the
// rate of dot products of bytes and of bf16, with as many threads as the first argument says (default: all cores).
// Prints one JSON object. Measures, and is no test.
#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

namespace {

constexpr size_t kBytes = size_t{512} << 20U;  // far beyond any cache
constexpr int kRounds = 5;
constexpr int64_t kSteps = 4'000'000;
constexpr int kChains = 12;

// The best of some rounds: `work` units done by all threads together per second.
double best_rate(int threads, double work, const std::function<void(int)>& body) {
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> workers;
    for (int i = 1; i < threads; ++i) workers.emplace_back(body, i);
    body(0);
    for (std::thread& worker : workers) worker.join();
    best = std::max(best, work / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

volatile int64_t sink = 0;

__attribute__((target("avx2"))) void read_avx2(const char* begin, const char* end) {
  __m256i sum = _mm256_setzero_si256();
  for (; begin < end; begin += 128) {
    for (int i = 0; i < 4; ++i) {
      sum = _mm256_xor_si256(sum, _mm256_load_si256(reinterpret_cast<const __m256i*>(begin + 32 * i)));
    }
  }
  sink = sink + _mm256_extract_epi64(sum, 0);
}

__attribute__((target("avx512f,avx512bw,avx512vnni"))) void dot_bytes() {
  __m512i sums[kChains], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) sums[j] = _mm512_dpbusd_epi32(sums[j], a, b);
    asm volatile("" : "+v"(a), "+v"(b));
  }
  for (const __m512i& sum : sums) sink = sink + _mm512_reduce_add_epi32(sum);
}

__attribute__((target("avx512f,avx512bw,avx512bf16"))) void dot_bf16() {
  __m512 sums[kChains];
  __m512i a = _mm512_set1_epi16(0x3f80), b = _mm512_set1_epi16(0x3f80);
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      sums[j] = _mm512_dpbf16_ps(sums[j], reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
    }
    asm volatile("" : "+v"(a), "+v"(b));
  }
  for (const __m512& sum : sums) sink = sink + static_cast<int64_t>(_mm512_reduce_add_ps(sum));
}

}  // namespace

int main(int argc, char** argv) {
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : cores;
  char* data = static_cast<char*>(std::aligned_alloc(size_t{2} << 20U, kBytes));
  if (data == nullptr || !__builtin_cpu_supports("avx2")) {
    std::fprintf(stderr, "machine_probe: error: needs 512 MiB of memory and AVX2\n");
    return 1;
  }
  madvise(data, kBytes, MADV_HUGEPAGE);  // as the engine has its weights; with small pages less is read
  std::memset(data, 1, kBytes);
  const size_t part = kBytes / static_cast<size_t>(threads) / 128 * 128;
  const double read = best_rate(threads, static_cast<double>(part) * threads, [&](int thread) {
    read_avx2(data + part * static_cast<size_t>(thread), data + part * static_cast<size_t>(thread + 1));
  });
  const double dots = static_cast<double>(kSteps) * kChains * threads;
  double bytes = 0, bf16 = 0;
  if (__builtin_cpu_supports("avx512vnni")) bytes = best_rate(threads, dots * 128, [](int) { dot_bytes(); });
  if (__builtin_cpu_supports("avx512bf16")) bf16 = best_rate(threads, dots * 64, [](int) { dot_bf16(); });
  std::printf("{\"threads\": %d, \"read_gb_s\": %.2f, \"int8_gop_s\": %.1f, \"bf16_gflop_s\": %.1f}\n", threads,
              read / 1e9, bytes / 1e9, bf16 / 1e9);
  std::free(data);
}
