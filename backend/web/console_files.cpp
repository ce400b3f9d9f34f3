#include "backend/web/console_files.h"

#include <sys/stat.h>

#include <boost/asio/post.hpp>
#include <map>
#include <optional>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::web {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = size_t{64} << 20U;

// Inline styles are how Ant Design works; scripts come from our own files alone.
constexpr char kContentSecurityPolicy[] =
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'";

std::vector<Header> common_headers() {
  return {{"Content-Security-Policy", kContentSecurityPolicy},
          {"X-Content-Type-Options", "nosniff"},
          {"X-Frame-Options", "DENY"},
          {"Referrer-Policy", "no-referrer"},
          {"Cross-Origin-Opener-Policy", "same-origin"},
          {"Cross-Origin-Resource-Policy", "same-origin"}};
}

Response text_response(int status, const std::string& text) {
  Response response{status, common_headers(), text + "\n"};
  response.headers.push_back({"Content-Type", "text/plain; charset=utf-8"});
  response.headers.push_back({"Cache-Control", "no-store"});
  return response;
}

// The decoded path below the root; nullopt when it leads elsewhere.
std::optional<fs::path> relative_path(const std::string& path) {
  std::string decoded;
  if (!percent_decode(path, decoded) || decoded.find('\\') != std::string::npos) return std::nullopt;
  fs::path relative;
  for (const fs::path& part : fs::path(decoded).relative_path()) {
    if (part == "." || part == "..") return std::nullopt;
    relative /= part;
  }
  return relative;
}

bool is_file(const fs::path& path, struct stat& facts) {
  return stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode);
}

bool accepts(std::string_view header, std::string_view coding) {
  size_t start = 0;
  while (start < header.size()) {
    const size_t end = std::min(header.find(',', start), header.size());
    std::string_view item = header.substr(start, end - start);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    if (item.substr(0, coding.size()) == coding && item.find("q=0") == std::string_view::npos) return true;
    start = end + 1;
  }
  return false;
}

// Vite names what never changes by its content: assets/index-B3kq9x1Z.js.
bool is_immutable(const fs::path& relative) {
  if (relative.begin() == relative.end() || *relative.begin() != "assets") return false;
  const std::string stem = relative.stem().string();
  const size_t dash = stem.rfind('-');
  return dash != std::string::npos && stem.size() - dash > 8;
}

}  // namespace

const char* media_type_of(const fs::path& path) {
  static const std::map<std::string, const char*> kTypes = {
      {".html", "text/html; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},
      {".json", "application/json"},
      {".jsonl", "application/x-ndjson"},
      {".svg", "image/svg+xml"},
      {".png", "image/png"},
      {".ico", "image/x-icon"},
      {".woff2", "font/woff2"},
      {".webmanifest", "application/manifest+json"},
      {".txt", "text/plain; charset=utf-8"},
      {".map", "application/json"},
  };
  const auto found = kTypes.find(path.extension().string());
  return found == kTypes.end() ? "application/octet-stream" : found->second;
}

void ConsoleFiles::handle(const ExchangePointer& exchange) {
  if (exchange->head().method != "GET" && exchange->head().method != "HEAD") {
    Response response = text_response(405, "Only GET works here.");
    response.headers.push_back({"Allow", "GET, HEAD"});
    return exchange->respond(std::move(response));
  }
  boost::asio::post(workers_, [this, exchange] {
    Response response;
    try {
      response = find(exchange->head());
    } catch (const base::Error& error) {
      response = text_response(500, error.what());
    }
    exchange->resume([exchange, response = std::move(response)]() mutable { exchange->respond(std::move(response)); });
  });
}

Response ConsoleFiles::find(const RequestHead& head) const {
  auto relative = relative_path(head.path);
  if (!relative) return text_response(400, "The path is not a path of this site.");
  struct stat facts {};
  if (relative->empty() || !is_file(root_ / *relative, facts)) {
    // An address inside the console, which finds its own way by it.
    if (relative->has_extension() && !relative->empty()) return text_response(404, "There is no such file.");
    relative = "index.html";
    if (!is_file(root_ / *relative, facts)) {
      return text_response(404, "The web console is not built: there is no index.html in " + root_.string() +
                                    ". Run packaging/build-ui.sh, or start slipwayd with --web-root.");
    }
  }
  Response response{200, common_headers(), ""};
  response.headers.push_back({"Content-Type", media_type_of(*relative)});
  response.headers.push_back({"Vary", "Accept-Encoding"});
  response.headers.push_back(
      {"Cache-Control", is_immutable(*relative) ? "public, max-age=31536000, immutable" : "no-cache"});
  fs::path file = root_ / *relative;
  for (const auto& [coding, extension] : {std::pair{"br", ".br"}, std::pair{"gzip", ".gz"}}) {
    const fs::path packed = file.string() + extension;
    struct stat packed_facts {};
    if (!accepts(head.header("accept-encoding"), coding) || !is_file(packed, packed_facts)) continue;
    if (packed_facts.st_mtime < facts.st_mtime) continue;  // left over from an older build
    file = packed;
    facts = packed_facts;
    response.headers.push_back({"Content-Encoding", coding});
    break;
  }
  const std::string tag = "\"" + std::to_string(facts.st_size) + "-" + std::to_string(facts.st_mtim.tv_sec) + "-" +
                          std::to_string(facts.st_mtim.tv_nsec) + "\"";
  response.headers.push_back({"ETag", tag});
  if (head.header("if-none-match").find(tag) != std::string_view::npos) {
    response.status = 304;
    return response;
  }
  response.body = base::read_file(file, kMaxFileBytes);
  return response;
}

}  // namespace slipway::web
