#include "backend/web/json_gateway.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "backend/service/caller.h"
#include "backend/web/connect_protocol.h"
#include "backend/web/session_cookie.h"

namespace slipway::web {
namespace {

using google::protobuf::Message;
using google::protobuf::MethodDescriptor;
using grpc::StatusCode;

constexpr int64_t kDefaultUnaryTimeoutMs = 10 * 60 * 1000;
constexpr size_t kMaxSecretBytes = 200;
constexpr char kUnaryType[] = "application/json";
constexpr char kStreamType[] = "application/connect+json";

std::unique_ptr<Message> new_message(const google::protobuf::Descriptor* type) {
  return std::unique_ptr<Message>(google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
}

// JSON text -> the bytes of a message of `type`.
grpc::Status to_bytes(std::string_view json, const google::protobuf::Descriptor* type, grpc::ByteBuffer& bytes) {
  const std::unique_ptr<Message> message = new_message(type);
  if (!json.empty()) {
    const auto status = google::protobuf::util::JsonStringToMessage({json.data(), json.size()}, message.get());
    if (!status.ok()) {
      return gateway_error(StatusCode::INVALID_ARGUMENT,
                           "the request is no JSON of " + type->full_name() + ": " + std::string(status.message()),
                           "INVALID_JSON", "see the message's fields in slipway.v1");
    }
  }
  const grpc::Slice slice(message->SerializeAsString());
  bytes = grpc::ByteBuffer(&slice, 1);
  return grpc::Status::OK;
}

grpc::Status to_json(const grpc::ByteBuffer& bytes, const google::protobuf::Descriptor* type, std::string& json) {
  const std::unique_ptr<Message> message = new_message(type);
  std::vector<grpc::Slice> slices;
  std::string whole;
  if (!bytes.Dump(&slices).ok()) return {StatusCode::INTERNAL, "the response could not be read"};
  for (const grpc::Slice& slice : slices) whole.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  if (!message->ParseFromString(whole) || !google::protobuf::util::MessageToJsonString(*message, &json).ok()) {
    return gateway_error(StatusCode::INTERNAL, "the response is no " + type->full_name(), "INVALID_RESPONSE",
                         "report this with slipwayd's log");
  }
  return grpc::Status::OK;
}

void respond_error(const ExchangePointer& exchange, const grpc::Status& status, std::vector<Header> headers = {}) {
  headers.push_back({"Content-Type", kUnaryType});
  headers.push_back({"Cache-Control", "no-store"});
  exchange->respond({http_status_of(status.error_code()), std::move(headers), connect_error_json(status)});
}

// The same in the shape that the method's callers expect: a stream says at its end how it went.
void respond_error(const ExchangePointer& exchange, const MethodDescriptor& method, const grpc::Status& status) {
  if (!method.server_streaming()) return respond_error(exchange, status);
  exchange->begin(200, {{"Content-Type", kStreamType}, {"Cache-Control", "no-store"}}, -1);
  exchange->write(envelope(kEndOfStream, end_of_stream_json(status)), nullptr);
  exchange->end();
}

// gRPC ends the program when metadata holds other bytes.
bool fit_for_metadata(const std::string& text) {
  return !text.empty() && text.size() <= kMaxSecretBytes &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; });
}

// Passes on what says who calls, and nothing else of the browser's headers.
void fill_context(grpc::ClientContext& context, const RequestHead& head) {
  const service::Credentials credentials = credentials_of(head);
  if (fit_for_metadata(credentials.session)) {
    context.AddMetadata("cookie", std::string(service::kSessionCookie) + "=" + credentials.session);
  }
  if (fit_for_metadata(credentials.bearer)) context.AddMetadata("authorization", "Bearer " + credentials.bearer);
}

// The session's cookie gets the name that the browser is to know it by.
std::vector<Header> cookies(const grpc::ClientContext& context, const RequestHead& head) {
  std::vector<Header> headers;
  const std::string inner = std::string(service::kSessionCookie) + "=";
  const auto [begin, end] = context.GetServerInitialMetadata().equal_range("set-cookie");
  for (auto it = begin; it != end; ++it) {
    std::string cookie(it->second.data(), it->second.size());
    if (cookie.rfind(inner, 0) == 0) cookie = session_cookie_name(head) + "=" + cookie.substr(inner.size());
    headers.push_back({"Set-Cookie", std::move(cookie)});
  }
  return headers;
}

struct UnaryCall {
  UnaryCall(JsonGateway& gateway, ExchangePointer exchange_, const MethodDescriptor& method_)
      : ticket(gateway), exchange(std::move(exchange_)), method(method_) {}
  JsonGateway::Ticket ticket;
  ExchangePointer exchange;
  const MethodDescriptor& method;
  grpc::ClientContext context;
  grpc::ByteBuffer request;
  grpc::ByteBuffer response;

  // On a thread of gRPC.
  void finish(grpc::Status status) {
    std::string json;
    if (status.ok()) status = to_json(response, method.output_type(), json);
    std::vector<Header> headers = cookies(context, exchange->head());
    exchange->resume([to = exchange, status, json = std::move(json), headers = std::move(headers)]() mutable {
      if (!status.ok()) return respond_error(to, status, std::move(headers));
      headers.push_back({"Content-Type", kUnaryType});
      headers.push_back({"Cache-Control", "no-store"});
      to->respond({200, std::move(headers), std::move(json)});
    });
  }
};

// A server stream: reads a message when the one before is on its way to the client. Owns itself until OnDone.
class StreamCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  StreamCall(JsonGateway& gateway, ExchangePointer exchange, const MethodDescriptor& method)
      : ticket_(gateway), exchange_(std::move(exchange)), method_(method) {}

  void start(grpc::GenericStub& stub, const std::string& name, grpc::ByteBuffer request,
             std::shared_ptr<StreamCall> self) {
    self_ = std::move(self);
    request_ = std::move(request);
    exchange_->on_closed([call = self_] {
      call->context_.TryCancel();
      if (std::exchange(call->writing_, false)) call->RemoveHold();
    });
    stub.PrepareBidiStreamingCall(&context_, name, {}, this);
    StartWriteLast(&request_, grpc::WriteOptions());
    // Reads are also started from the I/O thread, outside the reactions.
    AddHold();
    StartRead(&response_);
    StartCall();
  }

  grpc::ClientContext& context() { return context_; }

  void OnReadDone(bool ok) override {
    if (!ok) {
      RemoveHold();
      return;
    }
    std::string json;
    const grpc::Status status = to_json(response_, method_.output_type(), json);
    if (!status.ok()) {
      conversion_ = status;
      context_.TryCancel();
      RemoveHold();
      return;
    }
    exchange_->resume([self = self_, text = envelope(0, json)]() mutable {
      if (self->exchange_->closed()) return self->RemoveHold();
      self->writing_ = true;
      self->exchange_->write(std::move(text), [self] {
        if (std::exchange(self->writing_, false)) self->read_next();
      });
    });
  }

  void OnDone(const grpc::Status& status) override {
    const grpc::Status result = conversion_.value_or(status);
    exchange_->resume([to = exchange_, result] {
      to->write(envelope(kEndOfStream, end_of_stream_json(result)), nullptr);
      to->end();
    });
    const auto self = std::move(self_);
  }

 private:
  void read_next() {
    response_.Clear();
    StartRead(&response_);
  }

  JsonGateway::Ticket ticket_;
  ExchangePointer exchange_;
  const MethodDescriptor& method_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  std::optional<grpc::Status> conversion_;
  bool writing_ = false;  // on the I/O thread: a message is on its way to the client, and no read is under way
  std::shared_ptr<StreamCall> self_;
};

// /api/slipway.v1.RunService/GetRun -> its descriptor, or null.
const MethodDescriptor* find_method(std::string_view path) {
  path.remove_prefix(JsonGateway::kPrefix.size());
  const size_t slash = path.find('/');
  if (slash == std::string_view::npos || path.substr(0, slash).find("slipway.v1.") != 0) return nullptr;
  const auto* service =
      google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(std::string(path.substr(0, slash)));
  return service == nullptr ? nullptr : service->FindMethodByName(std::string(path.substr(slash + 1)));
}

}  // namespace

JsonGateway::Ticket::Ticket(JsonGateway& gateway) : gateway_(gateway) {
  const std::lock_guard lock(gateway_.mutex_);
  ++gateway_.calls_;
}

JsonGateway::Ticket::~Ticket() {
  const std::lock_guard lock(gateway_.mutex_);
  if (--gateway_.calls_ == 0) gateway_.idle_.notify_all();
}

JsonGateway::~JsonGateway() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [&] { return calls_ == 0; });
}

void JsonGateway::handle(const ExchangePointer& exchange) {
  const RequestHead& head = exchange->head();
  const MethodDescriptor* method = find_method(head.path);
  if (method == nullptr) {
    return respond_error(exchange, gateway_error(StatusCode::UNIMPLEMENTED, "there is no method " + head.path,
                                                 "UNKNOWN_METHOD", "call /api/slipway.v1.Service/Method"));
  }
  if (head.method != "POST") {
    return exchange->respond({405, {{"Allow", "POST"}}, ""});
  }
  if (method->client_streaming()) {
    return respond_error(
        exchange, *method,
        gateway_error(StatusCode::UNIMPLEMENTED, method->full_name() + " streams requests, which JSON over HTTP cannot",
                      "CLIENT_STREAMING", "call it over gRPC"));
  }
  const char* type = method->server_streaming() ? kStreamType : kUnaryType;
  if (!has_media_type(head.header("content-type"), type)) {
    return exchange->respond({415,
                              {{"Accept-Post", type}, {"Content-Type", "text/plain; charset=utf-8"}},
                              std::string("Send ") + type + ".\n"});
  }
  const std::string_view encoding =
      head.header(method->server_streaming() ? "connect-content-encoding" : "content-encoding");
  if (!encoding.empty() && encoding != "identity") {
    return respond_error(exchange, *method,
                         gateway_error(StatusCode::UNIMPLEMENTED, "compressed requests are not supported",
                                       "COMPRESSED_REQUEST", "send the request as it is"));
  }
  exchange->read_body(kMaxRpcRequestBytes,
                      [this, exchange, method](std::string body) { call(exchange, *method, std::move(body)); });
}

void JsonGateway::call(const ExchangePointer& exchange, const MethodDescriptor& method, std::string body) {
  const RequestHead& head = exchange->head();
  const std::string name = "/" + method.service()->full_name() + "/" + method.name();
  const bool streams = method.server_streaming();
  std::string_view payload = body;
  std::optional<int64_t> timeout_ms;
  grpc::ByteBuffer request;
  grpc::Status status = parse_timeout(head.header("connect-timeout-ms"), timeout_ms);
  if (status.ok() && streams) status = open_envelope(body, payload);
  if (status.ok()) status = to_bytes(payload, method.input_type(), request);
  if (!status.ok()) return respond_error(exchange, method, status);
  const auto deadline = [&](int64_t milliseconds) {
    return std::chrono::system_clock::now() + std::chrono::milliseconds(milliseconds);
  };
  if (streams) {
    exchange->begin(200, {{"Content-Type", kStreamType}, {"Cache-Control", "no-store"}}, -1);
    auto stream = std::make_shared<StreamCall>(*this, exchange, method);
    fill_context(stream->context(), head);
    if (timeout_ms) stream->context().set_deadline(deadline(*timeout_ms));
    StreamCall& started = *stream;
    started.start(stub_, name, std::move(request), std::move(stream));
    return;
  }
  auto unary = std::make_shared<UnaryCall>(*this, exchange, method);
  unary->request = std::move(request);
  fill_context(unary->context, head);
  unary->context.set_deadline(deadline(timeout_ms.value_or(kDefaultUnaryTimeoutMs)));
  exchange->on_closed([unary] { unary->context.TryCancel(); });
  UnaryCall& started = *unary;
  stub_.UnaryCall(&started.context, name, {}, &started.request, &started.response,
                  [unary](grpc::Status result) { unary->finish(std::move(result)); });
}

}  // namespace slipway::web
