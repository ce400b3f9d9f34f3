#include "backend/rpc/auth_adapter.h"

#include "backend/rpc/times.h"
#include "backend/rpc/unary.h"

namespace slipway::rpc {
namespace {

void fill_user(const store::UserRecord& user, v1::User* message) {
  message->set_id(user.id);
  message->set_name(user.name);
  message->set_administrator(user.administrator);
  set_time(message->mutable_created_at(), user.created_at_ms);
}

void fill_token(const store::ApiTokenRecord& token, v1::ApiToken* message) {
  message->set_id(token.id);
  message->set_name(token.name);
  set_time(message->mutable_created_at(), token.created_at_ms);
  if (token.last_used_at_ms != 0) set_time(message->mutable_last_used_at(), token.last_used_at_ms);
}

}  // namespace

void AuthAdapter::set_cookie(grpc::CallbackServerContext* context, const std::string& secret) const {
  const int64_t lifetime_s = secret.empty() ? 0 : service::Auth::kSessionLifetimeMs / 1000;
  std::string cookie = std::string(service::kSessionCookie) + "=" + secret +
                       "; Path=/; HttpOnly; SameSite=Strict; Max-Age=" + std::to_string(lifetime_s);
  if (options_.secure_cookie) cookie += "; Secure";
  context->AddInitialMetadata("set-cookie", cookie);
}

grpc::ServerUnaryReactor* AuthAdapter::GetSetupState(grpc::CallbackServerContext* context,
                                                     const v1::GetSetupStateRequest*,
                                                     v1::GetSetupStateResponse* response) {
  return unary(context, gate_, Access::kOpen, [=, this]() -> absl::Status {
    const auto needs = auth_.needs_administrator();
    if (!needs.ok()) return needs.status();
    response->set_needs_administrator(*needs);
    response->set_version(options_.version);
    response->set_web_url(options_.web_url);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AuthAdapter::CompleteSetup(grpc::CallbackServerContext* context,
                                                     const v1::CompleteSetupRequest* request,
                                                     v1::SignInResponse* response) {
  return unary(context, gate_, Access::kOpen, [=, this]() -> absl::Status {
    const auto signed_in = auth_.complete_setup(request->setup_token(), request->user_name(), request->password());
    if (!signed_in.ok()) return signed_in.status();
    if (options_.on_setup_done) options_.on_setup_done();
    fill_user(signed_in->user, response->mutable_user());
    set_cookie(context, signed_in->session_secret);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AuthAdapter::SignIn(grpc::CallbackServerContext* context, const v1::SignInRequest* request,
                                              v1::SignInResponse* response) {
  return unary(context, gate_, Access::kOpen, [=, this]() -> absl::Status {
    const auto signed_in = auth_.sign_in(request->user_name(), request->password(), request->api_token_name());
    if (!signed_in.ok()) return signed_in.status();
    fill_user(signed_in->user, response->mutable_user());
    response->set_api_token(signed_in->api_token);
    if (!signed_in->session_secret.empty()) set_cookie(context, signed_in->session_secret);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AuthAdapter::SignOut(grpc::CallbackServerContext* context, const v1::SignOutRequest*,
                                               v1::SignOutResponse*) {
  return unary(context, gate_, [=, this](const service::Caller& caller) -> absl::Status {
    if (!caller.session_id.empty()) set_cookie(context, "");
    return auth_.sign_out(caller);
  });
}

grpc::ServerUnaryReactor* AuthAdapter::GetCurrentUser(grpc::CallbackServerContext* context,
                                                      const v1::GetCurrentUserRequest*, v1::User* response) {
  return unary(context, gate_, [=, this](const service::Caller& caller) -> absl::Status {
    const auto user = auth_.current_user(caller);
    if (!user.ok()) return user.status();
    fill_user(*user, response);
    // The console asks at each load: so the cookie lives as long as the session, which slides.
    if (!caller.session_id.empty()) set_cookie(context, credentials_of(*context).session);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AuthAdapter::ChangePassword(grpc::CallbackServerContext* context,
                                                      const v1::ChangePasswordRequest* request,
                                                      v1::ChangePasswordResponse*) {
  return unary(context, gate_, [=, this](const service::Caller& caller) {
    return auth_.change_password(caller, request->old_password(), request->new_password());
  });
}

grpc::ServerUnaryReactor* AuthAdapter::CreateApiToken(grpc::CallbackServerContext* context,
                                                      const v1::CreateApiTokenRequest* request,
                                                      v1::CreateApiTokenResponse* response) {
  return unary(context, gate_, [=, this](const service::Caller& caller) -> absl::Status {
    const auto token = auth_.create_api_token(caller, request->name());
    if (!token.ok()) return token.status();
    fill_token(token->record, response->mutable_api_token());
    response->set_secret(token->secret);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AuthAdapter::ListApiTokens(grpc::CallbackServerContext* context,
                                                     const v1::ListApiTokensRequest*,
                                                     v1::ListApiTokensResponse* response) {
  return unary(context, gate_, [=, this](const service::Caller& caller) -> absl::Status {
    const auto tokens = auth_.list_api_tokens(caller);
    if (!tokens.ok()) return tokens.status();
    for (const store::ApiTokenRecord& token : *tokens) fill_token(token, response->add_api_tokens());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* AuthAdapter::RevokeApiToken(grpc::CallbackServerContext* context,
                                                      const v1::RevokeApiTokenRequest* request,
                                                      v1::RevokeApiTokenResponse*) {
  return unary(context, gate_,
               [=, this](const service::Caller& caller) { return auth_.revoke_api_token(caller, request->id()); });
}

}  // namespace slipway::rpc
