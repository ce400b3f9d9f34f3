// Facts and samples of the machine: from /proc's texts, from the real machine, and from a stand-in for NVML.
#include <gtest/gtest.h>

#include <fstream>

#include "agents/node/fingerprint.h"
#include "agents/node/layout.h"
#include "agents/node/nvml.h"
#include "agents/node/sampler.h"
#include "backend/base/clock.h"
#include "backend/base/files.h"

namespace slipway::node {
namespace {

const std::string kFakeNvml = std::string(SLIPWAY_BINARY_DIR) + "/tests/libfake_nvml.so";

void write(const std::filesystem::path& path, const std::string& text) { std::ofstream(path) << text; }

TEST(Nvml, WithoutTheLibraryThereAreNoGpus) {
  const Nvml nvml("libnothing-of-this-name.so");
  EXPECT_TRUE(nvml.facts().empty());
  EXPECT_TRUE(nvml.readings().empty());
}

TEST(Nvml, ReadsEveryGpuAndLeavesUnknownValuesAtZero) {
  const Nvml nvml(kFakeNvml);
  ASSERT_EQ(nvml.facts().size(), 2U);
  EXPECT_EQ(nvml.facts()[1].name, "Fake GPU 1");
  EXPECT_EQ(nvml.facts()[0].memory_bytes, 1000);
  const auto readings = nvml.readings();
  EXPECT_DOUBLE_EQ(readings[0].utilization, 0.75);
  EXPECT_EQ(readings[0].memory_used_bytes, 400);
  EXPECT_DOUBLE_EQ(readings[0].power_watts, 123.5);
  EXPECT_DOUBLE_EQ(readings[0].temperature_celsius, 61);
  EXPECT_DOUBLE_EQ(readings[1].power_watts, 0);
}

TEST(Fingerprint, DescribesThisMachineWithItsCpuAndGpus) {
  const base::TemporaryFolder folder;
  const auto facts = read_facts("", folder.path(), Nvml(kFakeNvml), "1.2.3");
  EXPECT_FALSE(facts.name().empty());
  EXPECT_FALSE(facts.cpu_model().empty());
  EXPECT_GT(facts.cpu_cores(), 0);
  EXPECT_GT(facts.memory_bytes(), int64_t{1} << 28);
  EXPECT_GT(facts.disk_bytes(), 0);
  EXPECT_NE(facts.os().find("kernel"), std::string::npos);
  ASSERT_EQ(facts.devices_size(), 3);
  EXPECT_EQ(facts.devices(0).id(), "cpu");
  EXPECT_EQ(facts.devices(2).id(), "gpu1");
  EXPECT_EQ(facts.devices(2).kind(), "cuda");
  EXPECT_EQ(read_facts("named", folder.path(), Nvml("none.so"), "1").name(), "named");
}

TEST(Fingerprint, ReadsTheSystemsName) {
  EXPECT_EQ(os_name_from("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
  EXPECT_EQ(os_name_from("NAME=x\n"), "");
}

TEST(Sampler, ComputesRatesBetweenTwoReadings) {
  const base::TemporaryFolder proc;
  write(proc.path() / "stat", "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2 3 4\n");
  write(proc.path() / "meminfo", "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    400 kB\n");
  write(proc.path() / "diskstats", " 254 0 vda 1 0 100 0 1 0 200 0 0 0 0\n 254 1 vda1 1 0 100 0 1 0 200 0 0 0 0\n");
  base::FakeClock clock;
  const Nvml nvml(kFakeNvml);
  Sampler sampler(proc.path(), proc.path(), nvml, clock);
  auto sample = sampler.sample();
  EXPECT_EQ(sample.cpu_utilization(), 0);
  EXPECT_EQ(sample.memory_used_bytes(), 600 * 1024);
  EXPECT_EQ(sample.memory_total_bytes(), 1000 * 1024);
  EXPECT_GT(sample.disk_total_bytes(), 0);
  ASSERT_EQ(sample.gpus_size(), 2);
  EXPECT_EQ(sample.gpus(1).device_id(), "gpu1");

  clock.advance_ms(2000);
  write(proc.path() / "stat", "cpu  150 0 100 850 0 0 0 0 0 0\n");
  write(proc.path() / "diskstats", " 254 0 vda 1 0 140 0 1 0 280 0 0 0 0\n 254 1 vda1 1 0 140 0 1 0 280 0 0 0 0\n");
  sample = sampler.sample();
  EXPECT_DOUBLE_EQ(sample.cpu_utilization(), 0.5);
  EXPECT_DOUBLE_EQ(sample.disk_read_bytes_per_second(), 40 * 512 / 2.0);
  EXPECT_DOUBLE_EQ(sample.disk_write_bytes_per_second(), 80 * 512 / 2.0);
}

TEST(Sampler, SurvivesTextsThatAreNotThere) {
  EXPECT_EQ(parse_cpu_times("").total, 0U);
  EXPECT_EQ(parse_memory("").total_bytes, 0);
  EXPECT_EQ(parse_disk_traffic("1 2\nnonsense").read_bytes, 0U);
}

TEST(Layout, NamesFromStrangersStayBelowTheirFolder) {
  EXPECT_EQ(as_file_name("attempt-01h"), "attempt-01h");
  EXPECT_NE(as_file_name("a/b"), as_file_name("a_b"));
  EXPECT_EQ(as_file_name("../../etc").find('/'), std::string::npos);
  EXPECT_NE(as_file_name("..").front(), '.');
  EXPECT_LT(as_file_name(std::string(5000, 'a')).size(), 200U);
  EXPECT_TRUE(is_safe_relative("inputs/model.gguf"));
  for (const char* bad : {"", "/etc/passwd", "a/../../b", "..", "a//b", "./a", "a/"})
    EXPECT_FALSE(is_safe_relative(bad)) << bad;
}

}  // namespace
}  // namespace slipway::node
