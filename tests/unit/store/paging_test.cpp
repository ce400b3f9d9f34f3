#include "backend/store/paging.h"

#include <gtest/gtest.h>

#include "backend/base/files.h"
#include "backend/base/status.h"

namespace slipway::store {
namespace {

class PagingTest : public testing::Test {
 protected:
  void SetUp() override {
    connection_.exec("CREATE TABLE things (id TEXT, name TEXT, state TEXT)");
    for (int i = 0; i < 7; ++i) {
      execute(connection_, "INSERT INTO things VALUES (?, ?, ?)", "t" + std::to_string(i),
              i == 3 ? "100%_sure" : "Perl FAQ", i % 2 == 0 ? "running" : "failed");
    }
    query_.columns = "id";
    query_.from = "things";
    query_.key = "id";
    query_.searched = {"id", "name"};
    query_.filters = {{"state", "state"}};
  }
  absl::StatusOr<Page<std::string>> list(const PageRequest& request) {
    return list_page(connection_, query_, request, [](SQLite::Statement& row) { return row.getColumn(0).getString(); });
  }
  Connection connection_{":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE};
  ListQuery query_;
};

TEST_F(PagingTest, WalksAllPagesInBothOrders) {
  for (const bool descending : {false, true}) {
    query_.descending = descending;
    std::string walked;
    PageRequest request{3, "", ""};
    int pages = 0;
    do {
      const auto page = list(request);
      ASSERT_TRUE(page.ok()) << page.status();
      EXPECT_EQ(page->total, 7);
      for (const std::string& id : page->rows) walked += id;
      request.page_token = page->next_page_token;
      ++pages;
    } while (!request.page_token.empty());
    EXPECT_EQ(pages, 3);
    EXPECT_EQ(walked, descending ? "t6t5t4t3t2t1t0" : "t0t1t2t3t4t5t6");
  }
}

TEST_F(PagingTest, FiltersByWordsAndPairsInAnyCase) {
  EXPECT_EQ(list({0, "", "perl STATE:Running"})->rows, (std::vector<std::string>{"t0", "t2", "t4", "t6"}));
  EXPECT_EQ(list({0, "", "perl t2"})->total, 1);
  EXPECT_EQ(list({0, "", "0%_s"})->rows, std::vector<std::string>{"t3"});
  EXPECT_EQ(list({0, "", "%"})->total, 1);
}

TEST_F(PagingTest, RefusesWhatItCannotUse) {
  EXPECT_EQ(base::detail_of(list({0, "", "colour:red"}).status()).field, "page.filter");
  EXPECT_EQ(base::detail_of(list({-1, "", ""}).status()).field, "page.page_size");
  EXPECT_EQ(base::detail_of(list({0, "!!", ""}).status()).field, "page.page_token");
  const std::string token = list({2, "", ""})->next_page_token;
  EXPECT_EQ(base::detail_of(list({2, token, "perl"}).status()).field, "page.page_token");
}

}  // namespace
}  // namespace slipway::store
