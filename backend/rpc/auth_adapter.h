// AuthService over gRPC. Over the web, the session's cookie travels in the initial metadata `set-cookie`.
#pragma once

#include <functional>
#include <string>

#include "backend/rpc/gate.h"
#include "slipway/v1/auth.grpc.pb.h"

namespace slipway::rpc {

class AuthAdapter final : public v1::AuthService::CallbackService {
 public:
  struct Options {
    std::string version;
    std::string web_url;  // http://127.0.0.1:7878
    bool secure_cookie = false;
    // The first administrator was made: the link is of no use any more.
    std::function<void()> on_setup_done;
  };
  AuthAdapter(Gate gate, service::Auth& auth, Options options)
      : gate_(gate), auth_(auth), options_(std::move(options)) {}

  grpc::ServerUnaryReactor* GetSetupState(grpc::CallbackServerContext* context, const v1::GetSetupStateRequest* request,
                                          v1::GetSetupStateResponse* response) override;
  grpc::ServerUnaryReactor* CompleteSetup(grpc::CallbackServerContext* context, const v1::CompleteSetupRequest* request,
                                          v1::SignInResponse* response) override;
  grpc::ServerUnaryReactor* SignIn(grpc::CallbackServerContext* context, const v1::SignInRequest* request,
                                   v1::SignInResponse* response) override;
  grpc::ServerUnaryReactor* SignOut(grpc::CallbackServerContext* context, const v1::SignOutRequest* request,
                                    v1::SignOutResponse* response) override;
  grpc::ServerUnaryReactor* GetCurrentUser(grpc::CallbackServerContext* context,
                                           const v1::GetCurrentUserRequest* request, v1::User* response) override;
  grpc::ServerUnaryReactor* ChangePassword(grpc::CallbackServerContext* context,
                                           const v1::ChangePasswordRequest* request,
                                           v1::ChangePasswordResponse* response) override;
  grpc::ServerUnaryReactor* CreateApiToken(grpc::CallbackServerContext* context,
                                           const v1::CreateApiTokenRequest* request,
                                           v1::CreateApiTokenResponse* response) override;
  grpc::ServerUnaryReactor* ListApiTokens(grpc::CallbackServerContext* context, const v1::ListApiTokensRequest* request,
                                          v1::ListApiTokensResponse* response) override;
  grpc::ServerUnaryReactor* RevokeApiToken(grpc::CallbackServerContext* context,
                                           const v1::RevokeApiTokenRequest* request,
                                           v1::RevokeApiTokenResponse* response) override;

 private:
  void set_cookie(grpc::CallbackServerContext* context, const std::string& secret) const;

  Gate gate_;
  service::Auth& auth_;
  const Options options_;
};

}  // namespace slipway::rpc
