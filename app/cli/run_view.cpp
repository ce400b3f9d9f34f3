#include "app/cli/run_view.h"

#include <algorithm>
#include <cctype>
#include <sstream>

#include "app/cli/output.h"

namespace slipway::cli {
namespace {

std::string lower_without_prefix(const std::string& name, size_t prefix) {
  std::string word = name.substr(std::min(prefix, name.size()));
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return word;
}

const char* icon(v1::TaskState state) {
  switch (state) {
    case v1::TASK_STATE_RUNNING:
      return ">";
    case v1::TASK_STATE_SUCCEEDED:
      return "+";
    case v1::TASK_STATE_FAILED:
      return "x";
    case v1::TASK_STATE_CANCELLED:
    case v1::TASK_STATE_SKIPPED:
      return "-";
    default:
      return ".";
  }
}

std::string title_of(const v1::Task& task) { return task.title().empty() ? task.name() : task.title(); }

}  // namespace

std::string state_word(v1::RunState state) { return lower_without_prefix(v1::RunState_Name(state), 10); }
std::string state_word(v1::TaskState state) { return lower_without_prefix(v1::TaskState_Name(state), 11); }

bool is_final(v1::RunState state) {
  return state == v1::RUN_STATE_SUCCEEDED || state == v1::RUN_STATE_FAILED || state == v1::RUN_STATE_CANCELLED;
}

void RunView::set_run(const v1::Run& run) {
  run_ = run;
  for (const auto& task : run_.tasks()) {
    if (task.has_progress() && task.progress().total() > 0) progress_[task.name()] = task.progress();
  }
}

bool RunView::apply(const v1::WatchResponse& change) {
  switch (change.change_case()) {
    case v1::WatchResponse::kRun:
      if (change.run().id() != run_.id()) return false;
      set_run(change.run());
      return true;
    case v1::WatchResponse::kProgress:
      if (change.progress().run_id() != run_.id()) return false;
      progress_[change.progress().task()] = change.progress().progress();
      return true;
    case v1::WatchResponse::kMetric:
      if (change.metric().run_id() != run_.id()) return false;
      for (const auto& [name, value] : change.metric().values()) metrics_[change.metric().task()][name] = value;
      return true;
    default:
      return false;
  }
}

std::string RunView::progress_text(const v1::Task& task, int bar_width) const {
  std::string text;
  const auto progress = progress_.find(task.name());
  if (progress != progress_.end() && progress->second.total() > 0) {
    const auto& p = progress->second;
    const double share = static_cast<double>(p.done()) / static_cast<double>(p.total());
    if (bar_width > 0) text += bar(share, bar_width) + " ";
    text += p.phase() + " " + format_count(p.done()) + "/" + format_count(p.total());
    if (!p.unit().empty()) text += " " + p.unit() + (p.total() == 1 ? "" : "s");
    if (p.eta_s() >= 0 && p.done() < p.total()) text += ", " + format_duration(p.eta_s()) + " left";
  }
  const auto metrics = metrics_.find(task.name());
  if (metrics != metrics_.end()) {
    static constexpr std::pair<const char*, const char*> kShown[] = {
        {"loss", "loss"}, {"eval_loss", "held-out loss"}, {"tokens_per_second", "tokens/s"}};
    for (const auto& [name, label] : kShown) {
      const auto value = metrics->second.find(name);
      if (value == metrics->second.end()) continue;
      if (!text.empty()) text += ", ";
      text += std::string(name) == "tokens_per_second" ? format_number(value->second) + " " + label
                                                       : std::string(label) + " " + format_number(value->second);
    }
  }
  return text;
}

std::vector<std::string> RunView::lines(int64_t now_ms, int width) const {
  std::vector<std::string> lines;
  std::string head = run_.name() + " (" + run_.id() + "): " + state_word(run_.state());
  if (!run_.waiting_reason().empty()) head += ", " + run_.waiting_reason();
  lines.push_back(head);
  size_t title_width = 0;
  for (const auto& task : run_.tasks()) title_width = std::max(title_width, display_width(title_of(task)));
  for (const auto& task : run_.tasks()) {
    const std::string title = title_of(task);
    std::string line = std::string(" ") + icon(task.state()) + " " + title +
                       std::string(title_width - display_width(title), ' ') + "  " + state_word(task.state());
    if (task.state() == v1::TASK_STATE_RUNNING) {
      const double elapsed = static_cast<double>(now_ms) / 1000.0 - static_cast<double>(task.started_at().seconds());
      if (task.has_started_at()) line += " " + format_duration(std::max(0.0, elapsed));
      const std::string progress = progress_text(task, 20);
      if (!progress.empty()) line += "  " + progress;
    } else if (task.has_started_at() && task.has_finished_at()) {
      line += " in " + format_duration(seconds_between(task.started_at(), task.finished_at()));
    }
    if (!task.waiting_reason().empty()) line += "  " + task.waiting_reason();
    if (task.has_error() && !task.error().message().empty()) line += "  " + task.error().message();
    lines.push_back(line);
  }
  for (auto& line : lines) {
    line = printable(line);
    while (width > 4 && display_width(line) > static_cast<size_t>(width - 1)) line.pop_back();
  }
  return lines;
}

std::vector<std::string> RunView::news() {
  std::vector<std::string> news;
  if (run_.state() != seen_state_) {
    seen_state_ = run_.state();
    news.push_back("run " + run_.id() + ": " + state_word(run_.state()) +
                   (run_.waiting_reason().empty() ? "" : ", " + run_.waiting_reason()));
  }
  for (const auto& task : run_.tasks()) {
    auto& seen = seen_[task.name()];
    if (task.state() != seen.state) {
      seen.state = task.state();
      if (task.state() != v1::TASK_STATE_PENDING) {
        std::string line = task.name() + ": " + state_word(task.state());
        if (task.has_started_at() && task.has_finished_at()) {
          line += " in " + format_duration(seconds_between(task.started_at(), task.finished_at()));
        }
        if (task.has_error() && !task.error().message().empty()) line += ": " + task.error().message();
        news.push_back(line);
      }
    }
    if (task.state() != v1::TASK_STATE_RUNNING) continue;
    const auto progress = progress_.find(task.name());
    if (progress == progress_.end() || progress->second.total() <= 0) continue;
    const int tenth = static_cast<int>(progress->second.done() * 10 / progress->second.total());
    if (tenth == seen.tenth && progress->second.phase() == seen.phase) continue;
    seen.tenth = tenth;
    seen.phase = progress->second.phase();
    news.push_back(task.name() + ": " + progress_text(task, 0));
  }
  for (auto& line : news) line = printable(line);
  return news;
}

std::string RunView::summary() const {
  std::ostringstream text;
  Table tasks({"TASK", "STATE", "TIME"}, {2});
  for (const auto& task : run_.tasks()) {
    tasks.add({title_of(task), state_word(task.state()),
               task.has_started_at() && task.has_finished_at()
                   ? format_duration(seconds_between(task.started_at(), task.finished_at()))
                   : ""});
  }
  tasks.print(text, "No tasks.");
  if (run_.results_size() > 0) {
    text << '\n';
    Table results({"RESULT", "VALUE"}, {1});
    const std::map<std::string, double> sorted(run_.results().begin(), run_.results().end());
    for (const auto& [name, value] : sorted) results.add({name, format_number(value)});
    results.print(text, "");
  }
  text << '\n' << "run " << run_.id() << ": " << state_word(run_.state());
  if (run_.has_started_at() && run_.has_finished_at()) {
    text << " in " << format_duration(seconds_between(run_.started_at(), run_.finished_at()));
  }
  text << '\n';
  if (!run_.model_version_id().empty()) text << "model version: " << run_.model_version_id() << '\n';
  if (!run_.deployment_id().empty()) text << "deployment: " << run_.deployment_id() << '\n';
  if (run_.has_error() && !run_.error().message().empty()) {
    text << "error" << (run_.error().task().empty() ? "" : " in " + run_.error().task()) << ": "
         << run_.error().message() << '\n';
    if (!run_.error().advice().empty()) text << "  to do: " << run_.error().advice() << '\n';
    if (!run_.error().code().empty()) text << "  code: " << run_.error().code() << '\n';
  }
  return text.str();
}

}  // namespace slipway::cli
