#include "app/desktop/console_page.h"

#include <utility>

namespace slipway::desktop {
namespace {

// A link with target=_blank has no address yet when its page is made: this page lives until it knows, and passes it on.
class LinkCatcher : public QWebEnginePage {
 public:
  LinkCatcher(QWebEngineProfile* profile, std::function<void(const QUrl&)> caught, QObject* parent)
      : QWebEnginePage(profile, parent), caught_(std::move(caught)) {}

 protected:
  bool acceptNavigationRequest(const QUrl& url, NavigationType, bool) override {
    caught_(url);
    deleteLater();
    return false;
  }

 private:
  std::function<void(const QUrl&)> caught_;
};

bool same_origin(const QUrl& a, const QUrl& b) {
  return a.scheme() == b.scheme() && a.host() == b.host() && a.port() == b.port();
}

}  // namespace

ConsolePage::ConsolePage(QWebEngineProfile* profile, std::function<void(const QUrl&)> open_outside, QObject* parent)
    : QWebEnginePage(profile, parent), open_outside_(std::move(open_outside)) {}

void ConsolePage::go(const QString& path) {
  const QUrl target = home_.resolved(QUrl(path));
  if (is_home(target)) setUrl(target);
}

bool ConsolePage::is_home(const QUrl& url) const { return same_origin(url, home_); }

bool ConsolePage::acceptNavigationRequest(const QUrl& url, NavigationType, bool is_main_frame) {
  const QString scheme = url.scheme();
  const bool own = is_home(url) || scheme == QLatin1String("data") || scheme == QLatin1String("blob") ||
                   url == QUrl(QStringLiteral("about:blank"));
  if (!is_main_frame || own) return own;
  if (scheme == QLatin1String("http") || scheme == QLatin1String("https") || scheme == QLatin1String("mailto")) {
    open_outside_(url);
  }
  return false;
}

QWebEnginePage* ConsolePage::createWindow(WebWindowType) {
  return new LinkCatcher(
      profile(),
      [this](const QUrl& url) {
        if (is_home(url)) {
          setUrl(url);
        } else {
          acceptNavigationRequest(url, NavigationTypeLinkClicked, true);
        }
      },
      this);
}

QStringList ConsolePage::chooseFiles(FileSelectionMode mode, const QStringList& old_files,
                                     const QStringList& mime_types) {
  if (!offered_files_.isEmpty()) return std::exchange(offered_files_, {});
  return QWebEnginePage::chooseFiles(mode, old_files, mime_types);
}

}  // namespace slipway::desktop
