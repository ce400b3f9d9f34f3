#include "app/desktop/session_keeper.h"

#include <QNetworkCookie>
#include <QWebEngineCookieStore>
#include <utility>

#include "app/desktop/secret_store.h"

namespace slipway::desktop {
namespace {

// As backend/web/session_cookie names it: by the port, since cookies do not know ports.
QByteArray cookie_name(const QUrl& url) {
  QByteArray name = "slipway_session";
  if (url.port() >= 0) name += '_' + QByteArray::number(url.port());
  return name;
}

}  // namespace

SessionKeeper::SessionKeeper(QWebEngineCookieStore* cookies, SecretStore& secrets, QObject* parent)
    : QObject(parent), cookies_(cookies), secrets_(secrets) {
  connect(cookies_, &QWebEngineCookieStore::cookieAdded, this, &SessionKeeper::on_added);
  connect(cookies_, &QWebEngineCookieStore::cookieRemoved, this, &SessionKeeper::on_removed);
}

void SessionKeeper::open(const QString& connection, const QUrl& url, std::function<void()> ready) {
  // Cookies do not know ports: the session of another backend on this host must not be sent to this one.
  cookies_->deleteAllCookies();
  connection_ = connection;
  url_ = url;
  value_.clear();
  secrets_.read(key(), this, [this, url, ready = std::move(ready)](const QByteArray& secret) {
    if (url != url_) return;  // another connection was chosen meanwhile
    if (!secret.isEmpty()) {
      value_ = secret;
      QNetworkCookie cookie(cookie_name(url_), secret);
      cookie.setPath(QStringLiteral("/"));
      cookie.setHttpOnly(true);
      cookie.setSecure(url_.scheme() == QLatin1String("https"));
      cookies_->setCookie(cookie, url_);
    }
    ready();
    Q_EMIT session_changed();
  });
}

QByteArray SessionKeeper::cookie_header() const {
  return value_.isEmpty() ? QByteArray() : cookie_name(url_) + '=' + value_;
}

void SessionKeeper::on_added(const QNetworkCookie& cookie) {
  if (cookie.name() != cookie_name(url_) || cookie.value() == value_ || cookie.domain() != url_.host()) return;
  value_ = cookie.value();
  if (value_.isEmpty()) {
    secrets_.remove(key());
  } else {
    secrets_.write(key(), value_);
  }
  Q_EMIT session_changed();
}

void SessionKeeper::on_removed(const QNetworkCookie& cookie) {
  if (cookie.name() != cookie_name(url_) || cookie.value() != value_ || value_.isEmpty()) return;
  value_.clear();
  secrets_.remove(key());
  Q_EMIT session_changed();
}

QString SessionKeeper::key() const { return QStringLiteral("session ") + connection_; }

}  // namespace slipway::desktop
