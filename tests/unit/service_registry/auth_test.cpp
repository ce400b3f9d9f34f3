#include "backend/service/auth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backend/base/files.h"
#include "backend/base/sha256.h"
#include "backend/base/status.h"
#include "backend/service/node_tokens.h"

namespace slipway::service {
namespace {

using absl::StatusCode;

constexpr char kPassword[] = "correct horse";

class OneNode final : public NodeTokens {
 public:
  absl::StatusOr<std::optional<std::string>> find_node(const std::string& sha256) override {
    if (sha256 == base::sha256_hex("sln_right")) return "node-1";
    return std::nullopt;
  }
};

class AuthTest : public testing::Test {
 protected:
  AuthTest()
      : database_(*store::Database::open(folder_.path() / "slipway.db", clock_)),
        auth_(*database_, clock_, &nodes_, smallest_password_cost()) {}

  SignedIn set_up() {
    auto signed_in = auth_.complete_setup(auth_.start_setup(), "ada", kPassword);
    EXPECT_TRUE(signed_in.ok()) << signed_in.status();
    return *std::move(signed_in);
  }
  Caller caller_of(const std::string& session) { return auth_.identify({session, ""}).value_or(Caller()); }

  base::TemporaryFolder folder_;
  base::FakeClock clock_;
  OneNode nodes_;
  std::unique_ptr<store::Database> database_;
  Auth auth_;
};

TEST_F(AuthTest, TheFirstStartMakesOneAdministratorAndNoSecond) {
  EXPECT_TRUE(auth_.needs_administrator().value());
  const std::string token = auth_.start_setup();
  EXPECT_EQ(auth_.complete_setup("wrong", "ada", kPassword).status().code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(auth_.complete_setup(token, "ada", "short").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(auth_.complete_setup(token, "a b", kPassword).status().code(), StatusCode::kInvalidArgument);
  const auto signed_in = auth_.complete_setup(token, "ada", kPassword);
  ASSERT_TRUE(signed_in.ok()) << signed_in.status();
  EXPECT_TRUE(signed_in->user.administrator);
  EXPECT_FALSE(auth_.needs_administrator().value());
  EXPECT_EQ(auth_.complete_setup(token, "eve", kPassword).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(auth_.complete_setup(auth_.start_setup(), "eve", kPassword).status().code(),
            StatusCode::kFailedPrecondition);
}

TEST_F(AuthTest, ANewSetupLinkEndsTheOneBefore) {
  const std::string old = auth_.start_setup();
  auth_.start_setup();
  EXPECT_EQ(auth_.complete_setup(old, "ada", kPassword).status().code(), StatusCode::kUnauthenticated);
}

TEST_F(AuthTest, NeitherPasswordNorSecretsAreStoredInTheClear) {
  const SignedIn signed_in = set_up();
  const auto token = auth_.create_api_token(caller_of(signed_in.session_secret), "laptop");
  ASSERT_TRUE(token.ok());
  database_.reset();
  for (const char* name : {"slipway.db", "slipway.db-wal"}) {
    if (!std::filesystem::exists(folder_.path() / name)) continue;
    const std::string content = base::read_file(folder_.path() / name);
    for (const std::string& secret : {std::string(kPassword), signed_in.session_secret, token->secret}) {
      EXPECT_EQ(content.find(secret), std::string::npos) << name;
    }
  }
}

TEST_F(AuthTest, SignInTellsAWrongPasswordNotFromAnUnknownUser) {
  set_up();
  const auto wrong = auth_.sign_in("ada", "something else", "");
  const auto unknown = auth_.sign_in("bob", "something else", "");
  EXPECT_EQ(wrong.status().code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(wrong.status().message(), unknown.status().message());
  EXPECT_TRUE(auth_.sign_in("ADA", kPassword, "").ok()) << "names are the same in any case";
}

TEST_F(AuthTest, FailuresSlowFurtherTriesDown) {
  set_up();
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(auth_.sign_in("ada", "wrong", "").status().code(), StatusCode::kUnauthenticated);
  const auto slowed = auth_.sign_in("ada", kPassword, "");
  EXPECT_EQ(slowed.status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(base::detail_of(slowed.status()).reason, "SLOW_DOWN");
  clock_.advance_ms(1000);
  EXPECT_EQ(auth_.sign_in("ada", "wrong", "").status().code(), StatusCode::kUnauthenticated);
  clock_.advance_ms(1000);
  EXPECT_EQ(auth_.sign_in("ada", kPassword, "").status().code(), StatusCode::kResourceExhausted)
      << "the wait has doubled";
  clock_.advance_ms(1000);
  EXPECT_TRUE(auth_.sign_in("ada", kPassword, "").ok());
  EXPECT_TRUE(auth_.sign_in("ada", kPassword, "").ok());
}

TEST_F(AuthTest, ASessionLivesWhileItIsUsedAndEndsThirtyDaysAfter) {
  const SignedIn signed_in = set_up();
  EXPECT_EQ(caller_of(signed_in.session_secret).name, "ada");
  for (int i = 0; i < 3; ++i) {
    clock_.advance_ms(Auth::kSessionLifetimeMs - 1000);
    EXPECT_EQ(caller_of(signed_in.session_secret).kind, Caller::Kind::kUser) << i;
    // The note of its use is written after the answer; a write waits for it.
    ASSERT_TRUE(database_->write([](store::Transaction&) { return absl::OkStatus(); }).ok());
  }
  clock_.advance_ms(Auth::kSessionLifetimeMs + 1000);
  EXPECT_EQ(auth_.identify({signed_in.session_secret, ""}).status().code(), StatusCode::kUnauthenticated);
}

TEST_F(AuthTest, SigningOutEndsTheSession) {
  const SignedIn signed_in = set_up();
  ASSERT_TRUE(auth_.sign_out(caller_of(signed_in.session_secret)).ok());
  EXPECT_EQ(auth_.identify({signed_in.session_secret, ""}).status().code(), StatusCode::kUnauthenticated);
}

TEST_F(AuthTest, AChangedPasswordEndsTheOtherSessions) {
  const SignedIn here = set_up();
  const auto elsewhere = auth_.sign_in("ada", kPassword, "");
  const Caller caller = caller_of(here.session_secret);
  EXPECT_EQ(auth_.change_password(caller, "wrong one!", "a new password").code(), StatusCode::kPermissionDenied);
  ASSERT_TRUE(auth_.change_password(caller, kPassword, "a new password").ok());
  EXPECT_EQ(caller_of(here.session_secret).kind, Caller::Kind::kUser);
  EXPECT_EQ(caller_of(elsewhere->session_secret).kind, Caller::Kind::kNobody);
  EXPECT_FALSE(auth_.sign_in("ada", kPassword, "").ok());
  EXPECT_TRUE(auth_.sign_in("ada", "a new password", "").ok());
}

TEST_F(AuthTest, ApiTokensWorkUntilTheyAreRevoked) {
  const SignedIn signed_in = set_up();
  const Caller caller = caller_of(signed_in.session_secret);
  const auto token = auth_.create_api_token(caller, "ci");
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(token->secret.rfind("slw_", 0), 0U);
  EXPECT_EQ(auth_.identify({"", token->secret})->name, "ada");
  ASSERT_EQ(auth_.list_api_tokens(caller)->size(), 1U);
  ASSERT_TRUE(auth_.revoke_api_token(caller, token->record.id).ok());
  EXPECT_EQ(auth_.identify({"", token->secret}).status().code(), StatusCode::kUnauthenticated);
  EXPECT_EQ(auth_.revoke_api_token(caller, token->record.id).code(), StatusCode::kNotFound);
}

TEST_F(AuthTest, ProgramsSignInWithATokenInsteadOfASession) {
  set_up();
  const auto signed_in = auth_.sign_in("ada", kPassword, "slipway on laptop");
  ASSERT_TRUE(signed_in.ok());
  EXPECT_TRUE(signed_in->session_secret.empty());
  const auto caller = auth_.identify({"", signed_in->api_token});
  ASSERT_TRUE(caller.ok());
  ASSERT_TRUE(auth_.sign_out(*caller).ok());
  EXPECT_FALSE(auth_.identify({"", signed_in->api_token}).ok());
}

TEST_F(AuthTest, NodesAreKnownByTheirTokens) {
  const auto node = auth_.identify({"", "sln_right"});
  ASSERT_TRUE(node.ok());
  EXPECT_EQ(node->kind, Caller::Kind::kNode);
  EXPECT_EQ(node->id, "node-1");
  EXPECT_EQ(auth_.identify({"", "sln_wrong"}).status().code(), StatusCode::kUnauthenticated);
}

TEST_F(AuthTest, NoCredentialsAreNobodyAndWrongOnesAreRefused) {
  EXPECT_EQ(auth_.identify({})->kind, Caller::Kind::kNobody);
  for (const std::string& bearer :
       {std::string("x"), std::string("slw_x"), std::string("slk_x"), std::string(5000, 'a')}) {
    EXPECT_EQ(auth_.identify({"", bearer}).status().code(), StatusCode::kUnauthenticated);
  }
}

TEST(Credentials, AreFoundAmongOtherCookies) {
  const Credentials credentials = parse_credentials("a=b; slipway_session=S3cret; c", "Bearer  tok ");
  EXPECT_EQ(credentials.session, "S3cret");
  EXPECT_EQ(credentials.bearer, "tok");
  EXPECT_TRUE(parse_credentials("", "Basic abc").bearer.empty());
  EXPECT_TRUE(parse_credentials("xslipway_session=no", "").session.empty());
}

}  // namespace
}  // namespace slipway::service
