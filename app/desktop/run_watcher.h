// Watches the backend's runs over the same stream as the pages do, and says when one ends.
#pragma once

#include <QHash>
#include <QNetworkAccessManager>
#include <QObject>
#include <QPointer>
#include <QString>
#include <QTimer>
#include <QUrl>

#include "app/desktop/connect_stream.h"

class QNetworkReply;

namespace slipway::desktop {

// GUI thread. Reconnects by itself, from the last cursor, after 1 s and then up to 30 s.
class RunWatcher : public QObject {
  Q_OBJECT
 public:
  explicit RunWatcher(QObject* parent = nullptr);

  // Watches `url` as the person whose session cookie this is; an empty cookie stops.
  void watch(const QUrl& url, const QByteArray& cookie_header);

  const QUrl& watched_url() const { return url_; }
  const QString& cursor() const { return cursor_; }

 Q_SIGNALS:
  // state: succeeded, failed, cancelled.
  void run_ended(const QString& run_id, const QString& name, const QString& state);

 private:
  void open();
  void on_bytes();
  void on_finished();
  void on_run(const QJsonObject& run);

  QNetworkAccessManager network_;
  QPointer<QNetworkReply> reply_;
  QTimer retry_;
  EnvelopeReader reader_;
  QUrl url_;
  QByteArray cookie_header_;
  QString cursor_;
  QHash<QString, bool> ended_;  // by run id
};

}  // namespace slipway::desktop
