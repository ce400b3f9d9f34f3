// The whole agent against a backend in this process: real sessions, real supervisor processes, and engines that are
// shell scripts (the spec is the script), so that every way to end can be had at will.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "agents/node/attempts.h"
#include "agents/node/session.h"
#include "agents/node/supervisor.h"
#include "agents/node/transfer.h"
#include "backend/base/files.h"
#include "tests/unit/node/fake_backend.h"
#include "tests/unit/node/waiting.h"

namespace slipway::node {
namespace {

namespace fs = std::filesystem;
using State = v1::AttemptStatus;

// One life of an agent on a data folder.
class RunningAgent {
 public:
  RunningAgent(int port, const fs::path& data, const fs::path& engines, const std::string& join_token = "join-me")
      : layout_{data},
        channel_(make_channel("127.0.0.1:" + std::to_string(port), "")),
        session_(channel_, options(join_token), v1::NodeFacts()),
        artifacts_(make_grpc_artifacts(channel_, [this] { return session_.node_token(); })),
        transfer_(*artifacts_, layout_.cache(), 1 << 30),
        supervisor_(std::string(SLIPWAY_BINARY_DIR) + "/bin/slipway-agent"),
        attempts_({layout_, engines, supervisor_, transfer_, session_, "node.example", 8}),
        thread_([this] {
          verdict_ = session_.run(
              attempts_, [] { return v1::NodeSample(); }, cancellation_);
        }) {}
  ~RunningAgent() { leave(); }
  void leave() {
    cancellation_.cancel();
    if (thread_.joinable()) thread_.join();
  }
  absl::Status wait_for_verdict() {
    thread_.join();
    return verdict_;
  }
  Attempts& attempts() { return attempts_; }

 private:
  SessionOptions options(const std::string& join_token) const {
    SessionOptions options;
    options.identity_file = layout_.identity();
    options.join_token = [join_token] { return join_token; };
    options.sample_interval = std::chrono::milliseconds(20);
    options.first_pause = std::chrono::milliseconds(10);
    options.longest_pause = std::chrono::milliseconds(100);
    return options;
  }

  Layout layout_;
  std::shared_ptr<grpc::Channel> channel_;
  Session session_;
  std::unique_ptr<Artifacts> artifacts_;
  Transfer transfer_;
  Supervisor supervisor_;
  Attempts attempts_;
  Cancellation cancellation_;
  absl::Status verdict_;
  std::thread thread_;
};

class AgentTest : public testing::Test {
 protected:
  AgentTest() {
    fs::create_directories(data_);
    fs::create_directories(engines_);
    for (const char* engine : {"train", "serve"}) {
      const fs::path path = engines_ / (std::string("slipway-") + engine);
      std::ofstream(path) << "#!/bin/sh\nexec sh \"$2\"\n";
      fs::permissions(path, fs::perms::owner_all);
    }
    life();
  }
  ~AgentTest() override {
    EXPECT_EQ(backend_.problem(), "");
    agent_.reset();
    // Whatever a failed test left running.
    for (const auto& entry : fs::directory_iterator(data_ / "attempts")) {
      for (int launch = 1; const auto engine = Supervisor::started(entry.path(), launch); ++launch) {
        signal_group(*engine, SIGKILL);
      }
      EXPECT_TRUE(eventually([&] { return !Supervisor::supervised(entry.path()); }));
    }
  }
  void life() {
    agent_.reset();
    agent_ = std::make_unique<RunningAgent>(backend_.port(), data_, engines_);
    ASSERT_TRUE(eventually([&] { return backend_.has_session(); }));
  }
  v1::StartAttempt attempt(const std::string& id, const std::string& script) {
    v1::StartAttempt start;
    start.set_attempt_id(id);
    start.set_engine("train");
    start.set_spec_json(script);
    start.set_work_key("key-" + id);
    start.set_device("cpu");
    start.mutable_limits()->set_grace_seconds(20);
    return start;
  }
  bool reaches(const std::string& id, State::State state) {
    const bool reached = eventually([&] { return backend_.status(id).state() == state; });
    EXPECT_TRUE(reached) << backend_.status(id).DebugString();
    return reached;
  }
  fs::path work(const std::string& id) { return data_ / "work" / ("key-" + id); }
  bool has_line(const std::string& id, const std::string& file, const std::string& line) {
    const auto lines = backend_.lines(id, file);
    return std::find(lines.begin(), lines.end(), line) != lines.end();
  }

  base::TemporaryFolder folder_;
  fs::path data_ = folder_.path() / "data";
  fs::path engines_ = folder_.path() / "engines";
  FakeBackend backend_;
  std::unique_ptr<RunningAgent> agent_;
};

TEST_F(AgentTest, JoinsOnceAndKeepsItsTokenPrivate) {
  EXPECT_EQ(backend_.joins(), 1);
  struct stat facts {};
  ASSERT_EQ(stat((data_ / "node.json").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U);
  life();
  EXPECT_EQ(backend_.joins(), 1);
  EXPECT_TRUE(eventually([&] { return backend_.samples() >= 3; }));
}

TEST_F(AgentTest, JoinsAgainWhenTheBackendHasForgottenIt) {
  backend_.forget_nodes();
  backend_.go_away();
  backend_.come_back();
  EXPECT_TRUE(eventually([&] { return backend_.joins() == 2 && backend_.has_session(); }));
}

TEST_F(AgentTest, GivesUpOnAJoinTokenThatIsNotTaken) {
  RunningAgent other(backend_.port(), folder_.path() / "other", engines_, "wrong");
  EXPECT_NE(std::string(other.wait_for_verdict().message()).find("join token"), std::string::npos);
}

TEST_F(AgentTest, RunsAnEngineOnItsInputsAndBringsBackLinesFilesAndArtifacts) {
  backend_.artifact_files = {{"data.txt", std::string(200'000, 'd')}, {"sub/more.txt", "more"}};
  auto start = attempt("a1",
                       "echo out; echo err >&2; wc -c < inputs/data.txt; mkdir -p out; cp inputs/sub/more.txt out/;"
                       "echo '{\"seq\":1,\"type\":\"artifact\",\"name\":\"adapter\",\"path\":\"out\"}' > events.jsonl;"
                       "echo '{\"ok\":true}' > report.json; printf 'no line end'");
  auto* input = start.add_inputs();
  input->set_artifact_id("input");
  input->set_path("inputs");
  start.add_upload_artifacts("adapter");
  start.add_return_files("report.json");
  start.add_return_files("never_made.json");
  backend_.start(start);
  ASSERT_TRUE(reaches("a1", State::STATE_SUCCEEDED));
  const auto status = backend_.status("a1");
  EXPECT_EQ(backend_.lines("a1", "stdout"), (std::vector<std::string>{"out", "200000", "no line end"}));
  EXPECT_EQ(backend_.lines("a1", "stderr"), std::vector<std::string>{"err"});
  EXPECT_EQ(backend_.lines("a1", "events").size(), 1U);
  EXPECT_EQ(backend_.lines_at_end("a1"), 5U) << "the end is told after the last line has arrived";
  EXPECT_EQ(status.returned_files().at("report.json"), "{\"ok\":true}\n");
  EXPECT_EQ(status.returned_files_size(), 1);
  EXPECT_EQ(backend_.uploaded().at(status.artifact_ids().at("adapter")).at("more.txt"), "more");
  EXPECT_EQ(backend_.states("a1"), (std::vector<State::State>{State::STATE_PREPARING, State::STATE_RUNNING,
                                                              State::STATE_UPLOADING, State::STATE_SUCCEEDED}));
  EXPECT_TRUE(fs::exists(work("a1")));
  backend_.release("a1");
  EXPECT_TRUE(eventually([&] { return !fs::exists(work("a1")) && !fs::exists(data_ / "attempts/a1"); }));
}

TEST_F(AgentTest, TellsWhyAnEngineFailed) {
  backend_.start(attempt("quiet", "echo 'bad thing' >&2; exit 1"));
  ASSERT_TRUE(reaches("quiet", State::STATE_FAILED));
  EXPECT_EQ(backend_.status("quiet").exit_code(), 1);
  EXPECT_EQ(backend_.status("quiet").code(), "ENGINE_FAILED");
  EXPECT_NE(backend_.status("quiet").message().find("bad thing"), std::string::npos);

  backend_.start(attempt("event", "echo '{\"type\":\"error\",\"code\":\"X\"}' > events.jsonl; exit 2"));
  ASSERT_TRUE(reaches("event", State::STATE_FAILED));
  EXPECT_EQ(backend_.status("event").exit_code(), 2);
  EXPECT_EQ(backend_.status("event").code(), "") << "the engine's own error event says it";

  auto missing = attempt("missing", "true");
  missing.set_engine("eval");
  backend_.start(missing);
  ASSERT_TRUE(reaches("missing", State::STATE_FAILED));
  EXPECT_EQ(backend_.status("missing").code(), "ENGINE_NOT_STARTED");

  auto input = attempt("input", "true");
  input.add_inputs()->set_artifact_id("nothing");
  input.mutable_inputs(0)->set_path("inputs");
  backend_.start(input);
  ASSERT_TRUE(reaches("input", State::STATE_FAILED));
  EXPECT_EQ(backend_.status("input").code(), "INPUT_NOT_AVAILABLE");

  auto path = attempt("path", "true");
  path.add_inputs()->set_path("../../outside");
  backend_.start(path);
  ASSERT_TRUE(reaches("path", State::STATE_FAILED));
  EXPECT_EQ(backend_.status("path").code(), "INVALID_REQUEST");

  auto artifact = attempt("artifact", "true");
  artifact.add_upload_artifacts("adapter");
  backend_.start(artifact);
  ASSERT_TRUE(reaches("artifact", State::STATE_FAILED));
  EXPECT_EQ(backend_.status("artifact").code(), "ARTIFACT_MISSING");
}

TEST_F(AgentTest, StartsAKilledEngineAgainOnTheSameFolderAndSaysSo) {
  auto start = attempt("a1", "echo run >> runs; echo one; if [ $(wc -l < runs) -lt 3 ]; then kill -9 $$; fi; echo end");
  start.set_restarts(2);
  backend_.start(start);
  ASSERT_TRUE(reaches("a1", State::STATE_SUCCEEDED));
  EXPECT_EQ(backend_.lines("a1", "stdout"), (std::vector<std::string>{"one", "one", "one", "end"}));
  const auto notes = backend_.lines("a1", "stderr");
  ASSERT_EQ(notes.size(), 2U);
  EXPECT_NE(notes[0].find("signal 9"), std::string::npos);
  EXPECT_NE(notes[1].find("2 of 2"), std::string::npos);
}

TEST_F(AgentTest, GivesUpAfterTheRestartsThatWereGranted) {
  auto start = attempt("a1", "echo run >> runs; kill -9 $$");
  start.set_restarts(1);
  backend_.start(start);
  ASSERT_TRUE(reaches("a1", State::STATE_FAILED));
  EXPECT_EQ(backend_.status("a1").signal(), SIGKILL);
  EXPECT_EQ(backend_.status("a1").code(), "ENGINE_KILLED");
  EXPECT_EQ(base::read_file(work("a1") / "runs"), "run\nrun\n");
}

TEST_F(AgentTest, StopsAnEngineThatSavesAndKillsOneThatDoesNot) {
  backend_.start(attempt("saves", "trap 'echo saved; exit 143' TERM; echo up; while :; do sleep 0.05; done"));
  backend_.start(attempt("ignores", "trap '' TERM; echo up; while :; do sleep 0.05; done"));
  ASSERT_TRUE(eventually([&] { return has_line("saves", "stdout", "up") && has_line("ignores", "stdout", "up"); }));
  backend_.stop("saves", 20);
  backend_.stop("ignores", 1);
  ASSERT_TRUE(reaches("saves", State::STATE_STOPPED));
  EXPECT_EQ(backend_.status("saves").exit_code(), 143);
  EXPECT_TRUE(has_line("saves", "stdout", "saved"));
  ASSERT_TRUE(reaches("ignores", State::STATE_STOPPED));
  EXPECT_EQ(backend_.status("ignores").signal(), SIGKILL);
}

TEST_F(AgentTest, AServerThatDrainsAfterAStopHasStopped) {
  auto start = attempt("a1", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done");
  start.set_engine("serve");
  backend_.start(start);
  ASSERT_TRUE(eventually([&] { return has_line("a1", "stdout", "up"); }));
  backend_.stop("a1", 20);
  EXPECT_TRUE(reaches("a1", State::STATE_STOPPED));
}

TEST_F(AgentTest, ALaterAttemptGoesOnInTheSameFolderWithLinesOfItsOwn) {
  auto first = attempt("a1", "echo '{\"seq\":1}' >> events.jsonl; echo one; touch checkpoint; exit 1");
  first.set_work_key("shared");
  backend_.start(first);
  ASSERT_TRUE(reaches("a1", State::STATE_FAILED));
  backend_.release("a1");
  EXPECT_TRUE(eventually([&] { return !fs::exists(data_ / "attempts/a1"); }));
  auto second = attempt("a2", "test -e checkpoint || exit 1; echo '{\"seq\":2}' >> events.jsonl; echo two");
  second.set_work_key("shared");
  backend_.start(second);
  ASSERT_TRUE(reaches("a2", State::STATE_SUCCEEDED));
  EXPECT_EQ(backend_.lines("a2", "events"), std::vector<std::string>{"{\"seq\":2}"});
  EXPECT_EQ(backend_.lines("a2", "stdout"), std::vector<std::string>{"two"});
}

TEST_F(AgentTest, AnAttemptWaitsForTheFolderOfOneThatStillRuns) {
  auto first = attempt("a1", "echo up; while [ ! -e go ]; do sleep 0.02; done; echo first >> order");
  auto second = attempt("a2", "echo second >> order");
  first.set_work_key("shared");
  second.set_work_key("shared");
  backend_.start(first);
  ASSERT_TRUE(eventually([&] { return has_line("a1", "stdout", "up"); }));
  backend_.start(second);
  ASSERT_TRUE(reaches("a2", State::STATE_PREPARING));
  std::ofstream(data_ / "work/shared/go") << "";
  ASSERT_TRUE(reaches("a2", State::STATE_SUCCEEDED));
  EXPECT_EQ(base::read_file(data_ / "work/shared/order"), "first\nsecond\n");
}

TEST_F(AgentTest, LosesAndDoublesNothingWhenTheBackendGoesAway) {
  backend_.start(
      attempt("a1",
              "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo line $i; echo \"{\\\"seq\\\":$i}\" >> events.jsonl;"
              "if [ $i = 150 ]; then while [ ! -e go ]; do sleep 0.02; done; fi; done"));
  ASSERT_TRUE(eventually([&] { return has_line("a1", "stdout", "line 20"); }));
  backend_.acknowledge_lines(false);  // stored, but the answer is lost
  ASSERT_TRUE(eventually([&] { return has_line("a1", "stdout", "line 21"); }));
  backend_.go_away();
  std::ofstream(work("a1") / "go") << "";
  backend_.acknowledge_lines(true);
  backend_.come_back();
  ASSERT_TRUE(reaches("a1", State::STATE_SUCCEEDED));
  const auto lines = backend_.lines("a1", "stdout");
  ASSERT_EQ(lines.size(), 300U);
  for (size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i], "line " + std::to_string(i + 1));
  EXPECT_EQ(backend_.lines("a1", "events").size(), 300U);
}

TEST_F(AgentTest, ANewAgentFindsTheEngineOfTheOldOneAndGoesOnTailing) {
  auto start =
      attempt("a1", "echo before; while [ ! -e go ]; do sleep 0.02; done; echo after; echo '{}' > report.json");
  start.add_return_files("report.json");
  backend_.start(start);
  ASSERT_TRUE(eventually([&] { return has_line("a1", "stdout", "before"); }));
  const auto engine = Supervisor::started(data_ / "attempts/a1", 1);
  ASSERT_TRUE(engine);
  agent_.reset();
  EXPECT_TRUE(is_running(*engine));
  life();
  ASSERT_EQ(backend_.last_hello().attempts_size(), 1);
  EXPECT_EQ(backend_.last_hello().attempts(0).state(), State::STATE_RUNNING);
  std::ofstream(work("a1") / "go") << "";
  ASSERT_TRUE(reaches("a1", State::STATE_SUCCEEDED));
  EXPECT_EQ(backend_.lines("a1", "stdout"), (std::vector<std::string>{"before", "after"}));
  EXPECT_EQ(backend_.status("a1").returned_files().at("report.json"), "{}\n");
}

TEST_F(AgentTest, ARankWaitsUntilItIsToldWhereItsGangMeetsAlsoForTheNextAgent) {
  auto start =
      attempt("a1", "echo $RANK of $WORLD_SIZE, $LOCAL_RANK, $MASTER_ADDR $MASTER_PORT, $OMP_NUM_THREADS threads");
  start.mutable_gang()->set_rank(1);
  start.mutable_gang()->set_size(4);
  start.mutable_gang()->set_local_size(2);
  backend_.start(start);
  ASSERT_TRUE(reaches("a1", State::STATE_PREPARED));
  const std::string meeting = backend_.status("a1").meeting();
  EXPECT_EQ(meeting.rfind("node.example:", 0), 0U) << meeting;
  EXPECT_GT(std::stoi(meeting.substr(meeting.find(':') + 1)), 0);
  life();
  ASSERT_EQ(backend_.last_hello().attempts_size(), 1);
  EXPECT_EQ(backend_.last_hello().attempts(0).meeting(), meeting);
  backend_.meet("a1", "leader.example:4321");
  ASSERT_TRUE(reaches("a1", State::STATE_SUCCEEDED));
  EXPECT_EQ(backend_.lines("a1", "stdout"), (std::vector<std::string>{"1 of 4, 0, leader.example 4321, 4 threads"}));

  start.set_attempt_id("a2");
  start.set_work_key("key-a2");
  backend_.start(start);
  ASSERT_TRUE(reaches("a2", State::STATE_PREPARED));
  backend_.stop("a2", 5);
  EXPECT_TRUE(reaches("a2", State::STATE_STOPPED)) << "before its engine was started";
}

TEST_F(AgentTest, KnowsTheExitStatusOfAnEngineThatEndedWhileNoAgentLived) {
  backend_.start(attempt("a1", "echo before; while [ ! -e go ]; do sleep 0.02; done; echo after; exit 1"));
  ASSERT_TRUE(eventually([&] { return has_line("a1", "stdout", "before"); }));
  agent_.reset();
  std::ofstream(work("a1") / "go") << "";
  ASSERT_TRUE(eventually([&] { return Supervisor::exited(data_ / "attempts/a1", 1).has_value(); }));
  life();
  ASSERT_TRUE(reaches("a1", State::STATE_FAILED));
  EXPECT_EQ(backend_.status("a1").exit_code(), 1);
  EXPECT_EQ(backend_.lines("a1", "stdout"), (std::vector<std::string>{"before", "after"}));
}

TEST_F(AgentTest, ParkedEnginesSaveAndGoOnWithTheNextAgent) {
  auto start = attempt("a1",
                       "echo run >> runs; echo up; test $(wc -l < runs) -ge 2 && exit 0;"
                       "trap 'exit 143' TERM; while :; do sleep 0.05; done");
  backend_.start(start);  // no restarts granted: parking is no crash
  ASSERT_TRUE(eventually([&] { return has_line("a1", "stdout", "up"); }));
  agent_->leave();
  agent_->attempts().park(std::chrono::seconds(30));
  EXPECT_TRUE(eventually([&] { return !Supervisor::supervised(data_ / "attempts/a1"); }));
  life();
  EXPECT_TRUE(reaches("a1", State::STATE_SUCCEEDED));
}

TEST_F(AgentTest, ParkingDoesNotWaitForAnAttemptThatWasReleasedWhileTheAgentLeft) {
  backend_.start(attempt("a1", "exit 0"));
  ASSERT_TRUE(reaches("a1", State::STATE_SUCCEEDED));
  agent_->leave();  // nobody collects what is released from here on
  agent_->attempts().release("a1");
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // its thread reads that first, then that it is parked
  const auto began = std::chrono::steady_clock::now();
  agent_->attempts().park(std::chrono::seconds(60));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
}

TEST_F(AgentTest, AReleasedAttemptThatStillRunsIsStoppedFirst) {
  backend_.start(attempt("a1", "trap 'exit 143' TERM; echo up; while :; do sleep 0.05; done"));
  ASSERT_TRUE(eventually([&] { return has_line("a1", "stdout", "up"); }));
  const auto engine = Supervisor::started(data_ / "attempts/a1", 1);
  backend_.release("a1");
  EXPECT_TRUE(eventually([&] { return !fs::exists(data_ / "attempts/a1"); }));
  EXPECT_FALSE(is_running(*engine));
}

}  // namespace
}  // namespace slipway::node
