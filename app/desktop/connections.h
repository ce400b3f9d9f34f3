// The backends this desktop knows: remembered between starts. Addresses only; secrets are in SecretStore.
#pragma once

#include <QList>
#include <QString>
#include <QUrl>
#include <optional>

class QSettings;

namespace slipway::desktop {

struct Connection {
  QString name;        // what the menu shows; unique
  QUrl url;            // http://127.0.0.1:7878, https://…; for the local backend what it told when it started
  bool local = false;  // started by this desktop when it does not run

  bool operator==(const Connection&) const = default;
};

// An address as a person types it, made whole: "gpu1:7878" -> http://gpu1:7878. Empty when it is no web address, or has
// a path, a user or a password. Plain http is only for this machine: another host gets https.
std::optional<QUrl> parse_address(const QString& typed);

// GUI thread.
class Connections {
 public:
  explicit Connections(QSettings& settings);
  QList<Connection> all() const;                // the local one first
  void remember(const Connection& connection);  // replaces one of the same name
  void forget(const QString& name);
  QString last_used() const;
  void set_last_used(const QString& name);

 private:
  QSettings& settings_;
};

}  // namespace slipway::desktop
