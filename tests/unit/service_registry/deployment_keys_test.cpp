#include "backend/service/deployment_keys.h"

#include <gtest/gtest.h>

#include "backend/base/files.h"

namespace slipway::service {
namespace {

TEST(DeploymentKeys, OpenTheirOwnDeploymentUntilRevokedOrTheDeploymentIsGone) {
  const base::TemporaryFolder folder;
  base::FakeClock clock;
  const auto database = *store::Database::open(folder.path() / "slipway.db", clock);
  DeploymentKeys keys(*database, clock);
  EXPECT_FALSE(keys.create("deployment-1", "").ok());
  const auto first = keys.create("deployment-1", "shop");
  const auto second = keys.create("deployment-1", "bot");
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->secret.rfind("slk_", 0), 0U);
  EXPECT_EQ(keys.find_deployment(first->secret).value(), "deployment-1");
  EXPECT_EQ(keys.list("deployment-1")->size(), 2U);
  EXPECT_TRUE(keys.list("deployment-2")->empty());

  ASSERT_TRUE(keys.revoke(first->record.id).ok());
  EXPECT_EQ(keys.find_deployment(first->secret).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(keys.revoke(first->record.id).code(), absl::StatusCode::kNotFound);

  ASSERT_TRUE(database
                  ->write([](store::Transaction& transaction) {
                    DeploymentKeys::remove_all_of(transaction, "deployment-1");
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_FALSE(keys.find_deployment(second->secret).ok());
  EXPECT_FALSE(keys.find_deployment("slw_other").ok());
}

}  // namespace
}  // namespace slipway::service
