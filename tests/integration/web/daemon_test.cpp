// slipwayd as a program: flags, the data folder's lock, signals, TLS.
#include "tests/integration/web/daemon.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/stat.h>

namespace slipway {
namespace {

using testing::HasSubstr;

const std::string kProgram = SLIPWAY_BINARY_DIR "/bin/slipwayd";

TEST(Slipwayd, TellsWrongFlags) {
  EXPECT_EQ(run_to_end({kProgram, "--nonsense"}).status, 2);
  EXPECT_EQ(run_to_end({kProgram, "--help"}).status, 0);
  const base::TemporaryFolder folder;
  const Ended open_to_all = run_to_end({kProgram, "--data", folder.path(), "--web-listen", "0.0.0.0:0"});
  EXPECT_EQ(open_to_all.status, 1);
  EXPECT_THAT(open_to_all.output, HasSubstr("--tls-cert"));
  EXPECT_THAT(run_to_end({kProgram, "--data", folder.path(), "--grpc-listen", "10.1.2.3:1"}).output,
              HasSubstr("--tls-cert"));
  EXPECT_THAT(run_to_end({kProgram, "--data", folder.path(), "--grpc-listen", "x"}).output, HasSubstr("HOST:PORT"));
  EXPECT_THAT(run_to_end({kProgram, "--data", "/proc/nothing"}).output, HasSubstr("/proc/nothing"));
}

TEST(Slipwayd, OneFolderHasOneAndSecretsAreForTheOwnerAlone) {
  const base::TemporaryFolder folder;
  Daemon daemon(folder.path() / "data");
  const Ended second = run_to_end({kProgram, "--data", folder.path() / "data"});
  EXPECT_EQ(second.status, 1);
  EXPECT_THAT(second.output, HasSubstr("another slipwayd"));
  for (const char* name : {"setup-link", "local-join-token"}) {
    struct stat facts {};
    ASSERT_EQ(stat((daemon.data() / name).c_str(), &facts), 0) << name;
    EXPECT_EQ(facts.st_mode & 0777U, 0600U) << name;
  }
  daemon.set_up();
  EXPECT_FALSE(std::filesystem::exists(daemon.data() / "setup-link"));
}

TEST(Slipwayd, KeepsEverythingOverAKillAndStopsCleanlyOnSigterm) {
  const base::TemporaryFolder folder;
  std::string token;
  std::string join_token;
  {
    Daemon daemon(folder.path() / "data");
    token = daemon.set_up();
    join_token = base::read_file(daemon.data() / "local-join-token");
    EXPECT_EQ(daemon.stop(SIGKILL), -SIGKILL);
  }
  Daemon daemon(folder.path() / "data");
  EXPECT_EQ(daemon.call("AuthService/GetCurrentUser", nlohmann::json::object(), token)["name"], "ada");
  EXPECT_FALSE(std::filesystem::exists(daemon.data() / "setup-link"));
  EXPECT_EQ(base::read_file(daemon.data() / "local-join-token"), join_token);
  EXPECT_EQ(daemon.stop(SIGTERM), 0);
  EXPECT_FALSE(std::filesystem::exists(daemon.data() / "slipwayd.json"));
  const std::string log = base::read_file(daemon.data().string() + ".log");
  EXPECT_THAT(log, testing::Not(HasSubstr(token)));
  EXPECT_THAT(log, testing::Not(HasSubstr("0123456789")));
}

// A self-signed certificate for localhost.
void write_certificate(const std::filesystem::path& certificate, const std::filesystem::path& key) {
  EVP_PKEY* pair = EVP_EC_gen("P-256");
  X509* x509 = X509_new();
  X509_set_version(x509, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
  X509_gmtime_adj(X509_getm_notBefore(x509), -60);
  X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
  X509_NAME* name = X509_get_subject_name(x509);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
  X509_set_issuer_name(x509, name);
  X509_set_pubkey(x509, pair);
  X509_sign(x509, pair, EVP_sha256());
  FILE* file = fopen(certificate.c_str(), "w");
  PEM_write_X509(file, x509);
  fclose(file);
  file = fopen(key.c_str(), "w");
  PEM_write_PrivateKey(file, pair, nullptr, nullptr, 0, nullptr, nullptr);
  fclose(file);
  X509_free(x509);
  EVP_PKEY_free(pair);
}

TEST(Slipwayd, ServesOverTlsWhenItHasACertificate) {
  const base::TemporaryFolder folder;
  write_certificate(folder.path() / "cert.pem", folder.path() / "key.pem");
  Daemon daemon(folder.path() / "data",
                {"--tls-cert", folder.path() / "cert.pem", "--tls-key", folder.path() / "key.pem"});
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  BIO* connection = BIO_new_ssl_connect(context);
  BIO_set_conn_hostname(connection, ("127.0.0.1:" + std::to_string(daemon.web_port())).c_str());
  ASSERT_EQ(BIO_do_connect(connection), 1);
  const std::string body = R"({"setupToken":"wrong"})";
  const std::string link = base::read_file(daemon.data() / "setup-link");
  EXPECT_EQ(link.rfind("https://", 0), 0U);
  const std::string setup = R"({"setupToken":")" + link.substr(link.find("token=") + 6, 43) +
                            R"(","userName":"ada","password":"0123456789"})";
  const std::string request =
      "POST /api/slipway.v1.AuthService/CompleteSetup HTTP/1.1\r\nHost: slipway.example\r\nContent-Type: "
      "application/json\r\nContent-Length: " +
      std::to_string(setup.size()) + "\r\n\r\n" + setup;
  ASSERT_EQ(BIO_write(connection, request.data(), static_cast<int>(request.size())), static_cast<int>(request.size()));
  std::string reply;
  char buffer[4096];
  while (reply.find("ada") == std::string::npos) {
    const int got = BIO_read(connection, buffer, sizeof buffer);
    ASSERT_GT(got, 0) << reply;
    reply.append(buffer, static_cast<size_t>(got));
  }
  EXPECT_THAT(reply, HasSubstr("; Secure"));
  EXPECT_THAT(reply, HasSubstr("HttpOnly; SameSite=Strict"));
  BIO_free_all(connection);
  SSL_CTX_free(context);
  // Who speaks plain HTTP to it gets nothing, and does no harm.
  web::HttpClient plain(daemon.web_port());
  plain.send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(plain.read_reply().status, 0);
  EXPECT_EQ(daemon.stop(SIGTERM), 0);
}

}  // namespace
}  // namespace slipway
