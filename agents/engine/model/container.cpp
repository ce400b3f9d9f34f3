#include "agents/engine/model/container.h"

#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {
namespace {

using nlohmann::json;

constexpr char kMagic[8] = {'S', 'L', 'I', 'P', 'W', 'A', 'Y', 0};
constexpr uint64_t kPreamble = 32;
constexpr uint64_t kAlignment = 64;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxDimensions = 2;
constexpr const char* kFormats[] = {"f32", "bf16", "int8", "int6", "int4"};

static_assert(std::endian::native == std::endian::little, "the file is little-endian, as what is mapped from it");

struct Preamble {
  char magic[8];
  uint32_t version;
  uint32_t zero;
  uint64_t header_bytes;
  uint64_t header_hash;
};
static_assert(sizeof(Preamble) == kPreamble);

[[noreturn]] void fail(const std::string& origin, const std::string& what) {
  throw base::Error(base::kInvalidModel, origin + ": " + what,
                    "the file is damaged or was not written by slipway model quantize; make it again");
}

std::string hex(uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

std::string printable(const std::string& name) {
  std::string text = name.substr(0, 120);
  for (char& c : text) c = c >= 0x20 && c < 0x7f ? c : '?';
  return text;
}

// What the header says of one tensor or file, checked against the file.
class Entry {
 public:
  Entry(const std::string& origin, std::string what, const json& entry, std::span<const std::byte> bytes)
      : origin_(origin), what_(std::move(what)), entry_(entry), bytes_(bytes) {
    if (!entry.is_object()) fail(origin_, what_ + " is no object in the header");
  }

  uint64_t number(const char* key) const {
    const auto found = entry_.find(key);
    if (found == entry_.end() || !found->is_number_unsigned())
      fail(origin_, what_ + ": " + key + " is missing in the header or no whole number");
    return found->get<uint64_t>();
  }
  std::string text(const char* key) const {
    const auto found = entry_.find(key);
    if (found == entry_.end() || !found->is_string())
      fail(origin_, what_ + ": " + key + " is missing in the header or no text");
    return found->get<std::string>();
  }
  std::span<const std::byte> data() const {
    const uint64_t offset = number("offset"), size = number("bytes");
    if (offset % kAlignment != 0 || offset > bytes_.size() || size > bytes_.size() - offset) {
      fail(origin_, what_ + " lies at bytes " + std::to_string(offset) + " to " + std::to_string(offset + size) +
                        ", but the file has " + std::to_string(bytes_.size()) + "; it may be truncated");
    }
    return bytes_.subspan(offset, size);
  }
  uint64_t hash() const {
    const std::string digits = text("hash");
    uint64_t value = 0;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 16 || read.ptr != digits.data() + 16) fail(origin_, what_ + ": hash is not 16 hex digits");
    return value;
  }
  std::string format() const {
    const std::string name = text("format");
    for (const char* known : kFormats) {
      if (name == known) return name;
    }
    fail(origin_, what_ + " is of the format '" + printable(name) + "', expected f32, bf16, int8, int6 or int4");
  }
  std::vector<int64_t> shape() const {
    const auto found = entry_.find("shape");
    std::vector<int64_t> sizes;
    const bool list = found != entry_.end() && found->is_array() && !found->empty() && found->size() <= kMaxDimensions;
    if (!list) fail(origin_, what_ + ": shape is no list of one or two sizes");
    for (const json& size : *found) {
      if (!size.is_number_unsigned() || size.get<uint64_t>() > (uint64_t{1} << 32U))
        fail(origin_, what_ + ": shape holds what is no size");
      sizes.push_back(size.get<int64_t>());
    }
    return sizes;
  }

 private:
  const std::string& origin_;
  std::string what_;
  const json& entry_;
  std::span<const std::byte> bytes_;
};

json parse_header(std::string_view text, const std::string& origin) {
  const auto bounded = [&](int depth, json::parse_event_t, json&) {
    if (depth > 5) fail(origin, "the header is nested too deeply");
    return true;
  };
  try {
    json header = json::parse(text, bounded);
    if (header.is_object() && header.contains("tensors") && header["tensors"].is_object() && header.contains("files") &&
        header["files"].is_object()) {
      return header;
    }
  } catch (const json::exception&) {
  }
  fail(origin, "the header is no JSON object with tensors and files");
}

}  // namespace

bool is_container(const std::filesystem::path& path) {
  return path.extension() == ".slipway" && !std::filesystem::is_directory(path);
}

uint64_t content_hash(std::span<const std::byte> data) {
  constexpr uint64_t kPrime = 0x100000001b3, kStart = 0xcbf29ce484222325;
  std::array<uint64_t, 8> lanes;
  for (size_t i = 0; i < lanes.size(); ++i) lanes[i] = kStart + i;
  const auto take = [&](const std::byte* from) {
    uint64_t words[8];
    std::memcpy(words, from, sizeof words);
    for (size_t i = 0; i < lanes.size(); ++i) lanes[i] = std::rotl((lanes[i] ^ words[i]) * kPrime, 29);
  };
  size_t at = 0;
  for (; at + 64 <= data.size(); at += 64) take(data.data() + at);
  std::array<std::byte, 64> last{};
  std::copy(data.begin() + static_cast<std::ptrdiff_t>(at), data.end(), last.begin());
  take(last.data());
  uint64_t hash = kStart ^ data.size();
  for (const uint64_t lane : lanes) hash = std::rotl((hash ^ lane) * kPrime, 29);
  return hash;
}

Container::Container(const std::filesystem::path& path) : origin_(path.string()), file_(path) {
  const auto bytes = file_.bytes();
  Preamble preamble;
  if (bytes.size() < kPreamble) fail(origin_, "the file has only " + std::to_string(bytes.size()) + " bytes");
  std::memcpy(&preamble, bytes.data(), sizeof preamble);
  if (std::memcmp(preamble.magic, kMagic, sizeof kMagic) != 0) fail(origin_, "the file does not begin with SLIPWAY");
  if (preamble.version > kContainerVersion) {
    throw base::Error(base::kUnsupported,
                      origin_ + ": the file is of version " + std::to_string(preamble.version) +
                          ", this program reads up to " + std::to_string(kContainerVersion),
                      "update Slipway, or quantise the model again with this version");
  }
  if (preamble.version == 0 || preamble.header_bytes > kMaxHeaderBytes ||
      preamble.header_bytes > bytes.size() - kPreamble) {
    fail(origin_, "the header claims " + std::to_string(preamble.header_bytes) + " bytes, but the file has only " +
                      std::to_string(bytes.size() - kPreamble) + " more");
  }
  const auto text = bytes.subspan(kPreamble, preamble.header_bytes);
  if (content_hash(text) != preamble.header_hash) fail(origin_, "the header is not what was written");
  const json header = parse_header({reinterpret_cast<const char*>(text.data()), text.size()}, origin_);
  const Entry whole(origin_, "the file", header, bytes);
  weights_ = whole.text("weights");
  method_ = whole.text("method");
  if (preamble.version == 1 && weights_ == "int4") {
    throw base::Error(base::kUnsupported, origin_ + ": the file is of version 1, whose int4 lies in another order",
                      "quantise the model again with this version");
  }
  for (const auto& [name, entry] : header["tensors"].items()) {
    const Entry tensor(origin_, "tensor " + printable(name), entry, bytes);
    tensors_[name] = {tensor.format(), tensor.shape(), tensor.data()};
    hashes_[name] = tensor.hash();
  }
  for (const auto& [name, entry] : header["files"].items()) {
    const Entry file(origin_, "file " + printable(name), entry, bytes);
    files_[name] = {file.data(), file.hash()};
  }
}

std::vector<std::string> Container::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

const PackedTensor& Container::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail(origin_, "tensor " + name + " is missing, which the configuration asks for");
  return found->second;
}

void Container::check(const std::string& what, const Part& part) const {
  const uint64_t hash = content_hash(part.data);
  if (hash == part.hash) return;
  fail(origin_, what + " is damaged: its hash is " + hex(hash) + ", expected " + hex(part.hash));
}

void Container::verify(const std::string& name) const {
  check("tensor " + name, {tensor(name).data, hashes_.at(name)});
}

std::optional<std::string> Container::file(const std::string& name) const {
  const auto found = files_.find(name);
  if (found == files_.end()) return std::nullopt;
  check("file " + name, found->second);
  const auto& data = found->second.data;
  return std::string(reinterpret_cast<const char*>(data.data()), data.size());
}

void write_container(const std::filesystem::path& path, const ContainerContent& content) {
  std::vector<std::span<const std::byte>> parts;
  json header = {{"weights", content.weights}, {"method", content.method}, {"source", content.source}};
  header["tensors"] = json::object();
  header["files"] = json::object();
  // Offsets are from the data's beginning first: how long the header gets depends on them.
  uint64_t size = 0;
  const auto place = [&](std::span<const std::byte> data) -> json {
    const json entry = {{"offset", size}, {"bytes", data.size()}, {"hash", hex(content_hash(data))}};
    size += (data.size() + kAlignment - 1) / kAlignment * kAlignment;
    parts.push_back(data);
    return entry;
  };
  for (const auto& [name, tensor] : content.tensors) {
    json entry = place(tensor.data);
    entry["format"] = tensor.format;
    entry["shape"] = tensor.shape;
    header["tensors"][name] = std::move(entry);
  }
  for (const auto& [name, text] : content.files) header["files"][name] = place(std::as_bytes(std::span(text)));

  // Room for every offset to grow by the header's own length.
  const uint64_t entries = parts.size();
  const uint64_t begin = (kPreamble + header.dump().size() + 20 * entries + kAlignment) / kAlignment * kAlignment;
  for (const char* kind : {"tensors", "files"}) {
    for (auto& [name, entry] : header[kind].items()) entry["offset"] = entry["offset"].get<uint64_t>() + begin;
  }
  std::string text = header.dump();
  text.append(begin - kPreamble - text.size(), ' ');
  Preamble preamble{};
  std::memcpy(preamble.magic, kMagic, sizeof kMagic);
  preamble.version = kContainerVersion;
  preamble.header_bytes = text.size();
  preamble.header_hash = content_hash(std::as_bytes(std::span(text)));
  base::AtomicFile file(path);
  file.write(std::as_bytes(std::span(&preamble, 1)));
  file.write(text);
  constexpr std::byte kZeros[kAlignment] = {};
  for (const auto& data : parts) {
    file.write(data);
    file.write(std::span(kZeros).first((kAlignment - data.size() % kAlignment) % kAlignment));
  }
  file.commit();
}

}  // namespace slipway::model
