// Any bytes as a .slipway file, and as the header of one: they are refused with a base::Error, or can be read.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "agents/engine/model/container.h"
#include "backend/base/error.h"

using namespace slipway;

namespace {

void read(const std::string& content) {
  static const int file = memfd_create("container", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  if (ftruncate(file, 0) != 0 || pwrite(file, content.data(), content.size(), 0) < 0) return;
  try {
    const model::Container container(path);
    for (const std::string& name : container.names()) container.verify(name);
    container.file("config.json");
  } catch (const base::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  read(text);
  // The first byte says how much of the rest is the header; what leads to it is right.
  if (size == 0) return 0;
  const uint64_t header_bytes = (size - 1) * data[0] / 255;
  const uint32_t version = model::kContainerVersion, zero = 0;
  const uint64_t hash = model::content_hash(std::as_bytes(std::span(text).subspan(1, header_bytes)));
  std::string whole("SLIPWAY", 8);
  const auto add = [&whole](const auto& number) {
    whole.append(reinterpret_cast<const char*>(&number), sizeof number);
  };
  add(version);
  add(zero);
  add(header_bytes);
  add(hash);
  read(whole + text.substr(1));
  return 0;
}
