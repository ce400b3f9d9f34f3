#include "app/desktop/local_backend.h"

#include <signal.h>

#include <QJsonDocument>
#include <QJsonObject>
#include <utility>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::desktop {
namespace {

constexpr int kPollMs = 50;
constexpr int kPolls = 600;      // 30 s
constexpr int kStopMs = 70'000;  // `slipway up` itself gives the agent 40 s and slipwayd 20

QByteArray read_or_empty(const std::filesystem::path& path) {
  try {
    return QByteArray::fromStdString(base::read_file(path, 1 << 16));
  } catch (const base::Error&) {
    return {};
  }
}

}  // namespace

LocalBackend::LocalBackend(QString program, std::filesystem::path data, QStringList more_arguments, QObject* parent)
    : QObject(parent),
      program_(std::move(program)),
      data_(std::move(data)),
      more_arguments_(std::move(more_arguments)) {
  poll_.setInterval(kPollMs);
  connect(&poll_, &QTimer::timeout, this, &LocalBackend::poll);
  process_.setProcessChannelMode(QProcess::MergedChannels);
  connect(&process_, &QProcess::errorOccurred, this, [this](QProcess::ProcessError error) {
    if (error != QProcess::FailedToStart) return;
    poll_.stop();
    Q_EMIT failed(tr("%1 could not be started: %2").arg(program_, process_.errorString()),
                  tr("Install Slipway again, or connect to another backend."));
  });
}

LocalBackend::~LocalBackend() {
  process_.disconnect(this);
  if (process_.state() == QProcess::NotRunning) return;
  process_.terminate();  // `slipway up` stops what it started, in order
  if (!process_.waitForFinished(kStopMs)) process_.kill();
}

void LocalBackend::start() {
  const QUrl running = running_url();
  if (!running.isEmpty()) {
    announce(running);
    return;
  }
  process_.start(program_,
                 QStringList{QStringLiteral("up"), QStringLiteral("--data"), QString::fromStdString(data_.string())} +
                     more_arguments_);
  polls_left_ = kPolls;
  poll_.start();
}

QUrl LocalBackend::running_url() const {
  const QJsonObject state = QJsonDocument::fromJson(read_or_empty(data_ / "slipwayd.json")).object();
  const auto pid = static_cast<pid_t>(state.value(QLatin1String("pid")).toInteger());
  if (pid <= 0 || (kill(pid, 0) != 0 && errno == ESRCH)) return {};
  const QString web = state.value(QLatin1String("web")).toString();
  return QUrl(web.contains(QLatin1String("://")) ? web : QLatin1String("http://") + web);
}

void LocalBackend::poll() {
  const QUrl url = running_url();
  if (!url.isEmpty()) {
    poll_.stop();
    announce(url);
    return;
  }
  const bool ended = process_.state() == QProcess::NotRunning;
  if (!ended && --polls_left_ > 0) return;
  poll_.stop();
  const QString said = QString::fromUtf8(process_.readAll()).trimmed().right(2000);
  Q_EMIT failed(ended ? tr("The local backend ended while it started: %1").arg(said)
                      : tr("The local backend did not start within 30 s. It said: %1").arg(said),
                tr("Look at the logs in %1.").arg(QString::fromStdString(data_.string())));
}

void LocalBackend::announce(const QUrl& url) {
  const QUrl setup(QString::fromUtf8(read_or_empty(data_ / "setup-link")).trimmed());
  Q_EMIT ready(setup.isValid() && setup.host() == url.host() && setup.port() == url.port() ? setup : url);
}

}  // namespace slipway::desktop
