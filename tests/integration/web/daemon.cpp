#include "tests/integration/web/daemon.h"

#include <fcntl.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "slipway/v1/error.pb.h"

namespace slipway {
namespace {

using nlohmann::json;

const std::string kProgram = SLIPWAY_BINARY_DIR "/bin/slipwayd";

pid_t start(const std::vector<std::string>& arguments, int output) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t process = fork();
  if (process == 0) {
    dup2(output, 1);
    dup2(output, 2);
    execv(argv[0], argv.data());
    _exit(127);
  }
  return process;
}

int exit_status(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status); }

void read_details(const std::string& bytes, Daemon::Outcome& outcome) {
  v1::Status details;
  v1::ErrorDetail detail;
  if (!details.ParseFromString(bytes) || details.details().empty() || !details.details(0).UnpackTo(&detail)) return;
  outcome.detailed = true;
  outcome.reason = detail.reason();
  outcome.field = detail.field();
  outcome.advice = detail.advice();
}

grpc::StatusCode code_of(const std::string& name) {
  static const std::map<std::string, grpc::StatusCode> kCodes = {{"canceled", grpc::CANCELLED},
                                                                 {"unknown", grpc::UNKNOWN},
                                                                 {"invalid_argument", grpc::INVALID_ARGUMENT},
                                                                 {"deadline_exceeded", grpc::DEADLINE_EXCEEDED},
                                                                 {"not_found", grpc::NOT_FOUND},
                                                                 {"already_exists", grpc::ALREADY_EXISTS},
                                                                 {"permission_denied", grpc::PERMISSION_DENIED},
                                                                 {"resource_exhausted", grpc::RESOURCE_EXHAUSTED},
                                                                 {"failed_precondition", grpc::FAILED_PRECONDITION},
                                                                 {"aborted", grpc::ABORTED},
                                                                 {"out_of_range", grpc::OUT_OF_RANGE},
                                                                 {"unimplemented", grpc::UNIMPLEMENTED},
                                                                 {"internal", grpc::INTERNAL},
                                                                 {"unavailable", grpc::UNAVAILABLE},
                                                                 {"data_loss", grpc::DATA_LOSS},
                                                                 {"unauthenticated", grpc::UNAUTHENTICATED}};
  const auto found = kCodes.find(name);
  return found == kCodes.end() ? grpc::UNKNOWN : found->second;
}

Daemon::Outcome outcome_of_error(const json& error) {
  Daemon::Outcome outcome;
  outcome.code = code_of(error.value("code", ""));
  outcome.message = error.value("message", "");
  for (const json& detail : error.value("details", json::array())) {
    if (detail.value("type", "") != "slipway.v1.ErrorDetail") continue;
    outcome.detailed = true;
    outcome.reason = detail["debug"].value("reason", "");
    outcome.field = detail["debug"].value("field", "");
    outcome.advice = detail["debug"].value("advice", "");
  }
  return outcome;
}

}  // namespace

Ended run_to_end(const std::vector<std::string>& arguments) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  const pid_t process = start(arguments, ends[1]);
  close(ends[1]);
  Ended ended;
  char buffer[4096];
  for (ssize_t got = 0; (got = read(ends[0], buffer, sizeof buffer)) > 0;)
    ended.output.append(buffer, static_cast<size_t>(got));
  close(ends[0]);
  int status = 0;
  waitpid(process, &status, 0);
  ended.status = exit_status(status);
  return ended;
}

Daemon::Daemon(const std::filesystem::path& data, const std::vector<std::string>& more_flags) : data_(data) {
  std::filesystem::remove(data / "slipwayd.json");
  std::vector<std::string> arguments = {kProgram,        "--data",      data.string(),
                                        "--grpc-listen", "127.0.0.1:0", "--web-listen",
                                        "127.0.0.1:0",   "--workflows", SLIPWAY_SOURCE_DIR "/workflows"};
  arguments.insert(arguments.end(), more_flags.begin(), more_flags.end());
  std::filesystem::create_directories(data);
  const int log = open((data.string() + ".log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  process_ = start(arguments, log);
  close(log);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!std::filesystem::exists(data / "slipwayd.json")) {
    int status = 0;
    if (waitpid(process_, &status, WNOHANG) == process_ || std::chrono::steady_clock::now() > deadline) {
      process_ = -1;
      throw std::runtime_error("slipwayd did not start: " + base::read_file(data.string() + ".log"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  const json facts = json::parse(base::read_file(data / "slipwayd.json"));
  const std::string web = facts["web"];
  web_port_ = std::stoi(web.substr(web.rfind(':') + 1));
  channel_ = grpc::CreateChannel(facts["grpc"], grpc::InsecureChannelCredentials());
}

Daemon::~Daemon() {
  if (process_ > 0) stop(SIGKILL);
}

int Daemon::stop(int signal) {
  channel_.reset();
  kill(process_, signal);
  int status = 0;
  waitpid(process_, &status, 0);
  process_ = -1;
  return exit_status(status);
}

std::string Daemon::set_up() {
  const std::string link = base::read_file(data_ / "setup-link");
  const std::string token = link.substr(link.find("token=") + 6, 43);
  call("AuthService/CompleteSetup", {{"setupToken", token}, {"userName", "ada"}, {"password", "0123456789"}}, "");
  return call("AuthService/SignIn", {{"userName", "ada"}, {"password", "0123456789"}, {"apiTokenName", "test"}},
              "")["apiToken"];
}

Daemon::Outcome Daemon::call_grpc(const std::string& service, const std::string& method, const std::string& token,
                                  const google::protobuf::Message& request, std::string* response) const {
  grpc::GenericStub stub(channel_);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
  const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(60);
  context.set_deadline(deadline);
  const auto call = stub.PrepareCall(&context, "/" + service + "/" + method, &queue);
  const auto step = [&] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  call->StartCall(nullptr);
  step();
  const grpc::Slice slice(request.SerializeAsString());
  call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
  step();
  grpc::ByteBuffer first;
  call->Read(&first, nullptr);
  const bool came = step();
  if (came) {
    std::vector<grpc::Slice> slices;
    (void)first.Dump(&slices);
    if (response != nullptr) {
      for (const grpc::Slice& piece : slices)
        response->append(reinterpret_cast<const char*>(piece.begin()), piece.size());
    }
    context.TryCancel();
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  step();
  queue.Shutdown();
  while (step()) {
  }
  Outcome outcome;
  if (came) return outcome;
  outcome.code = status.error_code();
  outcome.message = status.error_message();
  read_details(status.error_details(), outcome);
  return outcome;
}

Daemon::Outcome Daemon::call_http(const std::string& service, const std::string& method, bool streams,
                                  const std::string& token, const std::string& text, json* response) const {
  std::string headers = std::string("Content-Type: application/") + (streams ? "connect+json" : "json") + "\r\n";
  if (!token.empty()) headers += "Authorization: Bearer " + token + "\r\n";
  std::string body = text;
  if (streams) {
    body = std::string(5, '\0') + text;
    body[4] = static_cast<char>(text.size());
  }
  const std::string target = "/api/" + service + "/" + method;
  if (!streams) {
    const web::Reply reply = web::fetch(web_port_, "POST", target, headers, body);
    const json answer = json::parse(reply.body, nullptr, false);
    if (reply.status == 200) {
      if (response != nullptr) *response = answer;
      return {};
    }
    Outcome outcome =
        answer.is_object() ? outcome_of_error(answer) : Outcome{grpc::UNKNOWN, reply.body, "", "", "", false};
    if (outcome.code == grpc::OK) outcome.code = grpc::UNKNOWN;
    return outcome;
  }
  web::HttpClient client(web_port_);
  client.send("POST " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + headers +
              "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  const std::string head = client.read_until("\r\n\r\n");
  if (head.find(" 200 ") == std::string::npos) return {grpc::UNKNOWN, head, "", "", "", false};
  // The first chunk holds at least the first envelope; a message or the end.
  const std::string size = client.read_until("\r\n");
  const std::string chunk = client.read_until("}\r\n");
  if (size.empty() || chunk.size() < 6) return {grpc::UNKNOWN, "no envelope", "", "", "", false};
  const json message = json::parse(chunk.substr(5), nullptr, false);
  if (chunk[0] == 0) {
    if (response != nullptr) *response = message;
    return {};
  }
  return message.contains("error") ? outcome_of_error(message["error"]) : Outcome();
}

json Daemon::call(const std::string& method, const json& request, const std::string& token) const {
  json response;
  const size_t slash = method.find('/');
  const Outcome outcome = call_http("slipway.v1." + method.substr(0, slash), method.substr(slash + 1), false, token,
                                    request.dump(), &response);
  EXPECT_EQ(outcome.code, grpc::OK) << method << ": " << outcome.message;
  return response;
}

}  // namespace slipway
