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

base::Error broken(const fs::path& path, int64_t row, const std::string& failure) {
  return {base::kInvalidData, path.string() + " behind row " + std::to_string(row) + ": " + failure,
          "check that it is a whole Parquet file"};
}

// Null with the reason in `failure`.
std::unique_ptr<ParquetReader> open_file(const fs::path& path, std::string& failure) {
  OpenParquet* const open = load_module();
  return std::unique_ptr<ParquetReader>(open(path.string(), failure));
}

}  // namespace

bool is_parquet(const fs::path& path) { return path.extension() == ".parquet"; }

void for_each_parquet_row(const fs::path& path, int64_t& number,
                          const std::function<bool(const std::string& row)>& use) {
  std::string failure, row;
  const auto reader = open_file(path, failure);
  number = 0;
  while (reader && reader->next(row, failure)) {
    ++number;
    if (!use(row)) return;
  }
  if (!failure.empty()) throw broken(path, number, failure);
}

int64_t count_parquet_rows(const fs::path& path) {
  std::string failure;
  const auto reader = open_file(path, failure);
  if (!reader) throw broken(path, 0, failure);
  return reader->count();
}

void read_parquet_rows(const fs::path& path, const std::vector<int64_t>& rows,
                       const std::function<void(int64_t number, const std::string& row)>& use) {
  std::string failure, row;
  const auto reader = open_file(path, failure);
  int64_t at = 0;
  for (const int64_t wanted : rows) {
    if (!reader || !reader->skip(wanted - at, failure) || !reader->next(row, failure)) {
      throw broken(path, at, failure.empty() ? "it ends before row " + std::to_string(wanted + 1) : failure);
    }
    use(wanted, row);
    at = wanted + 1;
  }
}

}  // namespace slipway::text
