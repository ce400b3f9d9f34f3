// The backend of this machine: found when it runs, started with `slipway up` when it does not, stopped with the desktop
// only if the desktop started it.
#pragma once

#include <QObject>
#include <QProcess>
#include <QString>
#include <QStringList>
#include <QTimer>
#include <QUrl>
#include <filesystem>

namespace slipway::desktop {

// GUI thread.
class LocalBackend : public QObject {
  Q_OBJECT
 public:
  // program: the slipway command; data: the data folder of slipwayd; more_arguments: for `slipway up`.
  LocalBackend(QString program, std::filesystem::path data, QStringList more_arguments = {}, QObject* parent = nullptr);
  ~LocalBackend() override;

  // Ends in ready() or failed().
  void start();
  const std::filesystem::path& data() const { return data_; }

 Q_SIGNALS:
  // url: where the console is; on a first start, the one-time link that makes the administrator.
  void ready(const QUrl& url);
  void failed(const QString& what, const QString& advice);

 private:
  // The address that a living slipwayd wrote into its data folder; empty when none lives.
  QUrl running_url() const;
  void poll();
  void announce(const QUrl& url);

  QString program_;
  std::filesystem::path data_;
  QStringList more_arguments_;
  QProcess process_;
  QTimer poll_;
  int polls_left_ = 0;
};

}  // namespace slipway::desktop
