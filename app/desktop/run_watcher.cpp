#include "app/desktop/run_watcher.h"

#include <QJsonDocument>
#include <QNetworkReply>
#include <QNetworkRequest>
#include <algorithm>

namespace slipway::desktop {
namespace {

constexpr int kFirstRetryMs = 1000;
constexpr int kLongestRetryMs = 30'000;
const QString kWatchPath = QStringLiteral("/api/slipway.v1.EventService/Watch");

// The end states of slipway.v1.RunState, and the word for each.
QString end_state(const QString& state) {
  if (state == QLatin1String("RUN_STATE_SUCCEEDED")) return QStringLiteral("succeeded");
  if (state == QLatin1String("RUN_STATE_FAILED")) return QStringLiteral("failed");
  if (state == QLatin1String("RUN_STATE_CANCELLED")) return QStringLiteral("cancelled");
  return {};
}

}  // namespace

RunWatcher::RunWatcher(QObject* parent) : QObject(parent) {
  retry_.setSingleShot(true);
  retry_.setInterval(kFirstRetryMs);
  connect(&retry_, &QTimer::timeout, this, &RunWatcher::open);
}

void RunWatcher::watch(const QUrl& url, const QByteArray& cookie_header) {
  if (url == url_ && cookie_header == cookie_header_) return;
  retry_.stop();
  if (reply_) {
    reply_->disconnect(this);
    reply_->abort();
    reply_->deleteLater();
  }
  if (url != url_) {
    cursor_.clear();
    ended_.clear();
  }
  url_ = url;
  cookie_header_ = cookie_header;
  if (!cookie_header_.isEmpty()) open();
}

void RunWatcher::open() {
  QUrl target = url_;
  target.setPath(kWatchPath);
  QNetworkRequest request(target);
  request.setHeader(QNetworkRequest::ContentTypeHeader, QByteArray("application/connect+json"));
  request.setRawHeader("Connect-Protocol-Version", "1");
  request.setRawHeader("Origin", url_.toString(QUrl::RemovePath).toUtf8());
  request.setRawHeader("Cookie", cookie_header_);
  request.setAttribute(QNetworkRequest::CookieLoadControlAttribute, QNetworkRequest::Manual);
  request.setAttribute(QNetworkRequest::CookieSaveControlAttribute, QNetworkRequest::Manual);
  request.setAttribute(QNetworkRequest::RedirectPolicyAttribute, QNetworkRequest::ManualRedirectPolicy);
  const QByteArray body =
      QJsonDocument(QJsonObject{{QStringLiteral("cursor"), cursor_}}).toJson(QJsonDocument::Compact);
  reader_ = EnvelopeReader();
  reply_ = network_.post(request, make_envelope(body));
  connect(reply_, &QNetworkReply::readyRead, this, &RunWatcher::on_bytes);
  connect(reply_, &QNetworkReply::finished, this, &RunWatcher::on_finished);
}

void RunWatcher::on_bytes() {
  if (reply_->attribute(QNetworkRequest::HttpStatusCodeAttribute).toInt() != 200) return;
  reader_.append(reply_->readAll());
  while (const auto envelope = reader_.next()) {
    if (envelope->end) break;
    retry_.setInterval(kFirstRetryMs);
    const QString cursor = envelope->json.value(QLatin1String("cursor")).toString();
    if (!cursor.isEmpty()) cursor_ = cursor;
    const QJsonValue run = envelope->json.value(QLatin1String("run"));
    if (run.isObject()) on_run(run.toObject());
  }
  if (reader_.broken()) reply_->abort();
}

void RunWatcher::on_finished() {
  const int status = reply_->attribute(QNetworkRequest::HttpStatusCodeAttribute).toInt();
  reply_->deleteLater();
  reply_ = nullptr;
  if (status == 401) return;  // signed out: watch() comes again with the next session
  retry_.start();
  retry_.setInterval(std::min(retry_.interval() * 2, kLongestRetryMs));
}

void RunWatcher::on_run(const QJsonObject& run) {
  const QString id = run.value(QLatin1String("id")).toString();
  const QString state = end_state(run.value(QLatin1String("state")).toString());
  const bool had_ended = ended_.value(id, false);
  ended_.insert(id, !state.isEmpty());
  if (state.isEmpty() || had_ended) return;
  Q_EMIT run_ended(id, run.value(QLatin1String("name")).toString(), state);
}

}  // namespace slipway::desktop
