// The watch stream: order, cursors, keep-alive; and node samples.
#include <gmock/gmock.h>

#include <set>

#include "tests/integration/service_runs/backend_fixture.h"

namespace slipway::test {
namespace {

using v1::AttemptStatus;
using v1::WatchResponse;

class Watch : public BackendTest {};

const auto kAny = [](const WatchResponse&) { return true; };

TEST_F(Watch, BeginsWithACursorAndMissesNothingAfterIt) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune();
  const auto prep = agent->expect_start("prep");
  v1::WatchRequest request;
  request.set_run_id(run.id());
  request.set_logs(true);
  std::string cursor;
  std::vector<std::string> lines;
  {
    Watcher watcher(channel(), cookie_, request);
    const WatchResponse first = watcher.next(kAny);
    EXPECT_EQ(first.change_case(), WatchResponse::CHANGE_NOT_SET);
    EXPECT_FALSE(first.cursor().empty());
    agent->send_lines(prep.attempt_id(), "stdout", {"a", "b"});
    const auto line = watcher.next([](const WatchResponse& r) { return r.has_log_line(); });
    lines.push_back(line.log_line().text());
    cursor = line.cursor();  // between the two lines of one batch
  }
  agent->send_lines(prep.attempt_id(), "stdout", {"c"});
  agent->send_event(prep.attempt_id(), R"({"seq":1,"type":"metric","step":3,"values":{"rows":7}})");
  request.set_cursor(cursor);
  Watcher watcher(channel(), cookie_, request);
  const auto metric = watcher.next([](const WatchResponse& r) { return r.has_metric(); });
  for (const WatchResponse& response : watcher.seen) {
    if (response.has_log_line()) lines.push_back(response.log_line().text());
  }
  EXPECT_EQ(lines, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(metric.metric().step(), 3);
  EXPECT_EQ(metric.metric().values().at("rows"), 7);
  EXPECT_EQ(metric.metric().task(), "prepare");
  EXPECT_EQ(watcher.next([](const WatchResponse& r) { return r.has_event(); }).event().type(), "metric");
}

TEST_F(Watch, CarriesMoreThanOnePiece) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune();
  const auto prep = agent->expect_start("prep");
  v1::WatchRequest request;
  request.set_run_id(run.id());
  request.set_logs(true);
  std::string cursor;
  {
    Watcher watcher(channel(), cookie_, request);
    cursor = watcher.next(kAny).cursor();
  }
  std::vector<std::string> batch;
  for (int i = 0; i < 1700; ++i) batch.push_back("line " + std::to_string(i));
  agent->send_lines(prep.attempt_id(), "stdout", batch);
  agent->send_event(prep.attempt_id(), R"({"seq":1,"type":"heartbeat","step":3})");
  request.set_cursor(cursor);
  Watcher watcher(channel(), cookie_, request);
  watcher.next([](const WatchResponse& r) { return r.has_event() && r.event().type() == "heartbeat"; });
  std::vector<std::string> got;
  for (const WatchResponse& response : watcher.seen) {
    if (response.has_log_line()) got.push_back(response.log_line().text());
  }
  EXPECT_EQ(got, batch);
}

TEST_F(Watch, RefusesACursorOfAnotherStore) {
  for (const char* cursor : {"someone-else.12", "12", ".", "x.y.z"}) {
    v1::WatchRequest request;
    request.set_cursor(cursor);
    grpc::ClientContext context;
    context.AddMetadata("cookie", cookie_);
    auto stub = v1::EventService::NewStub(channel());
    auto reader = stub->Watch(&context, request);
    WatchResponse response;
    EXPECT_FALSE(reader->Read(&response));
    EXPECT_EQ(detail_of(reader->Finish()).reason(), "CURSOR_EXPIRED");
  }
}

TEST_F(Watch, ResumesAfterTheBackendsRestart) {
  std::string cursor;
  {
    Watcher watcher(channel(), cookie_, {});
    cursor = watcher.next(kAny).cursor();
  }
  restart_backend();
  const v1::Run run = start_fine_tune();
  v1::WatchRequest request;
  request.set_cursor(cursor);
  Watcher watcher(channel(), cookie_, request);
  EXPECT_EQ(watcher.next([](const WatchResponse& r) { return r.has_run(); }).run().id(), run.id());
}

TEST_F(Watch, NeedsASignIn) {
  grpc::ClientContext nobody;
  auto stub = v1::EventService::NewStub(channel());
  auto reader = stub->Watch(&nobody, {});
  WatchResponse response;
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(Watch, CarriesSamplesWhenAsked) {
  auto agent = make_agent();
  agent->connect();
  v1::WatchRequest request;
  request.set_samples(true);
  Watcher watcher(channel(), cookie_, request);
  watcher.next(kAny);
  const int64_t now_ms = clock_.now_ms();
  agent->send_sample(now_ms, 0.25);
  const auto sample = watcher.next([](const WatchResponse& r) { return r.has_sample(); });
  EXPECT_EQ(sample.sample().node_id(), agent->node_id());
  EXPECT_EQ(sample.sample().sample().cpu_utilization(), 0.25);

  v1::ListNodeSamplesRequest list;
  v1::ListNodeSamplesResponse samples;
  list.set_node_id(agent->node_id());
  ASSERT_TRUE(v1::NodeService::NewStub(channel())->ListNodeSamples(context().get(), list, &samples).ok());
  EXPECT_EQ(samples.samples_size(), 1);
  v1::ListNodesResponse nodes;
  ASSERT_TRUE(v1::NodeService::NewStub(channel())->ListNodes(context().get(), {}, &nodes).ok());
  ASSERT_EQ(nodes.nodes_size(), 1);
  EXPECT_EQ(nodes.nodes(0).state(), v1::NODE_STATE_ONLINE);
  EXPECT_EQ(nodes.nodes(0).latest_sample().cpu_utilization(), 0.25);
}

class QuickKeepAlive : public BackendTest {
 protected:
  void SetUp() override {
    keep_alive_ms_ = 20;
    BackendTest::SetUp();
  }
};

TEST_F(QuickKeepAlive, SaysThatItIsThere) {
  Watcher watcher(channel(), cookie_, {});
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(watcher.next(kAny).change_case(), WatchResponse::CHANGE_NOT_SET);
  }
}

TEST_F(Watch, ManyWatchersComeAndGoWhileThingsChange) {
  auto agent = make_agent();
  agent->connect();
  const v1::Run run = start_fine_tune();
  const auto prep = agent->expect_start("prep");
  v1::WatchRequest request;
  request.set_run_id(run.id());
  request.set_logs(true);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        Watcher watcher(channel(), cookie_, request);
        watcher.next(kAny);
      }
    });
  }
  for (int i = 0; i < 50; ++i) agent->send_lines(prep.attempt_id(), "stdout", {"line"});
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(log(run.id()).size(), 50U);
}

}  // namespace
}  // namespace slipway::test
