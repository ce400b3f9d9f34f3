// The bytes of artifacts for browsers: PUT /artifacts/uploads/{upload_id}/{file_index}?offset=N and
// GET /artifacts/{artifact_id}/files/{path}, with Range. Everything else about artifacts goes through the API.
// handle() is on the I/O thread; the disk and the store are reached on workers.
#pragma once

#include "backend/artifacts/artifact_store.h"
#include "backend/service/auth.h"
#include "backend/web/exchange.h"
#include "backend/web/workers.h"

namespace slipway::web {

class ArtifactRoutes final : public Handler {
 public:
  ArtifactRoutes(service::Auth& auth, artifacts::ArtifactStore& store, Workers& workers)
      : auth_(auth), store_(store), workers_(workers) {}

  void handle(const ExchangePointer& exchange) override;

 private:
  void upload(const ExchangePointer& exchange, std::string upload_id, int64_t file_index, int64_t offset);
  void download(const ExchangePointer& exchange, std::string artifact_id, std::string path);

  service::Auth& auth_;
  artifacts::ArtifactStore& store_;
  Workers& workers_;
};

// The one byte range that a Range header asks for, in a file of `size` bytes. None: send it whole. Unsatisfiable: 416.
struct ByteRange {
  enum class Kind { kWhole, kPart, kUnsatisfiable };
  Kind kind = Kind::kWhole;
  int64_t first = 0;
  int64_t last = 0;  // inclusive
};
ByteRange parse_range(std::string_view header, int64_t size);

}  // namespace slipway::web
