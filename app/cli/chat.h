// Chat over the OpenAI API of a deployment, streamed: POST WEB/v1/chat/completions.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace slipway::cli {

struct ChatMessage {
  std::string role, content;
};

struct ChatRequest {
  std::string web_url;  // http://127.0.0.1:7878
  std::string token;    // slw_… or slk_…
  std::string tls_ca;
  std::string model;
  std::vector<ChatMessage> messages;
  double temperature = -1;  // negative: the server's default
  int max_tokens = 0;       // 0: the server's default
};

// Calls `on_text` with each piece as it comes; answers the whole text. Throws Failure.
std::string stream_chat(const ChatRequest& request, const std::function<void(const std::string&)>& on_text);

// Takes the bytes of a text/event-stream in pieces of any size and hands out the content of each chat chunk.
class ChatStream {
 public:
  explicit ChatStream(std::function<void(const std::string&)> on_text) : on_text_(std::move(on_text)) {}
  void feed(const std::string& bytes);
  const std::string& text() const { return text_; }
  const std::string& error() const { return error_; }  // of an error object in the stream

 private:
  void take_line(const std::string& line);

  std::function<void(const std::string&)> on_text_;
  std::string pending_, text_, error_;
};

// The message of an OpenAI error body, or the body's beginning when it is none.
std::string error_message_of(const std::string& body);

}  // namespace slipway::cli
