// Keeps the console's session cookie in the SecretStore: put back before the page loads, saved when the person signs
// in, removed when they sign out. The cookie itself never reaches the disk.
#pragma once

#include <QByteArray>
#include <QObject>
#include <QString>
#include <QUrl>
#include <functional>

class QNetworkCookie;
class QWebEngineCookieStore;

namespace slipway::desktop {

class SecretStore;

// GUI thread.
class SessionKeeper : public QObject {
  Q_OBJECT
 public:
  SessionKeeper(QWebEngineCookieStore* cookies, SecretStore& secrets, QObject* parent = nullptr);

  // From now on watches the session of `url`, kept under the connection's name, which stays when a local backend comes
  // back on another port; `ready` is called when a kept session is back in the cookie store.
  void open(const QString& connection, const QUrl& url, std::function<void()> ready);

  // `slipway_session_PORT=…` for requests of our own; empty while signed out.
  QByteArray cookie_header() const;

 Q_SIGNALS:
  void session_changed();

 private:
  void on_added(const QNetworkCookie& cookie);
  void on_removed(const QNetworkCookie& cookie);
  QString key() const;

  QWebEngineCookieStore* cookies_;
  SecretStore& secrets_;
  QString connection_;
  QUrl url_;
  QByteArray value_;
};

}  // namespace slipway::desktop
