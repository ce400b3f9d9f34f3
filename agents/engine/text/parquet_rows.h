// Rows of Parquet files as lines of JSON, so that they are read like any other. Used by training_rows.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace slipway::text {

// Whether the name ends in .parquet.
bool is_parquet(const std::filesystem::path& path);

// Calls use(row) for each row until it returns false; `number` becomes the row's, from 1. Throws base::Error
// INVALID_DATA for a broken file, UNSUPPORTED where libslipway_parquet.so is missing.
void for_each_parquet_row(const std::filesystem::path& path, int64_t& number,
                          const std::function<bool(const std::string& row)>& use);

}  // namespace slipway::text
