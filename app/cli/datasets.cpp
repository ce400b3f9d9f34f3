// slipway dataset import|preview|list|show
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "app/cli/upload.h"
#include "backend/base/clock.h"
#include "slipway/v1/dataset.grpc.pb.h"

namespace slipway::cli {
namespace {

using Stub = v1::DatasetService::Stub;

struct MappingOptions {
  std::string format;
  std::vector<std::string> roles;  // ROLE=COLUMN
};

struct ImportOptions {
  std::string path, name, description;
  MappingOptions mapping;
};

struct PreviewOptions {
  std::string source, model;
  int rows = 3;
  MappingOptions mapping;
};

v1::ColumnMapping mapping_of(const MappingOptions& options) {
  v1::ColumnMapping mapping;
  mapping.set_format(options.format);
  for (const auto& role : options.roles) {
    const size_t equals = role.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == role.size()) {
      throw Failure(Exit::kUsage, "'" + role + "' is not a mapping", "write ROLE=COLUMN, as in --map prompt=question",
                    "--map");
    }
    (*mapping.mutable_roles())[role.substr(0, equals)] = role.substr(equals + 1);
  }
  return mapping;
}

std::string describe(const v1::ColumnMapping& mapping) {
  std::string text = mapping.format();
  for (const auto& [role, column] : mapping.roles()) {
    text += (text.find(':') == std::string::npos ? ": " : ", ") + role + "=" + column;
  }
  return text;
}

std::string label_of(const v1::DatasetVersion& version) {
  return version.dataset_name() + "@" + std::to_string(version.version());
}

void add_mapping(CLI::App* command, MappingOptions& options) {
  command->add_option("--format", options.format,
                      "messages, prompt_completion, alpaca, sharegpt or text (default: guessed)");
  command->add_option("--map", options.roles, "ROLE=COLUMN, as prompt=question; may be given several times");
}

Exit import_dataset(Context& context, const ImportOptions& options) {
  auto& client = context.client();
  v1::ImportDatasetRequest request;
  *request.mutable_mapping() = mapping_of(options.mapping);
  const auto artifact = upload_path(client, options.path, context.json);
  request.set_name(options.name);
  request.set_artifact_id(artifact.id());
  request.set_description(options.description);
  const auto stub = v1::DatasetService::NewStub(client.channel());
  const auto version = client.call(*stub, &Stub::ImportDataset, request, std::chrono::seconds(300));
  if (context.json) {
    std::cout << to_json(version) << '\n';
  } else {
    std::cout << "Imported " << label_of(version) << ": " << format_count(version.row_count()) << " rows, "
              << describe(version.mapping()) << '\n';
  }
  return Exit::kOk;
}

Exit preview(Context& context, const PreviewOptions& options) {
  auto& client = context.client();
  v1::PreviewDatasetRequest request;
  *request.mutable_mapping() = mapping_of(options.mapping);
  // A file here is uploaded (but not registered); anything else is a dataset there.
  if (std::filesystem::exists(options.source)) {
    request.set_artifact_id(upload_path(client, options.source, context.json).id());
  } else {
    request.set_dataset_version_id(options.source);
  }
  request.set_model_version_id(options.model);
  request.set_rows(options.rows);
  const auto stub = v1::DatasetService::NewStub(client.channel());
  const auto response = client.call(*stub, &Stub::PreviewDataset, request);
  if (context.json) {
    std::cout << to_json(response) << '\n';
    return Exit::kOk;
  }
  std::cout << format_count(response.row_count()) << " rows; " << describe(response.mapping()) << '\n';
  for (const auto& problem : response.problems()) std::cout << "problem: " << problem << '\n';
  for (int i = 0; i < response.rows_size(); ++i) {
    const auto& row = response.rows(i);
    std::cout << "\n--- row " << i + 1 << " ---\n";
    if (!row.problem().empty()) std::cout << "problem: " << row.problem() << '\n';
    if (!row.rendered().empty()) {
      int64_t trained = 0;
      for (const auto& token : row.tokens()) trained += token.trained() ? 1 : 0;
      std::cout << row.rendered() << "\n[" << row.tokens_size() << " tokens, " << trained << " of them learned]\n";
    } else if (row.messages_size() > 0) {
      for (const auto& message : row.messages()) std::cout << message.role() << ": " << message.content() << '\n';
    } else {
      std::cout << row.json() << '\n';
    }
  }
  return response.problems_size() > 0 ? Exit::kFailed : Exit::kOk;
}

Exit list_datasets(Context& context, const std::string& filter) {
  auto& client = context.client();
  const auto stub = v1::DatasetService::NewStub(client.channel());
  v1::ListDatasetsRequest request;
  request.mutable_page()->set_page_size(500);
  request.mutable_page()->set_filter(filter);
  v1::ListDatasetsResponse all;
  do {
    auto page = client.call(*stub, &Stub::ListDatasets, request);
    all.mutable_datasets()->MergeFrom(page.datasets());
    *all.mutable_page() = page.page();
    request.mutable_page()->set_page_token(page.page().next_page_token());
  } while (!request.page().page_token().empty());
  if (context.json) {
    std::cout << to_json(all) << '\n';
    return Exit::kOk;
  }
  Table table({"NAME", "LATEST", "ROWS", "FORMAT", "SIZE", "MADE"}, {2, 4});
  const int64_t now = base::SystemClock().now_ms();
  for (const auto& dataset : all.datasets()) {
    const auto& version = dataset.latest_version();
    table.add({dataset.name(), "@" + std::to_string(version.version()), format_count(version.row_count()),
               describe(version.mapping()), format_bytes(version.artifact().size()),
               format_age(version.created_at(), now)});
  }
  table.print(std::cout, "No datasets yet. Import one: slipway dataset import FILE.jsonl --name NAME");
  return Exit::kOk;
}

Exit show_dataset(Context& context, const std::string& id) {
  auto& client = context.client();
  const auto stub = v1::DatasetService::NewStub(client.channel());
  v1::GetDatasetVersionRequest request;
  request.set_id(id);
  const auto version = client.call(*stub, &Stub::GetDatasetVersion, request);
  if (context.json) {
    std::cout << to_json(version) << '\n';
    return Exit::kOk;
  }
  Table facts({"", ""});
  facts.add({"Dataset", label_of(version)});
  facts.add({"Id", version.id()});
  facts.add({"Rows", format_count(version.row_count())});
  facts.add({"Mapping", describe(version.mapping())});
  facts.add({"Size", format_bytes(version.artifact().size())});
  facts.add({"Artifact", version.artifact().id()});
  if (!version.run_id().empty()) facts.add({"Made by run", version.run_id()});
  facts.print(std::cout, "");
  return Exit::kOk;
}

}  // namespace

void add_datasets(CLI::App& app, Context& context) {
  auto* dataset = app.add_subcommand("dataset", "Datasets");
  dataset->require_subcommand(1);

  const auto import_options = std::make_shared<ImportOptions>();
  auto* import_command = dataset->add_subcommand("import", "Upload a JSONL file, check every row, and register it");
  import_command->add_option("PATH", import_options->path, "JSONL file")->required()->check(CLI::ExistingPath);
  import_command->add_option("--name,-n", import_options->name, "Name; an existing one gets a further version")
      ->required();
  import_command->add_option("--description", import_options->description, "In a few words");
  add_mapping(import_command, import_options->mapping);
  import_command->callback([&context, import_options] {
    context.action = [&context, import_options] { return import_dataset(context, *import_options); };
  });

  const auto preview_options = std::make_shared<PreviewOptions>();
  auto* preview_command = dataset->add_subcommand("preview", "Show rows as a model would see them");
  preview_command->add_option("SOURCE", preview_options->source, "JSONL file, or NAME, NAME@VERSION or id of a dataset")
      ->required();
  preview_command->add_option("--model", preview_options->model, "Render and tokenise as this model does");
  preview_command->add_option("--rows", preview_options->rows, "How many")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  add_mapping(preview_command, preview_options->mapping);
  preview_command->callback([&context, preview_options] {
    context.action = [&context, preview_options] { return preview(context, *preview_options); };
  });

  const auto filter = std::make_shared<std::string>();
  auto* list = dataset->add_subcommand("list", "List datasets");
  list->add_option("--filter", *filter, "Words in the name");
  list->callback(
      [&context, filter] { context.action = [&context, filter] { return list_datasets(context, *filter); }; });

  const auto id = std::make_shared<std::string>();
  auto* show = dataset->add_subcommand("show", "Show one version");
  show->add_option("DATASET", *id, "NAME (latest version), NAME@VERSION or id")->required();
  show->callback([&context, id] { context.action = [&context, id] { return show_dataset(context, *id); }; });
}

}  // namespace slipway::cli
