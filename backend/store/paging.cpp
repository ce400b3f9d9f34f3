#include "backend/store/paging.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "backend/base/sha256.h"
#include "backend/base/status.h"

namespace slipway::store {
namespace {

constexpr size_t kMaxFilterBytes = 1000;
constexpr size_t kMaxTokenBytes = 2000;
constexpr int32_t kDefaultPageSize = 50;
constexpr int32_t kMaxPageSize = 500;
constexpr size_t kFilterMarkLength = 8;

std::string filter_mark(const std::string& filter) { return base::sha256_hex(filter).substr(0, kFilterMarkLength); }

// `word` as a LIKE pattern that looks for it anywhere, itself taken literally.
std::string anywhere(const std::string& word) {
  std::string pattern = "%";
  for (const char c : word) {
    if (c == '%' || c == '_' || c == '\\') pattern += '\\';
    pattern += c;
  }
  return pattern + "%";
}

}  // namespace

absl::StatusOr<Filter> parse_filter(const std::string& text, const std::vector<std::string>& keys) {
  if (text.size() > kMaxFilterBytes) {
    return base::invalid_argument("page.filter", "the filter is longer than 1,000 bytes", "use fewer words");
  }
  Filter filter;
  for (const absl::string_view word : absl::StrSplit(text, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty())) {
    const size_t colon = word.find(':');
    if (colon == absl::string_view::npos) {
      filter.words.emplace_back(word);
      continue;
    }
    std::string key(word.substr(0, colon));
    std::transform(key.begin(), key.end(), key.begin(), [](unsigned char c) { return std::tolower(c); });
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      return base::invalid_argument("page.filter", "this list has no filter '" + key + ":'",
                                    keys.empty() ? "use plain words" : "use one of: " + absl::StrJoin(keys, ", "));
    }
    filter.pairs.emplace_back(key, std::string(word.substr(colon + 1)));
  }
  return filter;
}

std::string make_page_token(const std::string& last_key, const PageRequest& request) {
  return absl::WebSafeBase64Escape(filter_mark(request.filter) + last_key);
}

absl::StatusOr<std::string> read_page_token(const PageRequest& request) {
  const auto refused = [] {
    return base::invalid_argument("page.page_token", "the page token is not one of this list",
                                  "pass next_page_token as it came, with the same filter, or start at the first page");
  };
  std::string text;
  if (request.page_token.size() > kMaxTokenBytes || !absl::WebSafeBase64Unescape(request.page_token, &text)) {
    return refused();
  }
  if (text.size() <= kFilterMarkLength || text.substr(0, kFilterMarkLength) != filter_mark(request.filter)) {
    return refused();
  }
  return text.substr(kFilterMarkLength);
}

absl::Status list_page_rows(Connection& connection, const ListQuery& query, const PageRequest& request,
                            const std::function<void(SQLite::Statement&)>& row, std::string& next_page_token,
                            int64_t& total) {
  if (request.page_size < 0) {
    return base::invalid_argument("page.page_size", "the page size is negative", "use 1 to 500, or 0 for 50");
  }
  const int32_t page_size = request.page_size == 0 ? kDefaultPageSize : std::min(request.page_size, kMaxPageSize);
  std::vector<std::string> keys;
  for (const auto& [key, expression] : query.filters) keys.push_back(key);
  const auto filter = parse_filter(request.filter, keys);
  if (!filter.ok()) return filter.status();

  std::vector<std::string> values = query.values;
  std::string where = query.where.empty() ? "1" : "(" + query.where + ")";
  for (const auto& [key, value] : filter->pairs) {
    where += " AND (" + query.filters.at(key) + ") = ? COLLATE NOCASE";
    values.push_back(value);
  }
  for (const std::string& word : filter->words) {
    where += " AND (0";
    for (const std::string& expression : query.searched) {
      where += " OR " + expression + " LIKE ? ESCAPE '\\'";
      values.push_back(anywhere(word));
    }
    where += ")";
  }
  const auto bind_all = [&](SQLite::Statement& statement) {
    int index = 0;
    for (const std::string& value : values) statement.bind(++index, value);
  };

  SQLite::Statement count(connection, "SELECT count(*) FROM " + query.from + " WHERE " + where);
  bind_all(count);
  count.executeStep();
  total = count.getColumn(0).getInt64();

  if (!request.page_token.empty()) {
    const auto last_key = read_page_token(request);
    if (!last_key.ok()) return last_key.status();
    where += " AND " + query.key + (query.descending ? " < ?" : " > ?");
    values.push_back(*last_key);
  }
  SQLite::Statement rows(connection, "SELECT " + query.columns + ", " + query.key + " FROM " + query.from + " WHERE " +
                                         where + " ORDER BY " + query.key + (query.descending ? " DESC" : "") +
                                         " LIMIT " + std::to_string(page_size + 1));
  bind_all(rows);
  int32_t count_on_page = 0;
  std::string last_key;
  while (rows.executeStep()) {
    if (count_on_page++ == page_size) {
      next_page_token = make_page_token(last_key, request);
      break;
    }
    last_key = rows.getColumn(rows.getColumnCount() - 1).getString();
    row(rows);
  }
  return absl::OkStatus();
}

}  // namespace slipway::store
