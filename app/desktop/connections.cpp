#include "app/desktop/connections.h"

#include <QHostAddress>
#include <QSettings>

namespace slipway::desktop {
namespace {

const QString kGroup = QStringLiteral("connections");
const QString kLastUsed = QStringLiteral("last_used");
const QString kLocalName = QStringLiteral("This machine");

bool is_this_machine(const QString& host) {
  return host == QLatin1String("localhost") || QHostAddress(host).isLoopback();
}

}  // namespace

std::optional<QUrl> parse_address(const QString& typed) {
  QString text = typed.trimmed();
  if (text.isEmpty()) return std::nullopt;
  const bool has_scheme = text.contains(QLatin1String("://"));
  if (!has_scheme) text.prepend(QLatin1String("http://"));
  QUrl url(text, QUrl::StrictMode);
  if (!url.isValid() || url.host().isEmpty() || !url.userInfo().isEmpty() || url.hasQuery() || url.hasFragment()) {
    return std::nullopt;
  }
  if (!url.path().isEmpty() && url.path() != QLatin1String("/")) return std::nullopt;
  if (url.scheme() != QLatin1String("http") && url.scheme() != QLatin1String("https")) return std::nullopt;
  if (!is_this_machine(url.host())) {
    if (has_scheme && url.scheme() == QLatin1String("http")) return std::nullopt;
    url.setScheme(QStringLiteral("https"));
  }
  url.setPath(QString());
  return url;
}

Connections::Connections(QSettings& settings) : settings_(settings) {}

QList<Connection> Connections::all() const {
  QList<Connection> result{{kLocalName, QUrl(), true}};
  settings_.beginGroup(kGroup);
  for (const QString& name : settings_.childKeys()) {
    result.append({name, settings_.value(name).toUrl(), false});
  }
  settings_.endGroup();
  return result;
}

void Connections::remember(const Connection& connection) {
  if (connection.local) return;
  settings_.setValue(kGroup + QLatin1Char('/') + connection.name, connection.url);
}

void Connections::forget(const QString& name) {
  settings_.remove(kGroup + QLatin1Char('/') + name);
  if (last_used() == name) settings_.remove(kLastUsed);
}

QString Connections::last_used() const { return settings_.value(kLastUsed).toString(); }

void Connections::set_last_used(const QString& name) { settings_.setValue(kLastUsed, name); }

}  // namespace slipway::desktop
