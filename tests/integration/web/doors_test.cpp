// Every method of every service through both doors, gRPC and JSON over HTTP: who may call it, what an empty request
// gives, and that both doors say the same.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/empty.pb.h>
#include <gtest/gtest.h>

#include <set>

#include "slipway/v1/agent.pb.h"
#include "tests/integration/web/daemon.h"

namespace slipway {
namespace {

using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

// Anybody may call these.
const std::set<std::string> kOpen = {"slipway.v1.AuthService.GetSetupState", "slipway.v1.AuthService.CompleteSetup",
                                     "slipway.v1.AuthService.SignIn", "slipway.v1.AgentService.Join"};
// Nodes may call these, and users may not call the first.
const std::set<std::string> kForNodes = {"slipway.v1.AgentService.Session"};
const std::set<std::string> kForNodesToo = {"slipway.v1.ArtifactService"};

std::vector<const MethodDescriptor*> all_methods() {
  std::vector<const MethodDescriptor*> methods;
  for (const auto& entry : std::filesystem::directory_iterator(SLIPWAY_SOURCE_DIR "/backend/proto/slipway/v1")) {
    const auto* file = google::protobuf::DescriptorPool::generated_pool()->FindFileByName(
        "slipway/v1/" + entry.path().filename().string());
    if (file == nullptr) continue;
    for (int i = 0; i < file->service_count(); ++i) {
      for (int k = 0; k < file->service(i)->method_count(); ++k) methods.push_back(file->service(i)->method(k));
    }
  }
  return methods;
}

class DoorsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new base::TemporaryFolder;
    daemon_ = new Daemon(folder_->path() / "data");
    token_ = new std::string(daemon_->set_up());
    v1::JoinRequest join;
    std::string join_token = base::read_file(daemon_->data() / "local-join-token");
    join.set_join_token(join_token.substr(0, join_token.find('\n')));
    join.mutable_facts()->set_name("test");
    join.mutable_facts()->add_devices()->set_id("cpu");
    std::string bytes;
    const auto outcome = daemon_->call_grpc("slipway.v1.AgentService", "Join", "", join, &bytes);
    ASSERT_EQ(outcome.code, grpc::OK) << outcome.message;
    v1::JoinResponse joined;
    ASSERT_TRUE(joined.ParseFromString(bytes));
    node_token_ = new std::string(joined.node_token());
  }
  static void TearDownTestSuite() {
    EXPECT_EQ(daemon_->stop(SIGTERM), 0) << base::read_file(daemon_->data().string() + ".log");
    delete daemon_;
    delete folder_;
    delete token_;
    delete node_token_;
  }

  static Daemon::Outcome by_grpc(const MethodDescriptor* method, const std::string& token) {
    return daemon_->call_grpc(method->service()->full_name(), method->name(), token, google::protobuf::Empty());
  }
  static Daemon::Outcome by_http(const MethodDescriptor* method, const std::string& token) {
    return daemon_->call_http(method->service()->full_name(), method->name(), method->server_streaming(), token,
                              method->server_streaming() ? "{}" : "{}");
  }
  // Some methods use their token up (SignOut).
  static std::string fresh_token() {
    return daemon_->call("AuthService/CreateApiToken", {{"name", "walk"}}, *token_)["secret"];
  }

  static base::TemporaryFolder* folder_;
  static Daemon* daemon_;
  static std::string* token_;
  static std::string* node_token_;
};
base::TemporaryFolder* DoorsTest::folder_;
Daemon* DoorsTest::daemon_;
std::string* DoorsTest::token_;
std::string* DoorsTest::node_token_;

TEST_F(DoorsTest, TheWalkSeesEveryService) {
  std::set<std::string> services;
  for (const MethodDescriptor* method : all_methods()) services.insert(method->service()->name());
  EXPECT_THAT(services, testing::IsSupersetOf({"AgentService", "ArtifactService", "AuthService", "DatasetService",
                                               "DeploymentService", "EventService", "ModelService", "NodeService",
                                               "RunService", "WorkflowService"}));
}

TEST_F(DoorsTest, StrangersAreRefusedEverywhereButAtTheOpenMethods) {
  for (const MethodDescriptor* method : all_methods()) {
    SCOPED_TRACE(method->full_name());
    const Daemon::Outcome outcome = by_grpc(method, "");
    if (kOpen.contains(method->full_name())) {
      EXPECT_NE(outcome.reason, "NOT_SIGNED_IN");
    } else {
      EXPECT_EQ(outcome.code, grpc::UNAUTHENTICATED) << outcome.message;
      EXPECT_FALSE(outcome.advice.empty());
    }
    if (method->client_streaming()) continue;
    EXPECT_EQ(by_http(method, ""), outcome);
    if (!kOpen.contains(method->full_name())) {
      EXPECT_EQ(by_grpc(method, "slw_not-a-token").code, grpc::UNAUTHENTICATED);
      EXPECT_EQ(by_http(method, "slk_not-a-token").code, grpc::UNAUTHENTICATED);
    }
  }
}

TEST_F(DoorsTest, AnEmptyRequestGivesACleanAnswerAndBothDoorsAgree) {
  for (const MethodDescriptor* method : all_methods()) {
    SCOPED_TRACE(method->full_name());
    const Daemon::Outcome outcome = by_grpc(method, fresh_token());
    EXPECT_TRUE(outcome.code == grpc::OK || outcome.code == grpc::INVALID_ARGUMENT || outcome.code == grpc::NOT_FOUND ||
                outcome.code == grpc::FAILED_PRECONDITION || outcome.code == grpc::PERMISSION_DENIED ||
                outcome.code == grpc::UNAUTHENTICATED)
        << outcome.code << " " << outcome.message;
    if (outcome.code != grpc::OK) {
      EXPECT_TRUE(outcome.detailed) << outcome.message;
      EXPECT_FALSE(outcome.message.empty());
      EXPECT_FALSE(outcome.reason.empty()) << outcome.message;
      EXPECT_FALSE(outcome.advice.empty()) << outcome.message;
    }
    if (kForNodes.contains(method->full_name())) {
      EXPECT_EQ(outcome.code, grpc::PERMISSION_DENIED);
    }
    const Daemon::Outcome http = by_http(method, fresh_token());
    if (method->client_streaming()) {
      EXPECT_EQ(http.code, grpc::UNIMPLEMENTED);
      continue;
    }
    EXPECT_EQ(http.code, outcome.code) << http.message;
    EXPECT_EQ(http.message, outcome.message);
    EXPECT_EQ(http.reason, outcome.reason);
    EXPECT_EQ(http.field, outcome.field);
    EXPECT_EQ(http.advice, outcome.advice);
  }
}

TEST_F(DoorsTest, NodesMayCallWhatIsForNodesAlone) {
  for (const MethodDescriptor* method : all_methods()) {
    SCOPED_TRACE(method->full_name());
    if (kOpen.contains(method->full_name()) || kForNodes.contains(method->full_name())) continue;
    const Daemon::Outcome outcome = by_grpc(method, *node_token_);
    if (kForNodesToo.contains(method->service()->full_name())) {
      EXPECT_NE(outcome.code, grpc::PERMISSION_DENIED);
      EXPECT_NE(outcome.code, grpc::UNAUTHENTICATED);
    } else {
      EXPECT_EQ(outcome.code, grpc::PERMISSION_DENIED) << outcome.message;
    }
  }
}

TEST_F(DoorsTest, WhatIsNoMethodOrNoRequestIsSaidAlike) {
  EXPECT_EQ(daemon_->call_grpc("slipway.v1.RunService", "Nothing", *token_, google::protobuf::Empty()).code,
            grpc::UNIMPLEMENTED);
  for (const char* service : {"slipway.v1.RunService", "slipway.v1.Nothing", "grpc.health.v1.Health"}) {
    EXPECT_EQ(daemon_->call_http(service, "Nothing", false, *token_, "{}").code, grpc::UNIMPLEMENTED);
  }
  for (const char* broken : {"{", "[]", "5", "{\"no_such_field\":1}", "{\"page\":{\"pageSize\":\"x\"}}", "\xff"}) {
    const auto outcome = daemon_->call_http("slipway.v1.RunService", "ListRuns", false, *token_, broken);
    EXPECT_EQ(outcome.code, grpc::INVALID_ARGUMENT) << broken;
    EXPECT_EQ(outcome.reason, "INVALID_JSON") << broken;
  }
  std::string deep = "{}";
  for (int i = 0; i < 5000; ++i) deep = "{\"page\":" + deep + "}";
  EXPECT_EQ(daemon_->call_http("slipway.v1.RunService", "ListRuns", false, *token_, deep).code, grpc::INVALID_ARGUMENT);
}

TEST_F(DoorsTest, PagesAreBoundedInEveryList) {
  for (const MethodDescriptor* method : all_methods()) {
    const auto* page = method->input_type()->FindFieldByName("page");
    if (page == nullptr || page->message_type() == nullptr ||
        page->message_type()->full_name() != "slipway.v1.PageRequest")
      continue;
    if (method->input_type()->field_count() > 1) continue;  // lists of one thing need that thing first
    SCOPED_TRACE(method->full_name());
    const std::string& service = method->service()->full_name();
    EXPECT_EQ(daemon_->call_http(service, method->name(), false, *token_, R"({"page":{"pageSize":100000}})").code,
              grpc::OK);
    EXPECT_EQ(daemon_->call_http(service, method->name(), false, *token_, R"({"page":{"pageSize":-1}})").field,
              "page.page_size");
    EXPECT_EQ(daemon_->call_http(service, method->name(), false, *token_, R"({"page":{"pageToken":"x"}})").field,
              "page.page_token");
    EXPECT_EQ(daemon_->call_http(service, method->name(), false, *token_, R"({"page":{"filter":"nonsense:1"}})").field,
              "page.filter");
  }
}

}  // namespace
}  // namespace slipway
