// Where session secrets rest between starts: the system's keychain. Where there is none, nothing is kept.
#pragma once

#include <QByteArray>
#include <QString>
#include <functional>

class QObject;

namespace slipway::desktop {

// GUI thread. Calls are asynchronous; `done` is called once, on the GUI thread, unless `context` is gone by then.
class SecretStore {
 public:
  virtual ~SecretStore() = default;
  // An empty secret when there is none, or no keychain.
  virtual void read(const QString& key, QObject* context, std::function<void(const QByteArray&)> done) = 0;
  virtual void write(const QString& key, const QByteArray& secret) = 0;
  virtual void remove(const QString& key) = 0;
};

// The freedesktop Secret Service or KWallet, through QtKeychain, never its plain-text fallback.
class KeychainStore : public SecretStore {
 public:
  void read(const QString& key, QObject* context, std::function<void(const QByteArray&)> done) override;
  void write(const QString& key, const QByteArray& secret) override;
  void remove(const QString& key) override;
};

}  // namespace slipway::desktop
