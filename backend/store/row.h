// Reads columns in order. For the query files of this folder.
#pragma once

#include <SQLiteCpp/Column.h>
#include <SQLiteCpp/Statement.h>

#include <cstdint>
#include <optional>
#include <string>

#include "backend/domain/states.h"

namespace slipway::store {

class RowReader {
 public:
  explicit RowReader(SQLite::Statement& row) : row_(row) {}
  std::string text() { return row_.getColumn(index_++).getString(); }
  int64_t integer() { return row_.getColumn(index_++).getInt64(); }
  double number() { return row_.getColumn(index_++).getDouble(); }
  bool boolean() { return integer() != 0; }
  std::optional<int64_t> maybe_integer() {
    const SQLite::Column column = row_.getColumn(index_++);
    if (column.isNull()) return std::nullopt;
    return column.getInt64();
  }
  domain::Failure failure() {
    domain::Failure failure;
    failure.code = text();
    failure.message = text();
    failure.advice = text();
    return failure;
  }

 private:
  SQLite::Statement& row_;
  int index_ = 0;
};

// Binds values in order; optionals as NULL when empty.
class RowWriter {
 public:
  explicit RowWriter(SQLite::Statement& statement) : statement_(statement) {}
  RowWriter& operator<<(const std::string& value) {
    statement_.bind(++index_, value);
    return *this;
  }
  RowWriter& operator<<(std::string_view value) { return *this << std::string(value); }
  RowWriter& operator<<(const char* value) { return *this << std::string(value); }
  RowWriter& operator<<(int64_t value) {
    statement_.bind(++index_, value);
    return *this;
  }
  RowWriter& operator<<(int value) { return *this << int64_t{value}; }
  RowWriter& operator<<(bool value) { return *this << int64_t{value}; }
  RowWriter& operator<<(double value) {
    statement_.bind(++index_, value);
    return *this;
  }
  template <typename Value>
  RowWriter& operator<<(const std::optional<Value>& value) {
    if (value) return *this << *value;
    statement_.bind(++index_);
    return *this;
  }
  RowWriter& operator<<(const domain::Failure& failure) {
    return *this << failure.code << failure.message << failure.advice;
  }

 private:
  SQLite::Statement& statement_;
  int index_ = 0;
};

}  // namespace slipway::store
