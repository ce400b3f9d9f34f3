#include "app/desktop/connect_stream.h"

#include <QJsonDocument>
#include <QtEndian>

namespace slipway::desktop {
namespace {
constexpr quint32 kMostBytes = 16U << 20U;
constexpr qsizetype kHeaderBytes = 5;
constexpr char kEndFlag = 2;
}  // namespace

QByteArray make_envelope(const QByteArray& json) {
  QByteArray header(kHeaderBytes, '\0');
  qToBigEndian(static_cast<quint32>(json.size()), header.data() + 1);
  return header + json;
}

std::optional<Envelope> EnvelopeReader::next() {
  if (broken_ || buffer_.size() < kHeaderBytes) return std::nullopt;
  const auto size = qFromBigEndian<quint32>(buffer_.constData() + 1);
  if (size > kMostBytes) {
    broken_ = true;
    return std::nullopt;
  }
  if (buffer_.size() < kHeaderBytes + static_cast<qsizetype>(size)) return std::nullopt;
  const QJsonDocument document = QJsonDocument::fromJson(buffer_.mid(kHeaderBytes, size));
  const bool end = (buffer_.at(0) & kEndFlag) != 0;
  buffer_.remove(0, kHeaderBytes + size);
  if (!document.isObject()) {
    broken_ = true;
    return std::nullopt;
  }
  return Envelope{end, document.object()};
}

}  // namespace slipway::desktop
