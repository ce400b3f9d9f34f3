// slipway-console: composition root of the desktop.
#include <QApplication>
#include <QCommandLineParser>
#include <QDesktopServices>
#include <QIcon>
#include <QSettings>
#include <QStandardPaths>
#include <cstdio>

#include "app/desktop/main_window.h"
#include "app/desktop/secret_store.h"

int main(int argc, char** argv) {
  using namespace slipway::desktop;
  QCoreApplication::setOrganizationName(QStringLiteral("slipway"));
  QCoreApplication::setApplicationName(QStringLiteral("slipway-console"));
  QCoreApplication::setApplicationVersion(QStringLiteral(SLIPWAY_VERSION));
  QApplication application(argc, argv);
  QApplication::setWindowIcon(QIcon::fromTheme(QStringLiteral("applications-science")));

  QCommandLineParser parser;
  parser.setApplicationDescription(QStringLiteral("Slipway's console in a window of its own."));
  parser.addHelpOption();
  parser.addVersionOption();
  parser.addOption(
      {QStringLiteral("connect"), QStringLiteral("Open the console at this address."), QStringLiteral("url")});
  parser.addOption(
      {QStringLiteral("data"), QStringLiteral("Data folder of the local backend."), QStringLiteral("folder"),
       QStandardPaths::writableLocation(QStandardPaths::GenericDataLocation) + QStringLiteral("/slipway")});
  parser.process(application);

  QSettings settings;
  KeychainStore secrets;
  MainWindowOptions options;
  options.slipway_program = QCoreApplication::applicationDirPath() + QStringLiteral("/slipway");
  options.data = parser.value(QStringLiteral("data"));
  options.open_outside = [](const QUrl& url) { QDesktopServices::openUrl(url); };
  MainWindow window(settings, secrets, options);
  if (parser.isSet(QStringLiteral("connect"))) {
    const auto url = parse_address(parser.value(QStringLiteral("connect")));
    if (!url) {
      std::fprintf(stderr, "slipway-console: --connect %s is not the address of a console; write https://host:port\n",
                   qPrintable(parser.value(QStringLiteral("connect"))));
      return 2;
    }
    window.open({url->authority(), *url, false});
  } else {
    window.open_last();
  }
  window.show();
  return QApplication::exec();
}
