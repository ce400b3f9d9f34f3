// slipway run start|list|show|watch|logs|cancel|retry; sweeps.cpp has run sweep
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <thread>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "app/cli/run_view.h"
#include "app/cli/workflow_flags.h"
#include "backend/base/clock.h"
#include "slipway/v1/event.grpc.pb.h"
#include "slipway/v1/run.grpc.pb.h"
#include "slipway/v1/workflow.grpc.pb.h"

namespace slipway::cli {
namespace {

using Stub = v1::RunService::Stub;

Exit exit_of(const v1::Run& run) {
  switch (run.state()) {
    case v1::RUN_STATE_FAILED:
      return Exit::kFailed;
    case v1::RUN_STATE_CANCELLED:
      return Exit::kCancelled;
    default:
      return Exit::kOk;
  }
}

// The id for what a person wrote: an id, `latest`, or a run's name (its newest run).
std::string resolve_run(const Client& client, Stub& stub, const std::string& text) {
  v1::ListRunsRequest request;
  if (text == "latest") {
    request.mutable_page()->set_page_size(1);
    const auto response = client.call(stub, &Stub::ListRuns, request);
    if (response.runs().empty())
      throw Failure(Exit::kNotFound, "there is no run yet", "start one: slipway run start WORKFLOW");
    return response.runs(0).id();
  }
  request.mutable_page()->set_filter(text);
  const auto response = client.call(stub, &Stub::ListRuns, request);
  for (const auto& run : response.runs()) {
    if (run.id() == text || run.name() == text) return run.id();
  }
  return text;  // the backend says that it does not exist
}

v1::Run get_run(const Client& client, Stub& stub, const std::string& id) {
  v1::GetRunRequest request;
  request.set_id(id);
  return client.call(stub, &Stub::GetRun, request);
}

// Calls `handle` with every change of a run, from a cursor on, until it answers false. Survives a backend that goes
// away and comes back: the stream is resumed from the last cursor. `connected` is called when a stream is open and its
// cursor known: what is read then misses nothing.
void watch_run(const Client& client, const std::string& run_id, bool logs, const std::function<bool()>& connected,
               const std::function<bool(const v1::WatchResponse&)>& handle) {
  const auto stub = v1::EventService::NewStub(client.channel());
  std::string cursor;
  int failures = 0;
  while (true) {
    grpc::ClientContext context;
    client.authorize(context);
    v1::WatchRequest request;
    request.set_run_id(run_id);
    request.set_logs(logs);
    request.set_cursor(cursor);
    const auto reader = stub->Watch(&context, request);
    v1::WatchResponse change;
    bool known = false;
    bool go_on = true;
    while (go_on && reader->Read(&change)) {
      failures = 0;
      if (!change.cursor().empty()) cursor = change.cursor();
      if (!known) {
        known = true;
        go_on = connected();
      }
      if (go_on && change.change_case() != v1::WatchResponse::CHANGE_NOT_SET) go_on = handle(change);
    }
    if (!go_on) {
      context.TryCancel();
      static_cast<void>(reader->Finish());
      return;
    }
    const auto status = reader->Finish();
    const bool gone = status.ok() || status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                      status.error_code() == grpc::StatusCode::CANCELLED;
    if (!gone || ++failures > 120)
      client.check(status.ok() ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "the stream ended") : status);
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

class Screen {
 public:
  void draw(const std::vector<std::string>& lines) {
    std::string text;
    if (drawn_ > 0) text += "\033[" + std::to_string(drawn_) + "A";
    for (const auto& line : lines) text += "\r\033[K" + line + "\n";
    text += "\033[J";
    drawn_ = lines.size();
    std::cout << text << std::flush;
  }
  static int width() {
    winsize size{};
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
  }

 private:
  size_t drawn_ = 0;
};

Exit watch(Context& context, const std::string& text) {
  auto& client = context.client();
  const auto stub = v1::RunService::NewStub(client.channel());
  const std::string id = resolve_run(client, *stub, text);
  RunView view;
  view.set_run(get_run(client, *stub, id));
  Screen screen;
  const bool live = !context.json && is_terminal(STDOUT_FILENO);
  const base::SystemClock clock;
  int64_t drawn_at_ms = 0;
  const auto show = [&](bool now) {
    if (context.json) return;
    if (!live) {
      for (const auto& line : view.news()) std::cout << line << '\n';
      std::cout << std::flush;
    } else if (now || clock.now_ms() - drawn_at_ms > 100) {
      drawn_at_ms = clock.now_ms();
      screen.draw(view.lines(drawn_at_ms, Screen::width()));
    }
  };
  show(true);
  if (!view.ended()) {
    watch_run(
        client, id, false,
        [&] {
          view.set_run(get_run(client, *stub, id));
          show(true);
          return !view.ended();
        },
        [&](const v1::WatchResponse& change) {
          if (context.json) std::cout << to_json(change, true) << '\n' << std::flush;
          const bool changed = view.apply(change);
          if (changed) show(change.change_case() == v1::WatchResponse::kRun);
          return !view.ended();
        });
  }
  // The last word may lack what was written after the state: fetched once more.
  view.set_run(get_run(client, *stub, id));
  show(true);
  if (context.json) {
    std::cout << to_json(view.run(), true) << '\n';
  } else {
    std::cout << '\n' << view.summary();
  }
  return exit_of(view.run());
}

// Takes the flags that every command has out of those of the workflow.
void take_global_flags(Context& context, std::vector<std::string>& arguments) {
  for (size_t i = 0; i + 1 < arguments.size();) {
    std::string* target = arguments[i] == "--backend"  ? &context.backend_flag
                          : arguments[i] == "--tls-ca" ? &context.tls_ca_flag
                                                       : nullptr;
    if (target == nullptr) {
      ++i;
      continue;
    }
    *target = arguments[i + 1];
    const auto at = arguments.begin() + static_cast<std::ptrdiff_t>(i);
    arguments.erase(at, at + 2);
  }
}

Exit start(Context& context, std::vector<std::string> arguments) {
  take_global_flags(context, arguments);
  if (arguments.empty() || arguments[0].rfind('-', 0) == 0) {
    throw Failure(Exit::kUsage, "no workflow is named",
                  "slipway run start WORKFLOW [flags]; see: slipway workflow list");
  }
  auto& client = context.client();
  const auto workflows = v1::WorkflowService::NewStub(client.channel());
  v1::GetWorkflowRequest which;
  which.set_name(arguments[0]);
  const auto workflow = client.call(*workflows, &v1::WorkflowService::Stub::GetWorkflow, which);
  const auto flags = parse_run_flags(workflow, {arguments.begin() + 1, arguments.end()});
  if (flags.help_wanted) {
    std::cout << flags.help;
    return Exit::kOk;
  }
  context.json = context.json || flags.json;
  v1::StartRunRequest request;
  request.set_workflow(workflow.name());
  request.set_name(flags.name);
  request.set_idempotency_key(flags.idempotency_key);
  for (const auto& [name, value] : flags.parameters) (*request.mutable_parameters())[name] = value;
  const auto stub = v1::RunService::NewStub(client.channel());
  const auto run = client.call(*stub, &Stub::StartRun, request);
  if (flags.watch) return watch(context, run.id());
  if (context.json) {
    std::cout << to_json(run) << '\n';
  } else {
    std::cout << "Started " << run.name() << ": " << run.id() << "\nFollow it: slipway run watch " << run.id() << '\n';
  }
  return Exit::kOk;
}

Exit list_runs(Context& context, const std::string& filter, int limit) {
  auto& client = context.client();
  const auto stub = v1::RunService::NewStub(client.channel());
  v1::ListRunsRequest request;
  request.mutable_page()->set_page_size(std::min(limit, 500));
  request.mutable_page()->set_filter(filter);
  v1::ListRunsResponse all;
  do {
    auto page = client.call(*stub, &Stub::ListRuns, request);
    for (auto& run : *page.mutable_runs()) {
      if (all.runs_size() < limit) *all.add_runs() = std::move(run);
    }
    *all.mutable_page() = page.page();
    request.mutable_page()->set_page_token(page.page().next_page_token());
  } while (!request.page().page_token().empty() && all.runs_size() < limit);
  if (context.json) {
    std::cout << to_json(all) << '\n';
    return Exit::kOk;
  }
  Table table({"ID", "NAME", "WORKFLOW", "STATE", "STARTED", "TIME"});
  const int64_t now = base::SystemClock().now_ms();
  for (const auto& run : all.runs()) {
    std::string time;
    if (run.has_started_at() && run.has_finished_at())
      time = format_duration(seconds_between(run.started_at(), run.finished_at()));
    table.add({run.id(), run.name(), run.workflow(), state_word(run.state()), format_age(run.started_at(), now), time});
  }
  table.print(std::cout, "No runs yet. Start one: slipway run start WORKFLOW (see: slipway workflow list)");
  return Exit::kOk;
}

Exit show_run(Context& context, const std::string& text, const std::string& spec_of) {
  auto& client = context.client();
  const auto stub = v1::RunService::NewStub(client.channel());
  const std::string id = resolve_run(client, *stub, text);
  if (!spec_of.empty()) {
    v1::GetTaskSpecRequest request;
    request.set_run_id(id);
    request.set_task(spec_of);
    std::cout << client.call(*stub, &Stub::GetTaskSpec, request).json() << '\n';
    return Exit::kOk;
  }
  const auto run = get_run(client, *stub, id);
  if (context.json) {
    std::cout << to_json(run) << '\n';
    return Exit::kOk;
  }
  std::cout << run.name() << " (" << run.workflow() << ")\n\n";
  RunView view;
  view.set_run(run);
  std::cout << view.summary() << '\n';
  Table parameters({"PARAMETER", "VALUE"});
  const std::map<std::string, std::string> sorted(run.parameters().begin(), run.parameters().end());
  for (const auto& [name, value] : sorted) parameters.add({name, value});
  parameters.print(std::cout, "No parameters.");
  return Exit::kOk;
}

struct LogOptions {
  std::string run, task, search;
  bool follow = false;
  bool events = false;
  int tail = 0;
};

Exit show_events(Context& context, Stub& stub, const std::string& id, const LogOptions& options) {
  auto& client = context.client();
  v1::ListRunEventsRequest request;
  request.set_run_id(id);
  request.set_limit(5000);
  while (true) {
    const auto response = client.call(stub, &Stub::ListRunEvents, request);
    for (const auto& event : response.events()) {
      request.set_after_cursor(event.cursor());
      if (!options.task.empty() && event.task() != options.task) continue;
      std::cout << (context.json
                        ? to_json(event, true)
                        : "[" + event.task() + "] " + printable(event.json().empty() ? event.message() : event.json()))
                << '\n';
    }
    if (response.events().empty()) return Exit::kOk;
  }
}

Exit logs(Context& context, const LogOptions& options) {
  auto& client = context.client();
  const auto stub = v1::RunService::NewStub(client.channel());
  const std::string id = resolve_run(client, *stub, options.run);
  if (options.events) return show_events(context, *stub, id, options);
  int64_t cursor = 0;
  const auto print = [&](const v1::LogLine& line) {
    if (line.cursor() <= cursor) return;
    cursor = line.cursor();
    if (!options.task.empty() && line.task() != options.task) return;
    if (context.json) {
      std::cout << to_json(line, true) << '\n';
    } else {
      const std::string rank = line.rank() > 0 ? " rank " + std::to_string(line.rank()) : "";
      std::cout << "[" << line.task() << rank << "] " << printable(line.text()) << '\n';
    }
  };
  const auto catch_up = [&] {
    v1::ListLogLinesRequest request;
    request.set_run_id(id);
    request.set_task(options.task);
    request.set_search(options.search);
    while (true) {
      const bool tail = options.tail > 0 && cursor == 0;
      request.set_tail(tail);
      request.set_limit(tail ? options.tail : 5000);
      request.set_after_cursor(cursor);
      const auto response = client.call(*stub, &Stub::ListLogLines, request);
      for (const auto& line : response.lines()) print(line);
      std::cout << std::flush;
      if (response.lines().empty() || tail) return;
    }
  };
  catch_up();
  if (!options.follow || is_final(get_run(client, *stub, id).state())) return Exit::kOk;
  watch_run(
      client, id, true,
      [&] {
        catch_up();
        return !is_final(get_run(client, *stub, id).state());
      },
      [&](const v1::WatchResponse& change) {
        if (change.change_case() == v1::WatchResponse::kLogLine && options.search.empty()) {
          print(change.log_line());
          std::cout << std::flush;
        } else if (change.change_case() == v1::WatchResponse::kLogLine) {
          catch_up();
        }
        return !(change.has_run() && change.run().id() == id && is_final(change.run().state()));
      });
  catch_up();
  return Exit::kOk;
}

Exit cancel(Context& context, const std::string& text, bool keep) {
  auto& client = context.client();
  const auto stub = v1::RunService::NewStub(client.channel());
  v1::CancelRunRequest request;
  request.set_id(resolve_run(client, *stub, text));
  request.set_keep(keep);
  const auto run = client.call(*stub, &Stub::CancelRun, request);
  std::cout << (context.json ? to_json(run) : "Run " + run.id() + ": " + state_word(run.state())) << '\n';
  return Exit::kOk;
}

Exit retry(Context& context, const std::string& text, bool follow) {
  auto& client = context.client();
  const auto stub = v1::RunService::NewStub(client.channel());
  v1::RetryRunRequest request;
  request.set_id(resolve_run(client, *stub, text));
  const auto run = client.call(*stub, &Stub::RetryRun, request);
  if (follow) return watch(context, run.id());
  std::cout << (context.json ? to_json(run) : "Run " + run.id() + ": " + state_word(run.state())) << '\n';
  return Exit::kOk;
}

constexpr char kRunHelp[] = "Id, name (its newest run) or latest";

}  // namespace

void add_runs(CLI::App& app, Context& context) {
  auto* run = app.add_subcommand("run", "Runs of workflows");
  run->require_subcommand(1);
  add_sweeps(*run, context);

  auto* start_command = run->add_subcommand("start", "Start a workflow; its flags: slipway run start WORKFLOW --help");
  start_command->prefix_command()->fallthrough(
      false);  // the workflow's flags are known only once the backend has named them
  start_command->footer("slipway run start WORKFLOW [flags of the workflow] [--name TEXT] [--watch] [--json]");
  start_command->callback([&context, start_command] {
    const auto arguments = start_command->remaining();
    context.action = [&context, arguments] { return start(context, arguments); };
  });

  const auto filter = std::make_shared<std::string>();
  const auto limit = std::make_shared<int>(50);
  auto* list = run->add_subcommand("list", "List runs, newest first");
  list->add_option("--filter", *filter, "Words in name or id; state:running, workflow:NAME, sweep:ID");
  list->add_option("--limit", *limit, "At most so many")->check(CLI::Range(1, 100000))->capture_default_str();
  list->callback([&context, filter, limit] {
    context.action = [&context, filter, limit] { return list_runs(context, *filter, *limit); };
  });

  const auto shown = std::make_shared<std::string>();
  const auto spec_of = std::make_shared<std::string>();
  auto* show = run->add_subcommand("show", "Show a run: tasks, results, parameters");
  show->add_option("RUN", *shown, kRunHelp)->required();
  show->add_option("--spec", *spec_of, "Instead: the exact spec of this task's latest attempt");
  show->callback([&context, shown, spec_of] {
    context.action = [&context, shown, spec_of] { return show_run(context, *shown, *spec_of); };
  });

  const auto watched = std::make_shared<std::string>();
  auto* watch_command = run->add_subcommand("watch", "Follow a run until it ends; the exit status is the run's");
  watch_command->add_option("RUN", *watched, kRunHelp)->required();
  watch_command->callback(
      [&context, watched] { context.action = [&context, watched] { return watch(context, *watched); }; });

  const auto log_options = std::make_shared<LogOptions>();
  auto* log_command = run->add_subcommand("logs", "Print a run's log");
  log_command->add_option("RUN", log_options->run, kRunHelp)->required();
  log_command->add_option("--task", log_options->task, "Only this task's");
  log_command->add_option("--search", log_options->search, "Only lines with this text");
  log_command->add_option("--tail", log_options->tail, "Only the last so many lines")->check(CLI::Range(1, 5000));
  log_command->add_flag("--follow,-f", log_options->follow, "Go on until the run ends");
  log_command->add_flag("--events", log_options->events, "Instead: the engines' events");
  log_command->callback(
      [&context, log_options] { context.action = [&context, log_options] { return logs(context, *log_options); }; });

  const auto cancelled = std::make_shared<std::string>();
  auto* cancel_command = run->add_subcommand("cancel", "Ask the engines to save and leave");
  cancel_command->add_option("RUN", *cancelled, kRunHelp)->required();
  const auto keep = std::make_shared<bool>(false);
  cancel_command->add_flag("--keep", *keep, "Instead: end the training early, and go on with what it has learned");
  cancel_command->callback([&context, cancelled, keep] {
    context.action = [&context, cancelled, keep] { return cancel(context, *cancelled, *keep); };
  });

  const auto retried = std::make_shared<std::string>();
  const auto follow = std::make_shared<bool>(false);
  auto* retry_command =
      run->add_subcommand("retry", "Run what failed or was cancelled again, from the last checkpoint");
  retry_command->add_option("RUN", *retried, kRunHelp)->required();
  retry_command->add_flag("--watch,-w", *follow, "Follow it until it ends");
  retry_command->callback([&context, retried, follow] {
    context.action = [&context, retried, follow] { return retry(context, *retried, *follow); };
  });
}

}  // namespace slipway::cli
