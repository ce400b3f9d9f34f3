// The desktop's pure logic: addresses, remembered connections, envelopes of the watch stream.
#include <QSettings>
#include <QTemporaryDir>
#include <QTest>

#include "app/desktop/connect_stream.h"
#include "app/desktop/connections.h"

namespace slipway::desktop {

class DesktopLogicTest : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  void addresses_are_made_whole_and_safe_data() {
    QTest::addColumn<QString>("typed");
    QTest::addColumn<QString>("expected");
    QTest::newRow("host and port here") << "127.0.0.1:7878"
                                        << "http://127.0.0.1:7878";
    QTest::newRow("localhost") << " http://localhost:80/ "
                               << "http://localhost:80";
    QTest::newRow("another host gets https") << "gpu1:7878"
                                             << "https://gpu1:7878";
    QTest::newRow("plain http to another host") << "http://gpu1:7878"
                                                << "";
    QTest::newRow("with a password") << "https://me:secret@gpu1"
                                     << "";
    QTest::newRow("with a path") << "https://gpu1/somewhere"
                                 << "";
    QTest::newRow("no web address") << "file:///etc/passwd"
                                    << "";
    QTest::newRow("empty") << ""
                           << "";
  }
  void addresses_are_made_whole_and_safe() {
    QFETCH(QString, typed);
    QFETCH(QString, expected);
    QCOMPARE(parse_address(typed).value_or(QUrl()).toString(), expected);
  }

  void connections_are_remembered_and_forgotten() {
    const QTemporaryDir folder;
    const QString file = folder.filePath(QStringLiteral("settings.ini"));
    {
      QSettings settings(file, QSettings::IniFormat);
      Connections connections(settings);
      connections.remember({QStringLiteral("gpu1:7878"), QUrl(QStringLiteral("https://gpu1:7878")), false});
      connections.set_last_used(QStringLiteral("gpu1:7878"));
    }
    QSettings settings(file, QSettings::IniFormat);
    Connections connections(settings);
    QCOMPARE(connections.all().size(), 2);
    QVERIFY(connections.all().first().local);
    QCOMPARE(connections.all().last().url, QUrl(QStringLiteral("https://gpu1:7878")));
    connections.forget(QStringLiteral("gpu1:7878"));
    QCOMPARE(connections.all().size(), 1);
    QCOMPARE(connections.last_used(), QString());
  }

  void envelopes_come_whole_whatever_the_pieces() {
    const QByteArray bytes = make_envelope(R"({"cursor":"1"})") + make_envelope(R"({"cursor":"22"})");
    EnvelopeReader reader;
    QStringList cursors;
    for (const char byte : bytes) {
      reader.append(QByteArray(1, byte));
      while (const auto envelope = reader.next()) {
        cursors.append(envelope->json.value(QLatin1String("cursor")).toString());
      }
    }
    QCOMPARE(cursors, QStringList({QStringLiteral("1"), QStringLiteral("22")}));
    QVERIFY(!reader.broken());
  }

  void a_broken_envelope_is_noticed() {
    EnvelopeReader huge;
    huge.append(QByteArray::fromHex("00ffffffff"));
    QVERIFY(!huge.next());
    QVERIFY(huge.broken());
    EnvelopeReader no_json;
    no_json.append(make_envelope("nonsense"));
    QVERIFY(!no_json.next());
    QVERIFY(no_json.broken());
  }

  void the_end_is_marked() {
    QByteArray bytes = make_envelope("{}");
    bytes[0] = 2;
    EnvelopeReader reader;
    reader.append(bytes);
    QVERIFY(reader.next()->end);
  }
};

}  // namespace slipway::desktop

QTEST_GUILESS_MAIN(slipway::desktop::DesktopLogicTest)
#include "desktop_logic_test.moc"
