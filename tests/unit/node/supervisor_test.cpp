// The supervisor process: how engines are started and how their end is kept, whoever watches.
#include "agents/node/supervisor.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>

#include "backend/base/files.h"
#include "tests/unit/node/waiting.h"

namespace slipway::node {
namespace {

const std::filesystem::path kAgent = std::string(SLIPWAY_BINARY_DIR) + "/bin/slipway-agent";

class SupervisorTest : public testing::Test {
 protected:
  LaunchPlan shell(const std::string& script) {
    LaunchPlan plan;
    plan.arguments = {"/bin/sh", "-c", script};
    plan.workdir = work_.path();
    return plan;
  }
  EngineExit run_to_end(const LaunchPlan& plan, int number = 1) {
    const auto launched = supervisor_.launch(folder_.path(), number, plan);
    EXPECT_TRUE(launched.ok()) << launched;
    EXPECT_TRUE(eventually([&] { return Supervisor::exited(folder_.path(), number).has_value(); }));
    return Supervisor::exited(folder_.path(), number).value_or(EngineExit{});
  }
  std::string read(const char* name) { return base::read_file(work_.path() / name); }

  base::TemporaryFolder folder_;
  base::TemporaryFolder work_;
  Supervisor supervisor_{kAgent};
};

TEST_F(SupervisorTest, KeepsExitStatusAndLogsAndEndsTheLastLine) {
  auto plan = shell("echo out; printf 'no line end' >&2; exit 7");
  const auto exit = run_to_end(plan);
  EXPECT_EQ(exit.exit_code, 7);
  EXPECT_EQ(exit.signal, 0);
  EXPECT_EQ(read("stdout.log"), "out\n");
  EXPECT_EQ(read("stderr.log"), "no line end\n");
}

TEST_F(SupervisorTest, AppliesFolderEnvironmentAndLimits) {
  auto plan = shell("pwd; echo $OMP_NUM_THREADS; ulimit -d; ulimit -c; nice");
  plan.environment["OMP_NUM_THREADS"] = "3";
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)  // whose own memory is over any limit
  plan.memory_bytes = int64_t{256} << 20;
#endif
  const std::string memory = plan.memory_bytes > 0 ? "262144" : "unlimited";
  plan.niceness = 4;
  run_to_end(plan);
  EXPECT_EQ(read("stdout.log"), std::filesystem::canonical(work_.path()).string() + "\n3\n" + memory + "\n0\n" +
                                    std::to_string(nice(0) + 4) + "\n");
}

TEST_F(SupervisorTest, SaysWhenTheProgramCannotBeStarted) {
  LaunchPlan plan;
  plan.arguments = {"/nowhere/slipway-train"};
  plan.workdir = work_.path();
  EXPECT_EQ(run_to_end(plan).launch_error, "/nowhere/slipway-train: No such file or directory");
}

TEST_F(SupervisorTest, KnowsTheSignalThatEndedTheEngine) {
  ASSERT_TRUE(supervisor_.launch(folder_.path(), 1, shell("echo up; exec sleep 600")).ok());
  ASSERT_TRUE(eventually([&] { return Supervisor::started(folder_.path(), 1).has_value(); }));
  const auto engine = *Supervisor::started(folder_.path(), 1);
  EXPECT_TRUE(is_running(engine));
  EXPECT_TRUE(Supervisor::supervised(folder_.path()));
  EXPECT_NE(getsid(engine.pid), getsid(0)) << "the engine must outlive the agent's terminal";
  EXPECT_EQ(getpgid(engine.pid), engine.pid);
  ASSERT_TRUE(eventually([&] { return signal_group(engine, SIGKILL) || !is_running(engine); }));
  ASSERT_TRUE(eventually([&] { return Supervisor::exited(folder_.path(), 1).has_value(); }));
  EXPECT_EQ(Supervisor::exited(folder_.path(), 1)->signal, SIGKILL);
  EXPECT_FALSE(is_running(engine));
  EXPECT_TRUE(eventually([&] { return !Supervisor::supervised(folder_.path()); }));
}

TEST_F(SupervisorTest, RefusesASecondEngineWhileOneIsSupervised) {
  ASSERT_TRUE(supervisor_.launch(folder_.path(), 1, shell("exec sleep 600")).ok());
  EXPECT_FALSE(supervisor_.launch(folder_.path(), 2, shell("true")).ok());
  ASSERT_TRUE(eventually([&] { return Supervisor::started(folder_.path(), 1).has_value(); }));
  ASSERT_TRUE(eventually([&] { return signal_group(*Supervisor::started(folder_.path(), 1), SIGTERM); }));
  ASSERT_TRUE(eventually([&] { return !Supervisor::supervised(folder_.path()); }));
  EXPECT_EQ(run_to_end(shell("true"), 2).exit_code, 0);
}

TEST(Process, IsKnownByPidAndStartTime) {
  auto self = identify(getpid());
  EXPECT_TRUE(is_running(self));
  ++self.start_ticks;
  EXPECT_FALSE(is_running(self));
  EXPECT_EQ(process_start_ticks(0), -1);
}

}  // namespace
}  // namespace slipway::node
