// The sign-in file, and the program itself where it needs no backend.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "app/cli/config.h"
#include "app/cli/failure.h"
#include "backend/base/files.h"

namespace slipway::cli {
namespace {

struct Answer {
  int status;
  std::string text;
};

Answer run(const std::string& arguments, const std::string& before = "") {
  const std::string command = before + " " + SLIPWAY_BINARY_DIR + "/bin/slipway " + arguments + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  std::string text;
  std::array<char, 4096> buffer{};
  while (const size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) text.append(buffer.data(), got);
  return {WEXITSTATUS(pclose(pipe)), text};
}

TEST(Config, IsPrivateAndComesBack) {
  const base::TemporaryFolder folder;
  const auto path = folder.path() / "slipway/config.json";
  save_config({"host:1", "slw_secret", "anna", "ca.pem"}, path);
  struct stat facts {};
  ASSERT_EQ(stat(path.c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U);
  unsetenv("SLIPWAY_BACKEND");
  unsetenv("SLIPWAY_TOKEN");
  auto config = load_config(path);
  EXPECT_EQ(config.backend, "host:1");
  EXPECT_EQ(config.token, "slw_secret");
  EXPECT_EQ(config.tls_ca, "ca.pem");
  setenv("SLIPWAY_BACKEND", "other:2", 1);
  config = load_config(path);
  EXPECT_EQ(config.backend, "other:2");
  EXPECT_EQ(config.token, "") << "a token is never sent to another backend";
  setenv("SLIPWAY_TOKEN", "slw_other", 1);
  EXPECT_EQ(load_config(path).token, "slw_other");
  unsetenv("SLIPWAY_BACKEND");
  unsetenv("SLIPWAY_TOKEN");
  EXPECT_EQ(load_config(folder.path() / "none.json").backend, kDefaultBackend);
}

TEST(Config, ABrokenFileIsNamed) {
  const base::TemporaryFolder folder;
  base::write_file_atomically(folder.path() / "config.json", "{");
  try {
    load_config(folder.path() / "config.json");
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_NE(failure.text().find("config.json"), std::string::npos);
  }
}

TEST(CommandLine, HelpNamesTheExitStatusesAndEveryCommand) {
  const auto help = run("--help");
  EXPECT_EQ(help.status, 0);
  for (const char* part : {"Exit status", "login", "model", "dataset", "workflow", "run", "deployment", "node", "up"}) {
    EXPECT_NE(help.text.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(run("run watch --help").status, 0);
}

TEST(CommandLine, WrongFlagsExitWithTwoAndMissingBackendsWithFive) {
  EXPECT_EQ(run("model import").status, 2);
  EXPECT_EQ(run("nonsense").status, 2);
  EXPECT_EQ(run("run start").status, 2);
  const base::TemporaryFolder folder;
  const std::string environment = "SLIPWAY_CONFIG=" + (folder.path() / "c.json").string();
  const auto gone = run("--backend 127.0.0.1:9 model list", environment);
  EXPECT_EQ(gone.status, 5);
  EXPECT_NE(gone.text.find("127.0.0.1:9"), std::string::npos);
  EXPECT_NE(run("--json --backend 127.0.0.1:9 model list", environment).text.find("\"exit\": 5"), std::string::npos);
  EXPECT_EQ(run("--backend example.org:7879 model list", environment).status, 2)
      << "no token in the clear to another machine";
}

TEST(CommandLine, BashCompletionKnowsCommandsAndFlags) {
  const base::TemporaryFolder folder;
  const auto script = folder.path() / "complete.bash";
  base::write_file_atomically(script, run("completion bash").text);
  const auto complete = [&](const std::string& words, int index) {
    base::write_file_atomically(folder.path() / "test.bash", "source " + script.string() + "\nCOMP_WORDS=(" + words +
                                                                 ")\nCOMP_CWORD=" + std::to_string(index) +
                                                                 "\n_slipway\necho \"${COMPREPLY[*]}\"\n");
    FILE* pipe = popen(("bash " + (folder.path() / "test.bash").string() + " 2>&1").c_str(), "r");
    std::array<char, 4096> buffer{};
    const size_t got = fread(buffer.data(), 1, buffer.size(), pipe);
    pclose(pipe);
    return std::string(buffer.data(), got);
  };
  EXPECT_EQ(complete("slipway dep", 1), "deployment\n");
  EXPECT_EQ(complete("slipway --json model im", 3), "import\n");
  EXPECT_EQ(complete("slipway run logs x --fol", 4), "--follow\n");
}

TEST(Program, QuantizesByTheProgramBesideIt) {
  const base::TemporaryFolder folder;
  const auto wrong = run("model quantize " + folder.path().string() + " -o " + (folder.path() / "m.bin").string());
  EXPECT_EQ(wrong.status, 2);
  EXPECT_NE(wrong.text.find("slipway-quantize: INVALID_SPEC: the output is "), std::string::npos) << wrong.text;
  EXPECT_EQ(run("model quantize " + folder.path().string() + " -o m.slipway --dtype int2").status, 2);
  const auto json = run("--json model quantize " + folder.path().string() + " -o m.bin");
  EXPECT_NE(json.text.find(R"({"error":{"code":"INVALID_SPEC")"), std::string::npos) << json.text;
}

}  // namespace
}  // namespace slipway::cli
