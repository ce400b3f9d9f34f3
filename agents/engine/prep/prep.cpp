#include "agents/engine/prep/prep.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "agents/engine/prep/file_writer.h"
#include "agents/engine/prep/jsonl_reader.h"
#include "agents/engine/prep/normalize.h"
#include "agents/engine/prep/operators.h"
#include "agents/engine/prep/report.h"
#include "agents/engine/prep/row.h"
#include "backend/base/error.h"
#include "backend/base/files.h"
#include "backend/base/sha256.h"

namespace slipway::prep {
namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

struct Input {
  std::filesystem::path path;
  Format format = Format::kMessages;
  Mapping mapping;
  int64_t size = 0;
};

// A kept row in the scratch file.
struct KeptRow {
  uint64_t order = 0;  // where the split puts it: by seed and content, not by its line
  int64_t offset = 0;
  uint32_t bytes = 0;
  uint32_t characters = 0;
};

std::vector<Input> read_inputs(const spec::EngineContext& context, Format output) {
  std::vector<Input> inputs;
  const json& given = context.spec["inputs"];
  for (size_t i = 0; i < given.size(); ++i) {
    Input input;
    input.path = context.resolve(given[i]["path"].get<std::string>());
    input.format = parse_format(given[i]["format"].get<std::string>());
    if (given[i].contains("mapping")) input.mapping = given[i]["mapping"].get<Mapping>();
    if (kind_of(input.format) != kind_of(output)) {
      throw base::Error(
          base::kInvalidSpec,
          "inputs[" + std::to_string(i) + "].format " + given[i]["format"].get<std::string>() +
              " cannot become output.format " + context.spec["output"]["format"].get<std::string>(),
          "text becomes text, preference becomes preference, all others become messages or prompt_completion");
    }
    std::error_code failure;
    input.size = static_cast<int64_t>(std::filesystem::file_size(input.path, failure));
    if (failure)
      throw base::Error(failure.value() == ENOENT ? base::kNotFound : base::kIo,
                        "cannot read the input " + input.path.string() + ": " + failure.message(),
                        "relative paths are relative to the workdir " + context.workdir.string());
    inputs.push_back(std::move(input));
  }
  return inputs;
}

// Says how far the reading is, at most twice a second.
class ProgressReporter {
 public:
  ProgressReporter(spec::EventWriter& events, int64_t total) : events_(events), total_(total) {}

  void update(int64_t done) {
    const auto now = SteadyClock::now();
    if (now - last_ < std::chrono::milliseconds(500)) return;
    last_ = now;
    write(done);
  }
  void write(int64_t done) {
    const double elapsed = std::chrono::duration<double>(SteadyClock::now() - begin_).count();
    const double eta = done > 0 ? elapsed * static_cast<double>(total_ - done) / static_cast<double>(done) : -1;
    events_.progress("prepare", done, total_, "byte", eta);
  }

 private:
  spec::EventWriter& events_;
  int64_t total_;
  SteadyClock::time_point begin_ = SteadyClock::now(), last_ = begin_;
};

uint64_t split_order(const Row& row, uint64_t seed) {
  const std::string hex = base::sha256_hex(std::to_string(seed) + "\n" + joined_texts(row, exact_key));
  return std::stoull(hex.substr(0, 16), nullptr, 16);
}

// The rows whose order is below the result are held out: as near as can be to `share` of them, at least one of two or
// more. Equal rows stay on one side.
uint64_t validation_border(const std::vector<KeptRow>& rows, double share) {
  if (share <= 0 || rows.size() < 2) return 0;
  std::vector<uint64_t> orders;
  for (const KeptRow& row : rows) orders.push_back(row.order);
  std::sort(orders.begin(), orders.end());
  const auto wanted = static_cast<size_t>(std::llround(share * static_cast<double>(rows.size())));
  const size_t count = std::clamp<size_t>(wanted, 1, rows.size() - 1);
  if (orders[count] > orders.front()) return orders[count];
  const auto next = std::upper_bound(orders.begin(), orders.end(), orders.front());
  return next == orders.end() ? 0 : *next;
}

class Preparation {
 public:
  explicit Preparation(spec::EngineContext& context)
      : context_(context),
        output_(parse_format(context.spec["output"]["format"].get<std::string>())),
        skip_broken_(context.spec["on_error"] == "skip"),
        tasks_(context.spec["num_tasks"].get<int64_t>()),
        inputs_(read_inputs(context, output_)),
        operators_(make_operators(context.spec["operators"], context.workdir)),
        scratch_(context.workdir) {}

  int run() {
    context_.events.phase("prepare", "begin");
    if (!read_all()) return spec::kExitStopped;
    context_.events.phase("prepare", "end");
    if (rows_.empty()) {
      write_report({});
      throw base::Error(
          base::kInvalidData,
          "no row is left: " + std::to_string(report_.dropped()) + " read, dropped: " + report_.reasons_text(),
          "look at the report's examples, and check the format, the mapping and the filters");
    }
    context_.events.phase("write", "begin");
    if (!write_splits()) return spec::kExitStopped;
    context_.events.phase("write", "end");
    return spec::kExitSucceeded;
  }

 private:
  // False when told to stop.
  bool read_all() {
    int64_t total = 0, before = 0;
    for (const Input& input : inputs_) total += input.size;
    ProgressReporter progress(context_.events, total);
    for (size_t i = 0; i < inputs_.size(); ++i) {
      InputSummary summary{context_.spec["inputs"][i]["path"], context_.spec["inputs"][i]["format"]};
      summaries_.push_back(summary);
      JsonlReader reader(inputs_[i].path);
      std::string line;
      for (;;) {
        if (context_.stop) return false;
        const JsonlReader::Status status = reader.next(line);
        if (status == JsonlReader::Status::kEnd) break;
        ++summaries_[i].rows;
        take_line(status == JsonlReader::Status::kTooLong, line, {static_cast<int64_t>(i), reader.line_number()});
        progress.update(before + reader.bytes_read());
      }
      summaries_[i].bytes = reader.bytes_read();
      summaries_[i].blank_lines = reader.blank_lines();
      before += inputs_[i].size;
    }
    progress.write(total);
    context_.events.metric(0, {{"rows_kept", report_.kept()}, {"rows_dropped", report_.dropped()}});
    return true;
  }

  void take_line(bool too_long, const std::string& line, RowId id) {
    const Input& input = inputs_[static_cast<size_t>(id.input)];
    try {
      if (too_long) throw RowFault("is longer than " + std::to_string(kMaxLineBytes >> 20U) + " MiB");
      Row row = parse_row(line, input.format, input.mapping, tasks_);
      take_row(row, id);
    } catch (const RowFault& fault) {
      if (!skip_broken_) {
        throw base::Error(base::kInvalidData,
                          input.path.string() + " line " + std::to_string(id.line) + " " + fault.what(),
                          "mend this line, or set on_error to skip to go on without such lines");
      }
      report_.drop("read", {"broken_row", fault.what()}, id);
    }
  }

  void take_row(Row& row, RowId id) {
    if (const std::string useless = row.useless(); !useless.empty()) {
      report_.drop("read", {useless, ""}, id);
      return;
    }
    for (const auto& op : operators_) {
      const Verdict verdict = op->apply(row, id);
      if (verdict.keep()) continue;
      report_.drop(op->name(), verdict, id);
      return;
    }
    if (const std::string useless = row.useless(); !useless.empty()) {
      report_.drop("normalize_text", {useless, "nothing was left of a text"}, id);
      return;
    }
    const std::string text = format_row(row, output_);
    KeptRow kept;
    kept.order = split_order(row, context_.spec["split"]["seed"].get<uint64_t>());
    kept.offset = scratch_.append(text.data(), text.size());
    kept.bytes = static_cast<uint32_t>(text.size());
    const int64_t characters = row.characters();
    kept.characters = static_cast<uint32_t>(characters);
    rows_.push_back(kept);
    report_.keep(characters, row.kind == RowKind::kConversation ? static_cast<int64_t>(row.messages.size()) : 1);
    ++summaries_[static_cast<size_t>(id.input)].kept;
  }

  bool write_splits() {
    const std::string relative = context_.spec["output"]["path"].get<std::string>();
    const std::filesystem::path folder = context_.resolve(relative);
    std::error_code failure;
    std::filesystem::create_directories(folder, failure);
    if (failure) throw base::system_error("cannot make the folder " + folder.string(), failure.value());
    const double share = context_.spec["split"]["validation"].get<double>();
    const uint64_t border = validation_border(rows_, share);
    if (share > 0 && border == 0) {
      context_.events.warning("NO_VALIDATION",
                              "no row could be held out for validation: the rows are too few or all equal", "add rows");
    }

    std::map<std::string, SplitSummary> splits;
    FileWriter train(folder / "train.jsonl"), validation(folder / "validation.jsonl");
    std::string text;
    for (const KeptRow& row : rows_) {
      if (context_.stop) return false;
      const bool held_out = row.order < border;
      text.resize(row.bytes);
      scratch_.read(row.offset, text.data(), text.size());
      (held_out ? validation : train).write(text);
      SplitSummary& split = splits[held_out ? "validation" : "train"];
      ++split.rows;
      split.characters += row.characters;
    }
    finish(train, relative, "train", splits);
    if (splits.contains("validation")) {
      finish(validation, relative, "validation", splits);
    } else {
      std::filesystem::remove(folder / "validation.jsonl", failure);  // of an earlier try with other settings
    }
    write_report(splits);
    context_.events.artifact("dataset", relative);
    context_.events.artifact("report", context_.spec["report"].get<std::string>());
    return true;
  }

  static void finish(FileWriter& writer, const std::string& relative, const std::string& name,
                     std::map<std::string, SplitSummary>& splits) {
    SplitSummary& split = splits[name];
    split.path = relative + "/" + name + ".jsonl";
    split.bytes = writer.bytes();
    split.sha256 = writer.sha256();
    writer.commit();
  }

  void write_report(const std::map<std::string, SplitSummary>& splits) {
    const std::filesystem::path path = context_.resolve(context_.spec["report"].get<std::string>());
    std::error_code failure;
    std::filesystem::create_directories(path.parent_path(), failure);
    base::write_file_atomically(
        path,
        report_.to_json(summaries_, splits, context_.spec).dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  }

  spec::EngineContext& context_;
  Format output_;
  bool skip_broken_;
  int64_t tasks_;
  std::vector<Input> inputs_;
  std::vector<InputSummary> summaries_;
  std::vector<std::unique_ptr<Operator>> operators_;
  std::vector<KeptRow> rows_;
  ScratchFile scratch_;
  Report report_;
};

}  // namespace

int run_prep(spec::EngineContext& context) { return Preparation(context).run(); }

}  // namespace slipway::prep
