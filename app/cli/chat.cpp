#include "app/cli/chat.h"

#include <curl/curl.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "app/cli/failure.h"

namespace slipway::cli {
namespace {

constexpr size_t kMostBodyBytes = 1 << 20;  // of an answer that is no stream

struct Transfer {
  CURL* curl;
  ChatStream stream;
  std::string body;  // when the answer is an error
};

size_t on_bytes(char* data, size_t size, size_t count, void* target) {
  auto* transfer = static_cast<Transfer*>(target);
  long status = 0;
  curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
  if (status == 200) {
    transfer->stream.feed(std::string(data, size * count));
  } else if (transfer->body.size() < kMostBodyBytes) {
    transfer->body.append(data, size * count);
  }
  return size * count;
}

Exit exit_of(long status) {
  if (status == 401 || status == 403) return Exit::kNotSignedIn;
  if (status == 404) return Exit::kNotFound;
  if (status == 400 || status == 422) return Exit::kUsage;
  if (status == 502 || status == 503 || status == 504) return Exit::kUnavailable;
  return Exit::kFailed;
}

}  // namespace

void ChatStream::feed(const std::string& bytes) {
  pending_ += bytes;
  size_t start = 0;
  for (size_t end = pending_.find('\n'); end != std::string::npos; end = pending_.find('\n', start)) {
    std::string line = pending_.substr(start, end - start);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    take_line(line);
    start = end + 1;
  }
  pending_.erase(0, start);
}

void ChatStream::take_line(const std::string& line) {
  if (line.rfind("data:", 0) != 0) return;
  const std::string data =
      line.substr(line.find_first_not_of(' ', 5) == std::string::npos ? line.size() : line.find_first_not_of(' ', 5));
  if (data == "[DONE]") return;
  const auto chunk = nlohmann::json::parse(data, nullptr, false);
  if (!chunk.is_object()) return;
  if (chunk.contains("error")) error_ = error_message_of(data);
  const auto choices = chunk.find("choices");
  if (choices == chunk.end() || !choices->is_array() || choices->empty()) return;
  const auto& choice = (*choices)[0];
  if (!choice.is_object() || !choice.contains("delta") || !choice["delta"].is_object()) return;
  const auto content = choice["delta"].find("content");
  if (content == choice["delta"].end() || !content->is_string()) return;
  const auto piece = content->get<std::string>();
  text_ += piece;
  on_text_(piece);
}

std::string error_message_of(const std::string& body) {
  const auto value = nlohmann::json::parse(body, nullptr, false);
  if (value.is_object() && value.contains("error")) {
    const auto& error = value["error"];
    if (error.is_string()) return error;
    if (error.is_object() && error.contains("message") && error["message"].is_string()) return error["message"];
  }
  return body.substr(0, 300);
}

std::string stream_chat(const ChatRequest& request, const std::function<void(const std::string&)>& on_text) {
  nlohmann::ordered_json body = {
      {"model", request.model}, {"stream", true}, {"messages", nlohmann::ordered_json::array()}};
  for (const auto& message : request.messages)
    body["messages"].push_back({{"role", message.role}, {"content", message.content}});
  if (request.temperature >= 0) body["temperature"] = request.temperature;
  if (request.max_tokens > 0) body["max_tokens"] = request.max_tokens;
  const std::string text = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);

  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), &curl_easy_cleanup);
  if (!curl) throw Failure(Exit::kFailed, "libcurl could not be started");
  curl_slist* headers = curl_slist_append(nullptr, "Content-Type: application/json");
  headers = curl_slist_append(headers, ("Authorization: Bearer " + request.token).c_str());
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> owned_headers(headers, &curl_slist_free_all);
  const std::string url = request.web_url + "/v1/chat/completions";
  Transfer transfer{curl.get(), ChatStream(on_text), ""};
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_NOPROXY, "127.0.0.1,localhost,::1");
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, text.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(text.size()));
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &on_bytes);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, 10L);
  if (!request.tls_ca.empty()) curl_easy_setopt(curl.get(), CURLOPT_CAINFO, request.tls_ca.c_str());
  const CURLcode result = curl_easy_perform(curl.get());
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  if (result != CURLE_OK) {
    throw Failure(Exit::kUnavailable, url + " does not answer: " + curl_easy_strerror(result),
                  "see whether the deployment is ready: slipway deployment list");
  }
  if (status != 200) {
    throw Failure(exit_of(status),
                  "the deployment answered " + std::to_string(status) + ": " + error_message_of(transfer.body),
                  "see its state and names: slipway deployment list", "", "HTTP_" + std::to_string(status));
  }
  if (!transfer.stream.error().empty()) throw Failure(Exit::kFailed, transfer.stream.error());
  return transfer.stream.text();
}

}  // namespace slipway::cli
