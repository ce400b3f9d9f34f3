#include "agents/engine/prep/report.h"

#include <algorithm>
#include <limits>

namespace slipway::prep {
namespace {

using nlohmann::ordered_json;

ordered_json place(const RowId& id, const std::vector<InputSummary>& inputs) {
  return {{"input", inputs[static_cast<size_t>(id.input)].path}, {"line", id.line}};
}

// Nearest-rank percentiles and a histogram with borders at powers of two.
ordered_json distribution(std::vector<uint32_t> values) {
  if (values.empty()) return {{"total", 0}};
  std::sort(values.begin(), values.end());
  int64_t total = 0;
  for (const uint32_t value : values) total += value;
  const auto percentile = [&](double share) {
    const auto rank = static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5);
    return values[rank];
  };
  ordered_json histogram = ordered_json::array();
  auto begin = values.begin();
  for (uint64_t border = 64; begin != values.end(); border *= 2) {
    const auto end =
        std::lower_bound(begin, values.end(), border, [](uint32_t value, uint64_t limit) { return value < limit; });
    histogram.push_back({{"below", border}, {"rows", end - begin}});
    begin = end;
  }
  return {{"total", total},         {"mean", static_cast<double>(total) / static_cast<double>(values.size())},
          {"min", values.front()},  {"p5", percentile(0.05)},
          {"p50", percentile(0.5)}, {"p95", percentile(0.95)},
          {"max", values.back()},   {"histogram", histogram}};
}

}  // namespace

void Report::drop(const std::string& by, const Verdict& verdict, RowId id) {
  ++dropped_;
  Reason& reason = reasons_[{by, verdict.reason}];
  ++reason.count;
  if (reason.examples.size() < kMaxExamples) reason.examples.push_back({id, verdict.detail, verdict.duplicate_of});
}

void Report::keep(int64_t characters, int64_t turns) {
  characters_.push_back(static_cast<uint32_t>(std::min<int64_t>(characters, std::numeric_limits<uint32_t>::max())));
  turns_ += turns;
}

std::string Report::reasons_text() const {
  std::string text;
  for (const auto& [key, reason] : reasons_)
    text += (text.empty() ? "" : ", ") + std::to_string(reason.count) + " " + key.second;
  return text.empty() ? "none" : text;
}

nlohmann::ordered_json Report::to_json(const std::vector<InputSummary>& inputs,
                                       const std::map<std::string, SplitSummary>& splits,
                                       const nlohmann::json& spec) const {
  ordered_json report;
  report["version"] = 1;
  int64_t read = 0;
  ordered_json files = ordered_json::array();
  for (const InputSummary& input : inputs) {
    read += input.rows;
    files.push_back({{"path", input.path},
                     {"format", input.format},
                     {"rows", input.rows},
                     {"kept", input.kept},
                     {"bytes", input.bytes},
                     {"blank_lines", input.blank_lines}});
  }
  report["rows"] = {{"read", read}, {"kept", kept()}, {"dropped", dropped_}};
  report["inputs"] = files;
  ordered_json dropped = ordered_json::array();
  for (const auto& [key, reason] : reasons_) {
    ordered_json examples = ordered_json::array();
    for (const Example& example : reason.examples) {
      ordered_json entry = place(example.id, inputs);
      if (!example.detail.empty()) entry["detail"] = example.detail;
      if (example.duplicate_of >= 0) entry["duplicate_of"] = place(RowId::unpack(example.duplicate_of), inputs);
      examples.push_back(std::move(entry));
    }
    dropped.push_back(
        {{"reason", key.second}, {"operator", key.first}, {"count", reason.count}, {"examples", examples}});
  }
  report["dropped"] = dropped;
  ordered_json parts = ordered_json::object();
  for (const auto& [name, split] : splits) {
    parts[name] = {{"path", split.path},
                   {"rows", split.rows},
                   {"characters", split.characters},
                   {"bytes", split.bytes},
                   {"sha256", split.sha256}};
  }
  report["splits"] = parts;
  report["characters"] = distribution(characters_);
  report["mean_turns"] =
      characters_.empty() ? 0.0 : static_cast<double>(turns_) / static_cast<double>(characters_.size());
  report["output_format"] = spec["output"]["format"];
  report["split"] = spec["split"];
  report["operators"] = spec["operators"];
  return report;
}

}  // namespace slipway::prep
