// Rows of Parquet files as lines of JSON, so that they are read like any other. Used by training_rows.cpp and
// engine/train.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace slipway::text {

// Whether the name ends in .parquet.
bool is_parquet(const std::filesystem::path& path);

// Calls use(row) for each row until it returns false; `number` becomes the row's, from 1. Throws base::Error
// INVALID_DATA for a broken file, UNSUPPORTED where libslipway_parquet.so is missing.
void for_each_parquet_row(const std::filesystem::path& path, int64_t& number,
                          const std::function<bool(const std::string& row)>& use);

// How many there are; and some of them, ascending from 0, the others passed over. Throw the same.
int64_t count_parquet_rows(const std::filesystem::path& path);
void read_parquet_rows(const std::filesystem::path& path, const std::vector<int64_t>& rows,
                       const std::function<void(int64_t number, const std::string& row)>& use);

}  // namespace slipway::text
