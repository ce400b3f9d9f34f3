#include "agents/engine/train/checkpoints/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <system_error>

#include "backend/base/error.h"
#include "backend/base/files.h"
#include "backend/base/sha256.h"

namespace slipway::train {

namespace {

namespace fs = std::filesystem;

constexpr char kManifest[] = "manifest.json";
constexpr char kCommit[] = "COMMIT";
constexpr char kState[] = "trainer_state.json";
constexpr char kOptimizer[] = "optimizer.safetensors";
constexpr char kPrefix[] = "step-";
constexpr char kTemporary[] = ".writing-";
constexpr size_t kMaxJsonBytes = size_t{64} << 20U;

[[noreturn]] void damaged(const std::string& what) { throw base::Error("DAMAGED_CHECKPOINT", what); }

// What the manifest says of a file.
nlohmann::ordered_json entry(uint64_t bytes, const std::string& sha256) {
  return {{"bytes", bytes}, {"sha256", sha256}};
}

nlohmann::ordered_json write_tensors(const fs::path& path, const std::vector<SavedTensor>& tensors,
                                     const NextBytes& next) {
  std::vector<model::TensorView> views;
  for (const SavedTensor& tensor : tensors) views.push_back({tensor.name, tensor.dtype, tensor.shape, {}});
  uint64_t data_bytes = 0;
  HashedFile file(path);
  file.append(model::safetensors_beginning(views, data_bytes));
  file.append(data_bytes, next);
  file.finish();
  return entry(file.size(), file.sha256());
}

// All but COMMIT, each on the disk. Returns the manifest's SHA-256.
std::string write_files(const CheckpointContent& content, const NextBytes& next, const fs::path& folder) {
  nlohmann::ordered_json files;
  files[content.parameter_file] = write_tensors(folder / content.parameter_file, content.parameters, next);
  files[kOptimizer] = write_tensors(folder / kOptimizer, content.optimizer, next);
  const std::string state = content.state.dump(1) + "\n";
  base::write_file_atomically(folder / kState, state);
  files[kState] = entry(state.size(), base::sha256_hex(state));
  const nlohmann::ordered_json manifest{{"version", 1}, {"step", content.step}, {"files", files}};
  const std::string text = manifest.dump(1) + "\n";
  base::write_file_atomically(folder / kManifest, text);
  base::sync_path(folder);
  return base::sha256_hex(text);
}

nlohmann::json read_json(const fs::path& path) {
  nlohmann::json value = nlohmann::json::parse(base::read_file(path, kMaxJsonBytes), nullptr, false);
  if (!value.is_object()) damaged(path.filename().string() + " is no JSON object");
  return value;
}

}  // namespace

CheckpointStore::CheckpointStore(fs::path folder, int64_t keep_last, std::function<void(const std::string&)> warn)
    : folder_(std::move(folder)), keep_last_(keep_last), warn_(std::move(warn)) {
  std::error_code failure;
  fs::create_directories(folder_, failure);
  if (failure) throw base::system_error("cannot make the folder " + folder_.string(), failure.value());
  // What a crash left half-written.
  std::vector<fs::path> leftovers;
  for (const auto& entry : fs::directory_iterator(folder_, failure)) {
    if (entry.path().filename().string().starts_with(kTemporary)) leftovers.push_back(entry.path());
  }
  for (const fs::path& path : leftovers) fs::remove_all(path, failure);
}

fs::path CheckpointStore::path_of(int64_t step) const { return folder_ / (kPrefix + std::to_string(step)); }

std::vector<int64_t> CheckpointStore::steps() const {
  std::vector<int64_t> result;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator(folder_, failure)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const char* const begin = name.data() + sizeof kPrefix - 1;
    const char* const end = name.data() + name.size();
    int64_t step = 0;
    const auto [stop, error] = std::from_chars(begin, end, step);
    if (error == std::errc() && stop == end && step >= 0) result.push_back(step);
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::vector<int64_t> CheckpointStore::committed_steps() const {
  std::vector<int64_t> result = steps();
  std::erase_if(result, [&](int64_t step) { return !fs::exists(path_of(step) / kCommit); });
  return result;
}

std::string CheckpointStore::save(const CheckpointContent& content, const NextBytes& next) {
  const fs::path temporary = folder_ / (kTemporary + std::to_string(content.step));
  const fs::path target = path_of(content.step);
  std::error_code ignored;
  try {
    fs::remove_all(temporary);
    fs::create_directory(temporary);
    const std::string sha256 = write_files(content, next, temporary);
    fs::remove_all(target);  // an uncommitted or damaged one of this step, or the same again
    fs::rename(temporary, target);
    base::sync_path(folder_);
    base::write_file_atomically(target / kCommit, sha256 + "\n");
    remove_oldest(content.step);
    return sha256;
  } catch (const fs::filesystem_error& error) {
    fs::remove_all(temporary, ignored);
    if (!fs::exists(target / kCommit, ignored)) fs::remove_all(target, ignored);
    throw base::system_error("cannot write the checkpoint " + target.string(), error.code().value());
  } catch (...) {
    fs::remove_all(temporary, ignored);
    if (!fs::exists(target / kCommit, ignored)) fs::remove_all(target, ignored);
    throw;
  }
}

void CheckpointStore::remove_oldest(int64_t newest) const {
  if (keep_last_ <= 0) return;
  std::vector<int64_t> committed = committed_steps();
  // Later ones were passed over when the run went on from an earlier one: they replace none that is whole.
  std::erase_if(committed, [&](int64_t step) { return step > newest; });
  for (size_t i = 0; i + static_cast<size_t>(keep_last_) < committed.size(); ++i) {
    std::error_code ignored;
    fs::remove(path_of(committed[i]) / kCommit, ignored);  // first, so that a crash leaves nothing that looks whole
    fs::remove_all(path_of(committed[i]), ignored);
  }
}

LoadedCheckpoint CheckpointStore::load(int64_t step, const std::string& parameter_file) const {
  const fs::path folder = path_of(step);
  if (!fs::exists(folder / kCommit)) damaged("it has no COMMIT");
  LoadedCheckpoint result;
  result.step = step;
  result.folder = folder;
  std::string committed = base::read_file(folder / kCommit, 1024);
  while (!committed.empty() && committed.back() == '\n') committed.pop_back();
  result.sha256 = base::sha256_file(folder / kManifest);
  if (committed != result.sha256) damaged("manifest.json is not the one that was committed");
  const nlohmann::json manifest = read_json(folder / kManifest);
  const nlohmann::json files = manifest.value("files", nlohmann::json::object());
  for (const char* needed : {parameter_file.c_str(), kOptimizer, kState}) {
    if (!files.contains(needed)) damaged(std::string("it holds no ") + needed);
  }
  for (const auto& [name, entry] : files.items()) {
    const fs::path file = folder / name;
    std::error_code failure;
    const auto bytes = fs::file_size(file, failure);
    if (failure) damaged(name + " is missing");
    if (bytes != entry.at("bytes").get<uint64_t>()) {
      damaged(name + " is " + std::to_string(bytes) + " bytes long instead of " + entry.at("bytes").dump());
    }
    if (base::sha256_file(file) != entry.at("sha256").get<std::string>())
      damaged(name + " was changed after it was saved");
  }
  result.state = read_json(folder / kState);
  result.parameters = model::open_weights(folder / parameter_file);
  result.optimizer = model::open_weights(folder / kOptimizer);
  return result;
}

std::optional<LoadedCheckpoint> CheckpointStore::load_latest(const std::string& parameter_file) const {
  std::vector<int64_t> all = steps();
  std::reverse(all.begin(), all.end());
  for (const int64_t step : all) {
    try {
      return load(step, parameter_file);
    } catch (const std::exception& error) {
      warn_("the checkpoint step-" + std::to_string(step) + " is damaged and was passed over: " + error.what());
    }
  }
  return std::nullopt;
}

}  // namespace slipway::train
