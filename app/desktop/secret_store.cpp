#include "app/desktop/secret_store.h"

#include <qt6keychain/keychain.h>

#include <QObject>
#include <utility>

namespace slipway::desktop {
namespace {
const QString kService = QStringLiteral("slipway-console");
}  // namespace

void KeychainStore::read(const QString& key, QObject* context, std::function<void(const QByteArray&)> done) {
  auto* job = new QKeychain::ReadPasswordJob(kService);
  job->setInsecureFallback(false);
  job->setKey(key);
  QObject::connect(job, &QKeychain::Job::finished, context, [job, done = std::move(done)](QKeychain::Job*) {
    done(job->error() == QKeychain::NoError ? job->binaryData() : QByteArray());
  });
  job->start();
}

void KeychainStore::write(const QString& key, const QByteArray& secret) {
  auto* job = new QKeychain::WritePasswordJob(kService);
  job->setInsecureFallback(false);
  job->setKey(key);
  job->setBinaryData(secret);
  job->start();
}

void KeychainStore::remove(const QString& key) {
  auto* job = new QKeychain::DeletePasswordJob(kService);
  job->setInsecureFallback(false);
  job->setKey(key);
  job->start();
}

}  // namespace slipway::desktop
