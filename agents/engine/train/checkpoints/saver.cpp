#include "agents/engine/train/checkpoints/saver.h"

#include <utility>
#include <vector>

#include "backend/base/error.h"

namespace slipway::train {

Saver::Saver(const std::filesystem::path& folder, int64_t keep_last, Reporter& reporter, bool writes)
    : reporter_(reporter) {
  if (!writes) return;
  store_.emplace(folder, keep_last, [&reporter](const std::string& message) {
    reporter.warn("DAMAGED_CHECKPOINT", message, "training goes on from the one before; check the disk");
  });
  writer_.emplace(*store_);
}

std::optional<LoadedCheckpoint> Saver::load_latest(const std::string& parameter_file) const {
  return store_ ? store_->load_latest(parameter_file) : std::nullopt;
}

void Saver::resumed(int64_t step, const std::string& sha256) {
  step_ = step;
  if (store_) reporter_.checkpoint(step, sha256);
}

void Saver::save(int64_t step, const std::function<Snapshot()>& take) {
  if (step_ == step) return;
  collect(true);
  Snapshot snapshot = take();
  if (writer_) writer_->start(std::move(snapshot));
  step_ = step;
}

void Saver::before_change() {
  if (writer_) writer_->before_change();
}

void Saver::collect(bool wait) {
  if (!writer_) return;
  try {
    if (const auto written = writer_->collect(wait)) reporter_.checkpoint(written->step, written->sha256);
  } catch (const base::Error& error) {
    throw base::Error(error.code(), error.what() + last_good(),
                      error.advice().empty()
                          ? "make room or choose another workdir, then start again: training goes on "
                            "from the last good checkpoint"
                          : error.advice());
  }
}

std::string Saver::last_good() const {
  const std::vector<int64_t> kept = store_ ? store_->committed_steps() : std::vector<int64_t>();
  return kept.empty() ? "; no checkpoint has been saved yet"
                      : "; the last good checkpoint is checkpoints/step-" + std::to_string(kept.back());
}

}  // namespace slipway::train
