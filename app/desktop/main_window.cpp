#include "app/desktop/main_window.h"

#include <QCloseEvent>
#include <QCoreApplication>
#include <QFileDialog>
#include <QInputDialog>
#include <QKeyEvent>
#include <QMessageBox>
#include <QSettings>
#include <QSystemTrayIcon>
#include <QTimer>
#include <QWebEngineCookieStore>
#include <QWebEngineProfile>
#include <QWebEngineSettings>
#include <QWebEngineView>
#include <algorithm>
#include <utility>

#include "app/desktop/console_page.h"
#include "app/desktop/local_backend.h"
#include "app/desktop/menus.h"
#include "app/desktop/run_watcher.h"
#include "app/desktop/secret_store.h"
#include "app/desktop/session_keeper.h"

namespace slipway::desktop {
namespace {

const QString kGeometry = QStringLiteral("window/geometry");
const QString kZoom = QStringLiteral("window/zoom");

// Puts the focus on the file button of the page at a path (%1); false as long as a key would miss it: what loads a page
// is over when its document says so, the document that is being left has another path, or the mark of kLeave, and
// before a page's first frame Chromium drops keys.
const QString kFocusFileButton = QStringLiteral(R"(
  (() => {
    if (location.pathname !== '%1' || document.readyState !== 'complete' || window.slipwayLeaves) return false;
    const button = document.querySelector('[data-choose-files]');
    if (!button || performance.getEntriesByName('first-contentful-paint').length === 0) return false;
    button.focus();
    return document.activeElement === button;
  })()
)");
const QString kLeave = QStringLiteral("window.slipwayLeaves = true");
constexpr int kFileButtonPauseMs = 100;

}  // namespace

MainWindow::MainWindow(QSettings& settings, SecretStore& secrets, MainWindowOptions options)
    : settings_(settings),
      connections_(settings),
      options_(std::move(options)),
      profile_(new QWebEngineProfile(this)),  // off the record: the session rests in the keychain alone
      view_(new QWebEngineView(this)),
      page_(new ConsolePage(profile_, options_.open_outside, view_)),
      session_(new SessionKeeper(profile_->cookieStore(), secrets, this)),
      run_watcher_(new RunWatcher(this)) {
  setWindowTitle(QStringLiteral("Slipway"));
  resize(1440, 900);
  setMinimumSize(1024, 600);
  view_->setPage(page_);
  setCentralWidget(view_);
  page_->settings()->setAttribute(QWebEngineSettings::FullScreenSupportEnabled, true);
  add_menus(*this);
  restoreGeometry(settings_.value(kGeometry).toByteArray());
  view_->setZoomFactor(settings_.value(kZoom, 1.0).toDouble());

  connect(page_, &QWebEnginePage::titleChanged, this,
          [this](const QString& title) { setWindowTitle(title.isEmpty() ? QStringLiteral("Slipway") : title); });
  connect(session_, &SessionKeeper::session_changed, this,
          [this] { run_watcher_->watch(page_->home(), session_->cookie_header()); });
  connect(run_watcher_, &RunWatcher::run_ended, this, &MainWindow::on_run_ended);
  if (!options_.notify && QSystemTrayIcon::isSystemTrayAvailable()) {
    tray_ = new QSystemTrayIcon(windowIcon(), this);
    tray_->show();
    connect(tray_, &QSystemTrayIcon::messageClicked, this, [this] {
      raise();
      activateWindow();
      if (!last_ended_run_.isEmpty()) go(QStringLiteral("/runs/") + last_ended_run_);
    });
  }
}

MainWindow::~MainWindow() {
  run_watcher_->watch({}, {});
  // A page must go before its profile.
  delete view_;
}

void MainWindow::open(const Connection& connection) {
  current_ = connection;
  connections_.set_last_used(connection.name);
  if (!connection.local) {
    show_console(connection.url);
    return;
  }
  if (!local_) {
    local_ =
        std::make_unique<LocalBackend>(options_.slipway_program, options_.data.toStdString(), options_.up_arguments);
    connect(local_.get(), &LocalBackend::ready, this, [this](const QUrl& url) {
      if (current_.local) show_console(url);
    });
    connect(local_.get(), &LocalBackend::failed, this, &MainWindow::show_problem);
  }
  local_->start();
}

void MainWindow::open_last() {
  const QList<Connection> all = connections_.all();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [this](const Connection& one) { return one.name == connections_.last_used(); });
  open(found == all.end() ? all.first() : *found);
}

void MainWindow::show_console(const QUrl& address) {
  QUrl home = address;
  home.setPath(QString());
  home.setQuery(QString());
  page_->set_home(home);
  session_->open(current_.name, home, [this, address] { page_->setUrl(address); });
}

void MainWindow::ask_for_connection() {
  bool accepted = false;
  const QString typed = QInputDialog::getText(this, tr("Connect"), tr("Address of the backend's console:"),
                                              QLineEdit::Normal, QStringLiteral("https://"), &accepted);
  if (!accepted) return;
  const auto url = parse_address(typed);
  if (!url) {
    QMessageBox::warning(this, tr("Connect"),
                         tr("“%1” is not the address of a console.\n\nWrite it as https://host:port. Plain http is "
                            "only for this machine.")
                             .arg(typed));
    return;
  }
  const Connection connection{url->authority(), *url, false};
  connections_.remember(connection);
  open(connection);
}

void MainWindow::forget_connection() {
  QStringList names;
  for (const Connection& connection : connections_.all()) {
    if (!connection.local) names.append(connection.name);
  }
  if (names.isEmpty()) {
    QMessageBox::information(this, tr("Forget a connection"), tr("There is none but this machine."));
    return;
  }
  bool accepted = false;
  const QString name =
      QInputDialog::getItem(this, tr("Forget a connection"), tr("Which one?"), names, 0, false, &accepted);
  if (accepted) connections_.forget(name);
}

void MainWindow::import_files(const QString& kind) {
  const bool model = kind == QLatin1String("model");
  const QString title = model ? tr("Import a model") : tr("Import data");
  const QString filter = model ? tr("Models (*.gguf *.slipway *.safetensors *.json *.jinja *.txt);;All files (*)")
                               : tr("Datasets (*.jsonl);;All files (*)");
  const QStringList files = options_.choose_files ? options_.choose_files(title, filter)
                                                  : QFileDialog::getOpenFileNames(this, title, QString(), filter);
  if (files.isEmpty()) return;
  page_->offer_files(files);
  // The page first has to be there; then its own chooser is opened, and is answered with these files.
  const QString path = model ? QStringLiteral("/models/import") : QStringLiteral("/data/import");
  page_->runJavaScript(kLeave);
  page_->go(path);
  press_file_button(path);
}

void MainWindow::press_file_button(const QString& path) {
  page_->runJavaScript(kFocusFileButton.arg(path), [this, path](const QVariant& focused) {
    if (page_->url().path() != path) {  // the person went elsewhere: the next chooser is theirs
      page_->offer_files({});
      return;
    }
    QWidget* target = view_->focusProxy();
    if (!focused.toBool() || target == nullptr) {
      QTimer::singleShot(kFileButtonPauseMs, this, [this, path] { press_file_button(path); });
      return;
    }
    // Chromium opens a chooser for a key that is pressed, not for a script's click.
    const QString text = QStringLiteral("\r");
    QCoreApplication::postEvent(target, new QKeyEvent(QEvent::KeyPress, Qt::Key_Return, Qt::NoModifier, text));
    QCoreApplication::postEvent(target, new QKeyEvent(QEvent::KeyRelease, Qt::Key_Return, Qt::NoModifier, text));
  });
}

void MainWindow::go(const QString& path) { page_->go(path); }

void MainWindow::zoom_by(double factor) {
  view_->setZoomFactor(factor == 0 ? 1.0 : std::clamp(view_->zoomFactor() * factor, 0.5, 3.0));
  settings_.setValue(kZoom, view_->zoomFactor());
}

void MainWindow::toggle_full_screen() { setWindowState(windowState() ^ Qt::WindowFullScreen); }

void MainWindow::open_in_browser() { options_.open_outside(page_->url()); }

void MainWindow::show_about() {
  QMessageBox::about(this, tr("About Slipway"),
                     tr("Slipway %1\nA console for the whole life of a language model.\n\nConnected to %2")
                         .arg(QStringLiteral(SLIPWAY_VERSION), page_->home().toDisplayString()));
}

void MainWindow::closeEvent(QCloseEvent* event) {
  settings_.setValue(kGeometry, saveGeometry());
  event->accept();
}

void MainWindow::show_problem(const QString& what, const QString& advice) {
  auto* box = new QMessageBox(QMessageBox::Warning, tr("Slipway"), what, QMessageBox::Ok, this);
  box->setInformativeText(advice);
  box->setAttribute(Qt::WA_DeleteOnClose);
  box->open();
}

void MainWindow::on_run_ended(const QString& run_id, const QString& name, const QString& state) {
  last_ended_run_ = run_id;
  const QString title = tr("Run %1").arg(state);
  if (options_.notify) {
    options_.notify(title, name);
  } else if (tray_ != nullptr && !isActiveWindow()) {
    tray_->showMessage(title, name, QSystemTrayIcon::Information);
  }
}

}  // namespace slipway::desktop
