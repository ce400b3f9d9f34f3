// How every list pages and filters: opaque tokens that hold the last key, words and key:value pairs. Used by the
// resources' query files.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "backend/store/database.h"

namespace slipway::store {

struct PageRequest {
  int32_t page_size = 0;  // 0 means 50, and 500 is the most
  std::string page_token;
  std::string filter;
};

template <typename Row>
struct Page {
  std::vector<Row> rows;
  std::string next_page_token;  // empty on the last page
  int64_t total = 0;            // how many match the filter in all
};

// What a filter text says: `words` must all appear, `pairs` must all hold.
struct Filter {
  std::vector<std::string> words;
  std::vector<std::pair<std::string, std::string>> pairs;
};
// key:value is a pair when key is one of `keys`; every other word that holds no ':' is a word. An unknown key is an
// error that names the known ones.
absl::StatusOr<Filter> parse_filter(const std::string& text, const std::vector<std::string>& keys);

// A list: SELECT columns FROM from WHERE where, ordered by `key`, which must be unique among the rows.
struct ListQuery {
  std::string columns;
  std::string from;
  std::string where;                // empty: all. Its parameters are `values`
  std::vector<std::string> values;  // bound to the ?s of `where`, in order
  std::string key;                  // a TEXT expression: runs.id, models.name
  bool descending = false;
  std::vector<std::string> searched;           // expressions that words are looked for in
  std::map<std::string, std::string> filters;  // filter key -> expression that must equal its value (any case)
};

// Positions in a list, opaque to clients. INVALID_ARGUMENT for a token that this list did not make.
std::string make_page_token(const std::string& last_key, const PageRequest& request);
absl::StatusOr<std::string> read_page_token(const PageRequest& request);

// One page. `row` reads one row; the key is selected as an additional last column. Throws SQLite::Exception.
template <typename RowReader>
auto list_page(Connection& connection, const ListQuery& query, const PageRequest& request, RowReader row)
    -> absl::StatusOr<Page<std::invoke_result_t<RowReader, SQLite::Statement&>>>;

// The untyped half of list_page: calls `row` for each row, and fills in token and total.
absl::Status list_page_rows(Connection& connection, const ListQuery& query, const PageRequest& request,
                            const std::function<void(SQLite::Statement&)>& row, std::string& next_page_token,
                            int64_t& total);

template <typename RowReader>
auto list_page(Connection& connection, const ListQuery& query, const PageRequest& request, RowReader row)
    -> absl::StatusOr<Page<std::invoke_result_t<RowReader, SQLite::Statement&>>> {
  Page<std::invoke_result_t<RowReader, SQLite::Statement&>> page;
  const absl::Status status = list_page_rows(
      connection, query, request, [&](SQLite::Statement& statement) { page.rows.push_back(row(statement)); },
      page.next_page_token, page.total);
  if (!status.ok()) return status;
  return page;
}

}  // namespace slipway::store
