#include "agents/engine/spec/engine_main.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <new>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::spec {
namespace {

using nlohmann::json;

constexpr char kSpec[] = R"({"version":1,"kind":"prep","inputs":[{"path":"a.jsonl","format":"text"}]})";

class EngineMain : public ::testing::Test {
 protected:
  // Runs the engine in a process of its own, as it is in life: signals and locks belong to a process.
  int run(const std::function<int(EngineContext&)>& body, std::vector<std::string> arguments,
          bool finish_on_stop = false) {
    const pid_t child = fork();
    if (child == 0) {
      if (freopen((folder_.path() / "stderr").c_str(), "w", stderr) == nullptr) _exit(99);
      if (freopen((folder_.path() / "stdout").c_str(), "w", stdout) == nullptr) _exit(99);
      arguments.insert(arguments.begin(), "slipway-prep");
      std::vector<char*> argv;
      for (std::string& argument : arguments) argv.push_back(argument.data());
      const int status = run_engine(static_cast<int>(argv.size()), argv.data(), "prep", body, finish_on_stop);
      fflush(nullptr);
      _exit(status);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  int run_good(const std::function<int(EngineContext&)>& body, bool finish_on_stop = false) {
    return run(body, {"--spec", write_spec(kSpec), "--workdir", workdir().string()}, finish_on_stop);
  }
  std::filesystem::path workdir() const { return folder_.path() / "work"; }
  std::string write_spec(const std::string& text) const {
    const std::filesystem::path path = folder_.path() / "spec.json";
    std::ofstream(path) << text;
    return path.string();
  }
  std::vector<json> events() const {
    std::vector<json> result;
    std::ifstream file(workdir() / "events.jsonl");
    for (std::string line; std::getline(file, line);) result.push_back(json::parse(line));
    return result;
  }
  std::string printed(const std::string& stream) const { return base::read_file(folder_.path() / stream); }

  base::TemporaryFolder folder_;
};

int succeed(EngineContext&) { return kExitSucceeded; }

TEST_F(EngineMain, WritesStartedAndFinishedAndThenHasNothingMoreToDo) {
  EXPECT_EQ(run_good(succeed), 0);
  ASSERT_EQ(events().size(), 2U);
  EXPECT_EQ(events()[0]["type"], "started");
  EXPECT_EQ(events()[0]["engine"], "slipway-prep");
  EXPECT_EQ(events()[1]["status"], "succeeded");
  EXPECT_EQ(run_good([](EngineContext&) -> int { throw std::logic_error("must not run again"); }), 0);
  EXPECT_EQ(events().size(), 2U);
}

TEST_F(EngineMain, TurnsAnExceptionIntoAnErrorEventAndExitOne) {
  EXPECT_EQ(run_good([](EngineContext&) -> int { throw base::Error("INVALID_DATA", "line 3 is bad", "mend it"); }), 1);
  ASSERT_EQ(events().size(), 3U);
  EXPECT_EQ(events()[1]["code"], "INVALID_DATA");
  EXPECT_EQ(events()[1]["advice"], "mend it");
  EXPECT_EQ(events()[2]["status"], "failed");
  EXPECT_NE(printed("stderr").find("line 3 is bad"), std::string::npos);
  EXPECT_EQ(run_good([](EngineContext&) -> int { throw std::bad_alloc(); }), 1);
  EXPECT_EQ(events()[4]["code"], "OUT_OF_MEMORY");
  EXPECT_EQ(events()[5]["seq"], 6);
}

TEST_F(EngineMain, RefusesAWrongSpecWithExitTwo) {
  const auto with = [&](const std::string& text) {
    return run(succeed, {"--spec", write_spec(text), "--workdir=" + workdir().string()});
  };
  EXPECT_EQ(with("{\"version\":1}"), 2);
  EXPECT_EQ(events().back()["status"], "failed");
  EXPECT_EQ(with("not json"), 2);
  EXPECT_EQ(with(std::string((16 << 20) + 1, ' ')), 2);
  EXPECT_EQ(run(succeed, {"--spec", (folder_.path() / "missing.json").string(), "--workdir", workdir().string()}), 2);
  EXPECT_NE(printed("stderr").find("missing.json"), std::string::npos);
  EXPECT_EQ(run(succeed, {"--spec", folder_.path().string(), "--workdir", workdir().string()}), 2);
}

TEST_F(EngineMain, ExplainsItself) {
  EXPECT_EQ(run(succeed, {"--help"}), 0);
  EXPECT_NE(printed("stdout").find("--workdir"), std::string::npos);
  EXPECT_EQ(run(succeed, {"--version"}), 0);
  EXPECT_EQ(printed("stdout").rfind("slipway-prep 0.", 0), 0U);
  EXPECT_EQ(run(succeed, {"--schema"}), 0);
  EXPECT_TRUE(json::parse(printed("stdout")).contains("properties"));
  EXPECT_EQ(run(succeed, {"--workdri", "x"}), 2);
  EXPECT_NE(printed("stderr").find("did you mean --workdir?"), std::string::npos);
  EXPECT_EQ(run(succeed, std::vector<std::string>{}), 2);
}

TEST_F(EngineMain, ResolvesPathsAgainstTheWorkdir) {
  EXPECT_EQ(run_good([](EngineContext& context) {
              const bool good = context.resolve("a/b") == context.workdir / "a/b" &&
                                context.resolve("/x/y") == "/x/y" && context.workdir.is_absolute() &&
                                context.spec["on_error"] == "fail";
              return good ? kExitSucceeded : kExitFailed;
            }),
            0);
}

TEST_F(EngineMain, ASignalAsksTheBodyToStop) {
  const auto stopped_by_signal = [](EngineContext& context) {
    raise(SIGTERM);
    return context.stop ? kExitStopped : kExitFailed;
  };
  EXPECT_EQ(run_good(stopped_by_signal), 143);
  EXPECT_EQ(events().back()["status"], "stopped");
  EXPECT_EQ(run_good(stopped_by_signal, true), 0);
  EXPECT_EQ(events().back()["status"], "stopped");
}

TEST_F(EngineMain, TwoProcessesNeverShareAWorkdir) {
  const std::string spec = write_spec(kSpec);
  EXPECT_EQ(
      run(
          [&](EngineContext&) {
            return run(succeed, {"--spec", spec, "--workdir", workdir().string()}) == 1 ? kExitSucceeded : kExitFailed;
          },
          {"--spec", spec, "--workdir", workdir().string()}),
      0);
  EXPECT_NE(printed("stderr").find("in use by process"), std::string::npos);
  EXPECT_EQ(events().size(), 2U);
}

TEST_F(EngineMain, AFullDiskFailsWithAClearMessage) {
  std::filesystem::create_directories(workdir());
  std::filesystem::create_symlink("/dev/full", workdir() / "events.jsonl");
  EXPECT_EQ(run_good(succeed), 1);
  EXPECT_NE(printed("stderr").find("DISK_FULL"), std::string::npos);
}

}  // namespace
}  // namespace slipway::spec
