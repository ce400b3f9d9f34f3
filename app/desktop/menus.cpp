#include "app/desktop/menus.h"

#include <QActionGroup>
#include <QMenu>
#include <QMenuBar>

#include "app/desktop/console_page.h"
#include "app/desktop/main_window.h"

namespace slipway::desktop {
namespace {

struct Place {
  const char* title;
  const char* path;
};
constexpr Place kPlaces[] = {{"&Home", "/"},
                             {"&Data", "/data"},
                             {"&Train", "/train"},
                             {"&Models", "/models"},
                             {"D&eployments", "/deployments"},
                             {"&Nodes", "/nodes"}};

void add_backend_menu(MainWindow& window) {
  QMenu* menu = window.menuBar()->addMenu(MainWindow::tr("&Backend"));
  menu->setObjectName(QStringLiteral("backend_menu"));
  // Filled anew each time, because connections come and go.
  QObject::connect(menu, &QMenu::aboutToShow, &window, [menu, &window] {
    menu->clear();
    for (const Connection& connection : window.connections().all()) {
      QAction* action = menu->addAction(connection.name);
      action->setCheckable(true);
      action->setChecked(connection.name == window.connections().last_used());
      QObject::connect(action, &QAction::triggered, &window, [connection, &window] { window.open(connection); });
    }
    menu->addSeparator();
    menu->addAction(MainWindow::tr("&Connect to another…"), QKeySequence(QStringLiteral("Ctrl+Shift+O")), &window,
                    &MainWindow::ask_for_connection);
    menu->addAction(MainWindow::tr("&Forget a connection…"), &window, &MainWindow::forget_connection);
  });
}

}  // namespace

void add_menus(MainWindow& window) {
  QMenu* file = window.menuBar()->addMenu(MainWindow::tr("&File"));
  file->addAction(MainWindow::tr("Import &model…"), QKeySequence(QStringLiteral("Ctrl+Shift+M")), &window,
                  [&window] { window.import_files(QStringLiteral("model")); });
  file->addAction(MainWindow::tr("Import &data…"), QKeySequence(QStringLiteral("Ctrl+Shift+D")), &window,
                  [&window] { window.import_files(QStringLiteral("dataset")); });
  file->addSeparator();
  file->addAction(MainWindow::tr("&Quit"), QKeySequence::Quit, &window, &QWidget::close);

  add_backend_menu(window);

  QMenu* go = window.menuBar()->addMenu(MainWindow::tr("&Go"));
  go->addAction(MainWindow::tr("&Back"), QKeySequence::Back, &window,
                [&window] { window.page()->triggerAction(QWebEnginePage::Back); });
  go->addAction(MainWindow::tr("&Forward"), QKeySequence::Forward, &window,
                [&window] { window.page()->triggerAction(QWebEnginePage::Forward); });
  go->addSeparator();
  int number = 1;
  for (const Place& place : kPlaces) {
    const QString path = QString::fromLatin1(place.path);
    go->addAction(MainWindow::tr(place.title), QKeySequence(QStringLiteral("Ctrl+%1").arg(number++)), &window,
                  [&window, path] { window.go(path); });
  }

  QMenu* view = window.menuBar()->addMenu(MainWindow::tr("&View"));
  view->addAction(MainWindow::tr("&Reload"), QKeySequence::Refresh, &window,
                  [&window] { window.page()->triggerAction(QWebEnginePage::Reload); });
  view->addSeparator();
  view->addAction(MainWindow::tr("Zoom &in"), QKeySequence::ZoomIn, &window, [&window] { window.zoom_by(1.1); });
  view->addAction(MainWindow::tr("Zoom &out"), QKeySequence::ZoomOut, &window, [&window] { window.zoom_by(1 / 1.1); });
  view->addAction(MainWindow::tr("Actual &size"), QKeySequence(QStringLiteral("Ctrl+0")), &window,
                  [&window] { window.zoom_by(0); });
  view->addSeparator();
  view->addAction(MainWindow::tr("&Full screen"), QKeySequence::FullScreen, &window, &MainWindow::toggle_full_screen);

  QMenu* help = window.menuBar()->addMenu(MainWindow::tr("&Help"));
  help->addAction(MainWindow::tr("Open in &browser"), &window, &MainWindow::open_in_browser);
  help->addAction(MainWindow::tr("&About Slipway"), &window, &MainWindow::show_about);
}

}  // namespace slipway::desktop
