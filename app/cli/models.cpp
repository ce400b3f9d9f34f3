// slipway model import|list|show|quantize
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "app/cli/commands.h"
#include "app/cli/failure.h"
#include "app/cli/output.h"
#include "app/cli/upload.h"
#include "backend/base/clock.h"
#include "slipway/v1/model.grpc.pb.h"

namespace slipway::cli {
namespace {

using Stub = v1::ModelService::Stub;

std::string kind_of(const v1::ModelVersion& version) {
  const bool adapter = version.kind() == v1::MODEL_KIND_ADAPTER;
  if (version.reward()) return adapter ? "reward adapter" : "reward";
  return adapter ? "adapter" : "base";
}

std::string label_of(const v1::ModelVersion& version) {
  return version.model_name() + "@" + std::to_string(version.version());
}

std::string parameters_of(const v1::ModelVersion& version) {
  const auto count = static_cast<double>(version.parameter_count());
  if (count <= 0) return "";
  char text[32];
  std::snprintf(text, sizeof text, count >= 1e9 ? "%.2f B" : "%.1f M", count >= 1e9 ? count / 1e9 : count / 1e6);
  return text;
}

struct ImportOptions {
  std::string path, name, description;
};

Exit import_model(Context& context, const ImportOptions& options) {
  auto& client = context.client();
  const auto artifact = upload_path(client, options.path, context.json);
  v1::ImportModelRequest request;
  request.set_name(options.name);
  request.set_artifact_id(artifact.id());
  request.set_description(options.description);
  const auto stub = v1::ModelService::NewStub(client.channel());
  const auto version = client.call(*stub, &Stub::ImportModel, request, std::chrono::seconds(300));
  if (context.json) {
    std::cout << to_json(version) << '\n';
  } else {
    std::cout << "Imported " << label_of(version) << ": " << version.format() << ", " << version.family() << ", "
              << parameters_of(version) << " parameters, " << format_bytes(version.artifact().size()) << '\n';
  }
  return Exit::kOk;
}

Exit list_models(Context& context, const std::string& filter) {
  auto& client = context.client();
  const auto stub = v1::ModelService::NewStub(client.channel());
  v1::ListModelsRequest request;
  request.mutable_page()->set_page_size(500);
  request.mutable_page()->set_filter(filter);
  v1::ListModelsResponse all;
  do {
    auto page = client.call(*stub, &Stub::ListModels, request);
    all.mutable_models()->MergeFrom(page.models());
    *all.mutable_page() = page.page();
    request.mutable_page()->set_page_token(page.page().next_page_token());
  } while (!request.page().page_token().empty());
  if (context.json) {
    std::cout << to_json(all) << '\n';
    return Exit::kOk;
  }
  Table table({"NAME", "LATEST", "KIND", "FAMILY", "PARAMETERS", "FORMAT", "SIZE", "MADE"}, {4, 6});
  const int64_t now = base::SystemClock().now_ms();
  for (const auto& model : all.models()) {
    const auto& version = model.latest_version();
    table.add({model.name(), "@" + std::to_string(version.version()), kind_of(version), version.family(),
               parameters_of(version), version.format(), format_bytes(version.artifact().size()),
               format_age(version.created_at(), now)});
  }
  table.print(std::cout, "No models yet. Import one: slipway model import PATH --name NAME");
  return Exit::kOk;
}

Exit show_model(Context& context, const std::string& id) {
  auto& client = context.client();
  const auto stub = v1::ModelService::NewStub(client.channel());
  v1::GetModelVersionRequest request;
  request.set_id(id);
  const auto version = client.call(*stub, &Stub::GetModelVersion, request);
  if (context.json) {
    std::cout << to_json(version) << '\n';
    return Exit::kOk;
  }
  Table facts({"", ""});
  facts.add({"Model", label_of(version)});
  facts.add({"Id", version.id()});
  facts.add({"Kind", kind_of(version)});
  if (!version.description().empty()) facts.add({"Description", version.description()});
  facts.add({"Family", version.family()});
  facts.add({"Parameters", format_count(version.parameter_count())});
  facts.add({"Context", format_count(version.context_length()) + " tokens"});
  facts.add({"Format", version.format()});
  facts.add({"Chat template", version.has_chat_template() ? "yes" : "no"});
  if (!version.base_version_id().empty()) facts.add({"Base version", version.base_version_id()});
  if (!version.run_id().empty()) facts.add({"Made by run", version.run_id()});
  for (const auto& [name, value] : version.metrics()) facts.add({name, format_number(value)});
  facts.add({"Artifact", version.artifact().id()});
  facts.print(std::cout, "");
  std::cout << '\n';
  Table files({"FILE", "SIZE", "SHA-256"}, {1});
  for (const auto& file : version.artifact().files()) {
    files.add({file.path(), format_bytes(file.size()), file.sha256().substr(0, 16) + "…"});
  }
  files.print(std::cout, "No files.");
  return Exit::kOk;
}

struct QuantizeOptions {
  std::string model, output, dtype = "int8", calibration;
  int64_t rows = 128, length = 512, threads = 0;
};

// Becomes slipway-quantize, which lies beside this program: the engines' libraries stay out of it.
Exit quantize_model(const QuantizeOptions& options, bool json) {
  const auto program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "slipway-quantize";
  std::vector<std::string> words = {program.string(), "--model",      options.model,
                                    "--output",       options.output, "--dtype",
                                    options.dtype,    "--threads",    std::to_string(options.threads)};
  if (!options.calibration.empty()) {
    words.insert(words.end(), {"--calibration", options.calibration, "--calibration-rows", std::to_string(options.rows),
                               "--calibration-length", std::to_string(options.length)});
  }
  if (json) words.emplace_back("--json");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  throw Failure(Exit::kFailed, "could not start " + program.string() + ": " + std::strerror(errno),
                "it belongs beside this program: build or install all of Slipway");
}

void add_quantize(CLI::App& model, Context& context) {
  const auto options = std::make_shared<QuantizeOptions>();
  auto* quantize = model.add_subcommand(
      "quantize", "Write a model as one quantised file, which slipway-serve and slipway-eval map from disk");
  quantize->add_option("PATH", options->model, "Hugging Face folder or .gguf file")
      ->required()
      ->check(CLI::ExistingPath);
  quantize->add_option("--output,-o", options->output, "File to write: NAME.slipway")->required();
  quantize->add_option("--dtype", options->dtype, "int8 (default) or int4")->check(CLI::IsMember({"int8", "int4"}));
  quantize
      ->add_option("--calibration", options->calibration,
                   "JSONL rows like those that the model will see: int4 by GPTQ, which loses less")
      ->check(CLI::ExistingFile);
  quantize->add_option("--calibration-rows", options->rows, "At most; default 128")->check(CLI::PositiveNumber);
  quantize->add_option("--calibration-length", options->length, "Tokens of a row at most; default 512")
      ->check(CLI::Range(2, 1 << 17));
  quantize->add_option("--threads", options->threads, "Default: as many as the machine has cores")
      ->check(CLI::NonNegativeNumber);
  quantize->callback(
      [&context, options] { context.action = [&context, options] { return quantize_model(*options, context.json); }; });
}

}  // namespace

void add_models(CLI::App& app, Context& context) {
  auto* model = app.add_subcommand("model", "Models and adapters");
  model->require_subcommand(1);

  const auto import_options = std::make_shared<ImportOptions>();
  auto* import_command = model->add_subcommand(
      "import", "Upload a model (.gguf or .slipway file, or Hugging Face folder) or a PEFT adapter, and register it");
  import_command->add_option("PATH", import_options->path, "File or folder")->required()->check(CLI::ExistingPath);
  import_command->add_option("--name,-n", import_options->name, "Name; an existing one gets a further version")
      ->required();
  import_command->add_option("--description", import_options->description, "In a few words");
  import_command->callback([&context, import_options] {
    context.action = [&context, import_options] { return import_model(context, *import_options); };
  });

  add_quantize(*model, context);

  const auto filter = std::make_shared<std::string>();
  auto* list = model->add_subcommand("list", "List models");
  list->add_option("--filter", *filter, "Words in the name; kind:base or kind:adapter");
  list->callback([&context, filter] { context.action = [&context, filter] { return list_models(context, *filter); }; });

  const auto id = std::make_shared<std::string>();
  auto* show = model->add_subcommand("show", "Show one version and its files");
  show->add_option("MODEL", *id, "NAME (latest version), NAME@VERSION or id")->required();
  show->callback([&context, id] { context.action = [&context, id] { return show_model(context, *id); }; });
}

}  // namespace slipway::cli
