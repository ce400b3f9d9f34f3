// What strangers send in texts: Connect envelopes and JSON requests, headers, addresses, manifests.
#include <google/protobuf/util/json_util.h>

#include <cstdlib>
#include <memory>
#include <string_view>

#include "backend/artifacts/manifest.h"
#include "backend/service/caller.h"
#include "backend/web/artifact_routes.h"
#include "backend/web/connect_protocol.h"
#include "backend/web/http.h"
#include "backend/web/openai_gateway.h"
#include "backend/web/server.h"
#include "slipway/v1/dataset.pb.h"
#include "slipway/v1/run.pb.h"

namespace {

void must(bool truth) {
  if (!truth) std::abort();
}

// What parses must print again.
void parse_json(std::string_view text, google::protobuf::Message& message) {
  if (!google::protobuf::util::JsonStringToMessage({text.data(), text.size()}, &message).ok()) return;
  std::string printed;
  must(google::protobuf::util::MessageToJsonString(message, &printed).ok());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipway;
  const std::string text(reinterpret_cast<const char*>(data), size);
  std::string_view payload = text;
  if (web::open_envelope(text, payload).ok()) must(web::envelope(0, payload) == text);
  v1::StartRunRequest start;
  parse_json(payload, start);
  v1::PreviewDatasetRequest preview;
  parse_json(payload, preview);

  std::optional<int64_t> timeout_ms;
  if (web::parse_timeout(text, timeout_ms).ok() && timeout_ms) must(*timeout_ms >= 0);
  std::string decoded;
  web::percent_decode(text, decoded);
  web::query_value(text, "offset");
  web::has_media_type(text, "application/json");
  const web::ByteRange range = web::parse_range(text, 1000);
  if (range.kind == web::ByteRange::Kind::kPart)
    must(range.first >= 0 && range.first <= range.last && range.last < 1000);
  web::find_model_name(text, decoded);
  uint16_t port = 0;
  if (web::split_address(text, decoded, port)) web::is_loopback_host(decoded);
  service::parse_credentials(text, text);
  const auto manifest = artifacts::parse_manifest(text);
  if (manifest.ok()) must(artifacts::parse_manifest(artifacts::canonical_text(*manifest)).ok());
  return 0;
}
