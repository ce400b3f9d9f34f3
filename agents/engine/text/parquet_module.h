// The border between text and libslipway_parquet.so, which alone links Arrow. No exception crosses it. Used by
// parquet_rows.cpp.
#pragma once

#include <cstdint>
#include <string>

namespace slipway::text {

// The rows of one file, in order. One thread.
class ParquetReader {
 public:
  virtual ~ParquetReader() = default;
  // The next row as one line of JSON. False at the end, or with the reason in `failure`.
  virtual bool next(std::string& row, std::string& failure) noexcept = 0;
  // Passes over so many rows. False when there are fewer, or with the reason in `failure`.
  virtual bool skip(int64_t rows, std::string& failure) noexcept = 0;
  // Of the whole file.
  virtual int64_t count() const noexcept = 0;
};

// What the module exports, as kOpenParquet. Null with the reason in `failure`.
using OpenParquet = ParquetReader*(const std::string& path, std::string& failure);
inline constexpr char kOpenParquet[] = "slipway_open_parquet";
inline constexpr char kParquetModule[] = "libslipway_parquet.so";

}  // namespace slipway::text
