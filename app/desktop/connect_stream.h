// The Connect protocol's envelopes of a server stream: one flag byte, four bytes of length (big-endian), JSON.
// https://connectrpc.com/docs/protocol (streaming responses).
#pragma once

#include <QByteArray>
#include <QJsonObject>
#include <optional>

namespace slipway::desktop {

struct Envelope {
  bool end = false;  // the last one: `json` holds "error" when the call failed
  QJsonObject json;
};

QByteArray make_envelope(const QByteArray& json);

// Cuts bytes as they arrive into envelopes. One thread.
class EnvelopeReader {
 public:
  void append(const QByteArray& bytes) { buffer_ += bytes; }
  // The next whole one; nullopt while it has not arrived whole. Sets broken() for a length over 16 MiB or text that is
  // no JSON object.
  std::optional<Envelope> next();
  bool broken() const { return broken_; }

 private:
  QByteArray buffer_;
  bool broken_ = false;
};

}  // namespace slipway::desktop
