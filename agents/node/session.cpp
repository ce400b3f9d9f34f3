#include "agents/node/session.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>
#include <thread>
#include <utility>

#include "agents/node/attempts.h"
#include "agents/node/rpc_status.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::node {
namespace {

using Stream = grpc::ClientReaderWriter<v1::AgentMessage, v1::BackendMessage>;

bool is_refusal(const absl::Status& status) {
  return absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status);
}

void dispatch(const v1::BackendMessage& message, Attempts& attempts, uint64_t session) {
  switch (message.message_case()) {
    case v1::BackendMessage::kStart:
      return attempts.start(message.start(), session);
    case v1::BackendMessage::kStop:
      return attempts.stop(message.stop().attempt_id(), message.stop().grace_seconds(), message.stop().keep());
    case v1::BackendMessage::kAcknowledged:
      return attempts.acknowledged(message.acknowledged());
    case v1::BackendMessage::kRelease:
      return attempts.release(message.release().attempt_id());
    case v1::BackendMessage::kMeet:
      return attempts.meet(message.meet());
    case v1::BackendMessage::kSetAdapters:
      return attempts.set_adapters(message.set_adapters(), session);
    case v1::BackendMessage::kWelcome:
    case v1::BackendMessage::MESSAGE_NOT_SET:  // of a newer backend
      return;
  }
}

}  // namespace

Session::Session(std::shared_ptr<grpc::Channel> channel, SessionOptions options, v1::NodeFacts facts)
    : options_(std::move(options)),
      facts_(std::move(facts)),
      stub_(v1::AgentService::NewStub(std::move(channel))),
      identity_(Identity::load(options_.identity_file)) {}

Session::~Session() = default;

std::string Session::node_token() const {
  const std::lock_guard lock(mutex_);
  return identity_ ? identity_->node_token : "";
}

bool Session::send(uint64_t session, v1::AgentMessage message) {
  {
    const std::lock_guard lock(mutex_);
    if (session == 0 || session != session_) return false;
    outgoing_.push_back(std::move(message));
  }
  changed_.notify_all();
  return true;
}

absl::Status Session::run(Attempts& attempts, const std::function<v1::NodeSample()>& sample,
                          Cancellation& cancellation) {
  Cancellation ticking;
  std::thread ticker([&] {
    sample();  // rates take a reading before the first that is sent
    while (ticking.sleep_for(options_.sample_interval)) {
      std::vector<v1::AgentMessage> messages(1);
      *messages.front().mutable_sample() = sample();
      for (auto& message : attempts.sample_replicas()) messages.push_back(std::move(message));
      {
        const std::lock_guard lock(mutex_);
        for (auto& message : messages) {
          (session_ != 0 ? outgoing_ : samples_).push_back(std::move(message));
          if (samples_.size() > kMostSamplesKept) samples_.pop_front();
        }
      }
      changed_.notify_all();
      attempts.collect();
    }
  });

  std::mt19937 random{std::random_device{}()};
  auto pause = options_.first_pause;
  absl::Status verdict;
  while (!cancellation.cancelled()) {
    bool welcomed = false;
    const auto status = run_once(attempts, cancellation, welcomed);
    if (cancellation.cancelled()) break;
    if (absl::IsFailedPrecondition(status) && !welcomed) {
      verdict = status;
      break;
    }
    if (welcomed) pause = options_.first_pause;
    const auto jittered = std::chrono::milliseconds(
        std::uniform_int_distribution<int64_t>(pause.count() / 2, pause.count() * 3 / 2)(random));
    spdlog::warn("no session with the backend reason=\"{}\" retry_ms={}", std::string(status.message()),
                 jittered.count());
    if (!cancellation.sleep_for(jittered)) break;
    pause = std::min(pause * 2, options_.longest_pause);
  }
  ticking.cancel();
  ticker.join();
  return verdict;
}

absl::Status Session::join(Cancellation& cancellation) {
  v1::JoinRequest request;
  request.set_join_token(options_.join_token());
  if (request.join_token().empty() && options_.join_token_may_change) {
    return absl::UnavailableError("the file with the join token is not there yet");
  }
  if (request.join_token().empty()) {
    return absl::FailedPreconditionError(
        "this node has no token of its own and no join token; get one from the console (Nodes, Add a node) or, on the "
        "backend's machine, give --join-file DATA/local-join-token");
  }
  *request.mutable_facts() = facts_;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  const Cancellation::Scope scope(cancellation, [&] { context.TryCancel(); });
  v1::JoinResponse response;
  const auto status = to_absl(stub_->Join(&context, request, &response));
  if (is_refusal(status) || absl::IsInvalidArgument(status)) {
    const std::string message = "the backend does not take the join token: " + std::string(status.message());
    return options_.join_token_may_change ? absl::UnavailableError(message) : absl::FailedPreconditionError(message);
  }
  if (!status.ok()) return status;
  const Identity identity{response.node_id(), response.node_token()};
  try {
    identity.save(options_.identity_file);
  } catch (const base::Error& error) {
    return absl::FailedPreconditionError(error.what());
  }
  spdlog::info("joined node={}", identity.node_id);
  const std::lock_guard lock(mutex_);
  identity_ = identity;
  return absl::OkStatus();
}

absl::Status Session::run_once(Attempts& attempts, Cancellation& cancellation, bool& welcomed) {
  if (node_token().empty()) {
    const auto joined = join(cancellation);
    if (!joined.ok()) return joined;
  }
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + node_token());
  const Cancellation::Scope scope(cancellation, [&] { context.TryCancel(); });
  const auto stream = stub_->Session(&context);
  v1::AgentMessage hello;
  *hello.mutable_hello()->mutable_facts() = facts_;
  for (auto& status : attempts.statuses()) *hello.mutable_hello()->add_attempts() = std::move(status);
  v1::BackendMessage message;
  const bool answered = stream->Write(hello) && stream->Read(&message);
  if (answered && message.has_welcome()) {
    welcomed = true;
    uint64_t session = 0;
    {
      const std::lock_guard lock(mutex_);
      session = session_ = ++last_session_;
      outgoing_.swap(samples_);
      samples_.clear();
    }
    spdlog::info("session with the backend open node={} attempts={}", message.welcome().node_id(), attempts.size());
    attempts.connected(session, message.welcome());
    std::thread writer([&] {
      if (!write_loop(*stream)) context.TryCancel();
    });
    while (stream->Read(&message)) dispatch(message, attempts, session);
    {
      const std::lock_guard lock(mutex_);
      session_ = 0;
      outgoing_.clear();
    }
    changed_.notify_all();
    writer.join();  // the stream is over: a write in progress fails
    attempts.disconnected();
  } else if (answered) {
    context.TryCancel();  // not our protocol
  }
  const auto status = to_absl(stream->Finish());
  if (is_refusal(status) && !cancellation.cancelled()) {
    if (options_.join_token().empty()) {
      return absl::FailedPreconditionError("the backend does not know this node any more (" +
                                           std::string(status.message()) + "); join it again with --join TOKEN");
    }
    spdlog::warn("the backend does not know this node any more: joining again");
    const std::lock_guard lock(mutex_);
    identity_.reset();
  }
  return status.ok() ? absl::UnavailableError("the backend closed the session") : status;
}

bool Session::write_loop(Stream& stream) {
  while (true) {
    v1::AgentMessage message;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return session_ == 0 || !outgoing_.empty(); });
      if (session_ == 0) return true;
      message = std::move(outgoing_.front());
      outgoing_.pop_front();
    }
    if (!stream.Write(message)) return false;
  }
}

std::shared_ptr<grpc::Channel> make_channel(const std::string& address, const std::filesystem::path& tls_ca) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 3'000);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(64 << 20);
  if (tls_ca.empty()) return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = base::read_file(tls_ca, 1 << 20);
  return grpc::CreateCustomChannel(address, grpc::SslCredentials(tls), arguments);
}

}  // namespace slipway::node
