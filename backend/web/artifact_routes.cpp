#include "backend/web/artifact_routes.h"

#include <boost/asio/post.hpp>
#include <charconv>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "backend/base/status.h"
#include "backend/web/console_files.h"
#include "backend/web/session_cookie.h"
#include "backend/web/status_response.h"

namespace slipway::web {
namespace {

constexpr size_t kPieceBytes = 256 << 10;

bool parse_number(std::string_view text, int64_t& number) {
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  return !text.empty() && error == std::errc() && stopped == end && number >= 0;
}

absl::Status signed_in(service::Auth& auth, const RequestHead& head) {
  const auto caller = auth.identify(credentials_of(head));
  if (!caller.ok()) return caller.status();
  if (caller->kind != service::Caller::Kind::kNobody) return absl::OkStatus();
  return base::error(absl::StatusCode::kUnauthenticated, "nobody is signed in",
                     {"NOT_SIGNED_IN", "", "sign in first (slipway login, or the console's sign-in page)"});
}

void answer(const ExchangePointer& exchange, Response response) {
  exchange->resume([exchange, response = std::move(response)]() mutable { exchange->respond(std::move(response)); });
}

// A body on its way to the disk: each piece is written on a worker before the next is read.
struct Receiving {
  ExchangePointer exchange;
  Workers& workers;
  std::unique_ptr<artifacts::FileWriter> writer;
};

void receive_next(const std::shared_ptr<Receiving>& receiving) {
  receiving->exchange->read_piece([receiving](std::string piece) {
    boost::asio::post(receiving->workers, [receiving, piece = std::move(piece)] {
      if (piece.empty()) {
        const std::string body = "{\"received\":\"" + std::to_string(receiving->writer->received()) + "\"}";
        receiving->writer.reset();
        return answer(receiving->exchange,
                      {200, {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}}, body});
      }
      if (const absl::Status status = receiving->writer->write(piece); !status.ok()) {
        receiving->writer.reset();
        return answer(receiving->exchange, status_response(status));
      }
      receiving->exchange->resume([receiving] { receive_next(receiving); });
    });
  });
}

// A file on its way to the client: the next piece is read on a worker when the one before has gone.
struct Sending {
  ExchangePointer exchange;
  Workers& workers;
  std::unique_ptr<artifacts::FileReader> reader;
  int64_t left = 0;
};

void send_next(const std::shared_ptr<Sending>& sending) {
  boost::asio::post(sending->workers, [sending] {
    auto piece = sending->left > 0
                     ? sending->reader->read(static_cast<size_t>(std::min(sending->left, int64_t{kPieceBytes})))
                     : absl::StatusOr<std::string>(std::string());
    sending->exchange->resume([sending, piece = std::move(piece)]() mutable {
      // The head has gone already: a cut body is how the client learns of it.
      if (!piece.ok()) return sending->exchange->abort();
      if (piece->empty()) return sending->exchange->end();
      sending->left -= static_cast<int64_t>(piece->size());
      sending->exchange->write(*std::move(piece), [sending] { send_next(sending); });
    });
  });
}

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    parts.emplace_back(path.substr(0, slash));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return parts;
}

}  // namespace

ByteRange parse_range(std::string_view header, int64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  ByteRange range;
  if (header.substr(0, kUnit.size()) != kUnit || header.find(',') != std::string_view::npos) return range;
  header.remove_prefix(kUnit.size());
  const size_t dash = header.find('-');
  if (dash == std::string_view::npos) return range;
  const std::string_view first = header.substr(0, dash);
  const std::string_view last = header.substr(dash + 1);
  int64_t from = 0;
  int64_t to = size - 1;
  if (first.empty()) {
    int64_t count = 0;
    if (!parse_number(last, count)) return range;
    from = std::max<int64_t>(0, size - count);
    if (count == 0) from = size;
  } else {
    if (!parse_number(first, from)) return range;
    if (!last.empty() && (!parse_number(last, to) || to < from)) return range;
    to = std::min(to, size - 1);
  }
  range.kind = from >= size ? ByteRange::Kind::kUnsatisfiable : ByteRange::Kind::kPart;
  range.first = from;
  range.last = to;
  return range;
}

void ArtifactRoutes::handle(const ExchangePointer& exchange) {
  const RequestHead& head = exchange->head();
  const std::vector<std::string> parts = split_path(std::string_view(head.path).substr(1));
  const bool reads = head.method == "GET" || head.method == "HEAD";
  if (head.method == "PUT" && parts.size() == 4 && parts[1] == "uploads") {
    int64_t file_index = 0;
    int64_t offset = 0;
    const std::string offset_text = query_value(head.query, "offset");
    if (!parse_number(parts[3], file_index) || (!offset_text.empty() && !parse_number(offset_text, offset))) {
      return exchange->respond(status_response(base::invalid_argument("offset", "the address is no upload address",
                                                                      "PUT /artifacts/uploads/ID/INDEX?offset=N")));
    }
    return upload(exchange, parts[2], file_index, offset);
  }
  const size_t files = head.path.find("/files/");
  if (reads && parts.size() >= 4 && parts[2] == "files" && files != std::string::npos) {
    std::string path;
    if (!percent_decode(std::string_view(head.path).substr(files + 7), path)) path.clear();
    return download(exchange, parts[1], std::move(path));
  }
  exchange->respond(status_response(
      base::error(absl::StatusCode::kNotFound, "there is nothing at this address",
                  {"NOT_FOUND", "", "PUT /artifacts/uploads/ID/INDEX?offset=N or GET /artifacts/ID/files/PATH"})));
}

void ArtifactRoutes::upload(const ExchangePointer& exchange, std::string upload_id, int64_t file_index,
                            int64_t offset) {
  boost::asio::post(workers_, [this, exchange, upload_id = std::move(upload_id), file_index, offset] {
    if (const absl::Status status = signed_in(auth_, exchange->head()); !status.ok()) {
      return answer(exchange, status_response(status));
    }
    auto writer = store_.write_file(upload_id, file_index, offset);
    if (!writer.ok()) return answer(exchange, status_response(writer.status()));
    auto receiving = std::make_shared<Receiving>(Receiving{exchange, workers_, *std::move(writer)});
    exchange->resume([receiving = std::move(receiving)] { receive_next(receiving); });
  });
}

void ArtifactRoutes::download(const ExchangePointer& exchange, std::string artifact_id, std::string path) {
  boost::asio::post(workers_, [this, exchange, artifact_id = std::move(artifact_id), path = std::move(path)] {
    const RequestHead& head = exchange->head();
    if (const absl::Status status = signed_in(auth_, head); !status.ok())
      return answer(exchange, status_response(status));
    auto reader = store_.read_file(artifact_id, path, 0);
    if (!reader.ok()) return answer(exchange, status_response(reader.status()));
    const artifacts::FileEntry file = (*reader)->file();
    const std::string tag = "\"" + file.sha256 + "\"";
    const std::string_view if_range = head.header("if-range");
    const ByteRange range =
        !if_range.empty() && if_range != tag ? ByteRange() : parse_range(head.header("range"), file.size);
    std::vector<Header> headers = {{"Content-Type", media_type_of(path)},
                                   {"Accept-Ranges", "bytes"},
                                   {"ETag", tag},
                                   {"Cache-Control", "private, max-age=31536000, immutable"},
                                   {"X-Content-Type-Options", "nosniff"},
                                   // What strangers uploaded must not act as a page of the console.
                                   {"Content-Security-Policy", "sandbox; default-src 'none'"},
                                   {"Content-Disposition", "attachment"}};
    if (head.header("if-none-match").find(tag) != std::string_view::npos) return answer(exchange, {304, headers, ""});
    if (range.kind == ByteRange::Kind::kUnsatisfiable) {
      return answer(exchange, {416, {{"Content-Range", "bytes */" + std::to_string(file.size)}}, ""});
    }
    int64_t length = file.size;
    if (range.kind == ByteRange::Kind::kPart) {
      length = range.last - range.first + 1;
      headers.push_back({"Content-Range", "bytes " + std::to_string(range.first) + "-" + std::to_string(range.last) +
                                              "/" + std::to_string(file.size)});
      reader = store_.read_file(artifact_id, path, range.first);
      if (!reader.ok()) return answer(exchange, status_response(reader.status()));
    }
    const int status = range.kind == ByteRange::Kind::kPart ? 206 : 200;
    auto sending = std::make_shared<Sending>(Sending{exchange, workers_, *std::move(reader), length});
    exchange->resume([sending = std::move(sending), status, headers = std::move(headers), length] {
      sending->exchange->begin(status, headers, length);
      if (sending->exchange->head().method == "HEAD") return sending->exchange->end();
      send_next(sending);
    });
  });
}

}  // namespace slipway::web
