#include "agents/engine/text/parquet_rows.h"

#include <dlfcn.h>

#include <memory>
#include <system_error>

#include "agents/engine/text/parquet_module.h"
#include "backend/base/error.h"

namespace slipway::text {

namespace {

namespace fs = std::filesystem;

// The module beside this program, or where it is installed; it stays loaded.
OpenParquet* load_module() {
  std::error_code failure;
  const fs::path folder = fs::read_symlink("/proc/self/exe", failure).parent_path();
  std::string reason = std::string(kParquetModule) + " is neither in " + folder.string() + " nor in ../lib/slipway";
  for (const fs::path& place : {folder, folder.parent_path() / "bin", folder.parent_path() / "lib" / "slipway"}) {
    if (!fs::exists(place / kParquetModule, failure)) continue;
    void* const library = dlopen((place / kParquetModule).c_str(), RTLD_NOW | RTLD_LOCAL);
    void* const open = library == nullptr ? nullptr : dlsym(library, kOpenParquet);
    if (open != nullptr) return reinterpret_cast<OpenParquet*>(open);
    if (const char* const error = dlerror(); error != nullptr) reason = error;
  }
  throw base::Error(base::kUnsupported, "Parquet files cannot be read here: " + reason,
                    "install Slipway with its Arrow library, or convert the file to JSONL");
}

}  // namespace

bool is_parquet(const fs::path& path) { return path.extension() == ".parquet"; }

void for_each_parquet_row(const fs::path& path, int64_t& number,
                          const std::function<bool(const std::string& row)>& use) {
  OpenParquet* const open = load_module();
  std::string failure, row;
  const std::unique_ptr<ParquetReader> reader(open(path.string(), failure));
  number = 0;
  while (reader && reader->next(row, failure)) {
    ++number;
    if (!use(row)) return;
  }
  if (failure.empty()) return;
  throw base::Error(base::kInvalidData, path.string() + " behind row " + std::to_string(number) + ": " + failure,
                    "check that it is a whole Parquet file");
}

}  // namespace slipway::text
