// The web console's files: built by Vite, served as they are. handle() is on the I/O thread; files are read on a
// worker.
#pragma once

#include <filesystem>

#include "backend/web/exchange.h"
#include "backend/web/workers.h"

namespace slipway::web {

class ConsoleFiles final : public Handler {
 public:
  // `root` holds index.html and assets/. It may be missing: then every page says how to build it.
  ConsoleFiles(std::filesystem::path root, Workers& workers) : root_(std::move(root)), workers_(workers) {}

  void handle(const ExchangePointer& exchange) override;

 private:
  Response find(const RequestHead& head) const;

  std::filesystem::path root_;
  Workers& workers_;
};

// Media type by a file's extension.
const char* media_type_of(const std::filesystem::path& path);

}  // namespace slipway::web
