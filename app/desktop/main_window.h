// The window: the console's page, the menus around it, and what a browser lacks.
#pragma once

#include <QMainWindow>
#include <functional>
#include <memory>

#include "app/desktop/connections.h"

class QSettings;
class QSystemTrayIcon;
class QWebEngineProfile;
class QWebEngineView;

namespace slipway::desktop {

class ConsolePage;
class LocalBackend;
class RunWatcher;
class SecretStore;
class SessionKeeper;

struct MainWindowOptions {
  QString slipway_program;   // starts the local backend
  QString data;              // its data folder
  QStringList up_arguments;  // more of them for `slipway up`
  std::function<void(const QUrl&)> open_outside;
  // Tells that a run has ended.
  std::function<void(const QString& title, const QString& text)> notify;  // empty: the system tray, when unfocused
  std::function<QStringList(const QString& title, const QString& filter)> choose_files;  // empty: the system's dialog
};

// GUI thread.
class MainWindow : public QMainWindow {
  Q_OBJECT
 public:
  MainWindow(QSettings& settings, SecretStore& secrets, MainWindowOptions options);
  ~MainWindow() override;

  // Shows the console of a connection; a local one is started first when it does not run.
  void open(const Connection& connection);
  // The connection used last, or this machine's.
  void open_last();

  ConsolePage* page() const { return page_; }
  Connections& connections() { return connections_; }
  RunWatcher& run_watcher() { return *run_watcher_; }

  // What the menu's actions do.
  void ask_for_connection();
  void forget_connection();
  void import_files(const QString& kind);  // model, dataset
  void go(const QString& path);
  void zoom_by(double factor);  // 0: back to 100 %
  void toggle_full_screen();
  void open_in_browser();
  void show_about();

 protected:
  void closeEvent(QCloseEvent* event) override;

 private:
  void show_console(const QUrl& address);
  // Opens the file chooser of the page at `path` as soon as the page has its button, unless the person leaves it.
  void press_file_button(const QString& path);
  void show_problem(const QString& what, const QString& advice);
  void on_run_ended(const QString& run_id, const QString& name, const QString& state);

  QSettings& settings_;
  Connections connections_;
  MainWindowOptions options_;
  QWebEngineProfile* profile_;
  QWebEngineView* view_;
  ConsolePage* page_;
  SessionKeeper* session_;
  RunWatcher* run_watcher_;
  QSystemTrayIcon* tray_ = nullptr;
  std::unique_ptr<LocalBackend> local_;
  Connection current_;
  QString last_ended_run_;
};

}  // namespace slipway::desktop
