// How things look in a terminal: tables, numbers with units, times, bars. Pure functions over text.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace google::protobuf {
class Message;
class Timestamp;
}  // namespace google::protobuf

namespace slipway::cli {

// A table with a header line; columns as wide as their widest cell, numbers flush right when `right` names them.
class Table {
 public:
  explicit Table(std::vector<std::string> header, std::vector<size_t> right = {});
  void add(std::vector<std::string> row);
  // `empty`: what to say instead when there are no rows.
  void print(std::ostream& out, const std::string& empty) const;
  bool is_empty() const { return rows_.empty(); }

 private:
  std::vector<std::string> header_;
  std::vector<size_t> right_;
  std::vector<std::vector<std::string>> rows_;
};

std::string format_bytes(int64_t bytes);      // 12.3 MiB
std::string format_count(int64_t value);      // 134,515,008
std::string format_duration(double seconds);  // 3 m 12 s
std::string format_number(double value);      // four significant digits
// 5 m ago; empty for no time.
std::string format_age(const google::protobuf::Timestamp& time, int64_t now_ms);
double seconds_between(const google::protobuf::Timestamp& from, const google::protobuf::Timestamp& to);
// [#####.....] of `width` characters between the brackets.
std::string bar(double share, int width);
// Columns that the text takes in a terminal: code points, wide ones twice, combining ones none.
size_t display_width(const std::string& text);
// Without control characters, which could move the cursor or colour what follows.
std::string printable(const std::string& text);

// Protobuf JSON, every field present, on several lines or one.
std::string to_json(const google::protobuf::Message& message, bool one_line = false);

bool is_terminal(int fd);

}  // namespace slipway::cli
