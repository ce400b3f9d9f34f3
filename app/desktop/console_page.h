// The page that shows the console: stays on its backend, sends foreign links to the system's browser, and lets the menu
// hand it files to import.
#pragma once

#include <QUrl>
#include <QWebEnginePage>
#include <functional>

namespace slipway::desktop {

// GUI thread.
class ConsolePage : public QWebEnginePage {
  Q_OBJECT
 public:
  // open_outside: how a foreign link is opened (QDesktopServices in the program).
  ConsolePage(QWebEngineProfile* profile, std::function<void(const QUrl&)> open_outside, QObject* parent = nullptr);

  void set_home(const QUrl& home) { home_ = home; }
  const QUrl& home() const { return home_; }
  // Loads an address of the console, like /runs.
  void go(const QString& path);

  // The next file chooser that the page opens is answered with these.
  void offer_files(const QStringList& files) { offered_files_ = files; }

 protected:
  bool acceptNavigationRequest(const QUrl& url, NavigationType type, bool is_main_frame) override;
  QWebEnginePage* createWindow(WebWindowType type) override;
  QStringList chooseFiles(FileSelectionMode mode, const QStringList& old_files, const QStringList& mime_types) override;

 private:
  bool is_home(const QUrl& url) const;

  std::function<void(const QUrl&)> open_outside_;
  QUrl home_;
  QStringList offered_files_;
};

}  // namespace slipway::desktop
