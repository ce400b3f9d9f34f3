#include "agents/engine/serve/settings.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "agents/engine/spec/engine_main.h"
#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::serve {
namespace {

using nlohmann::json;

constexpr size_t kMaxKeyFileBytes = 4096;

constexpr char kUsage[] =
    "Usage: slipway-serve --model PATH [options]\n"
    "       slipway-serve --spec FILE --workdir DIR\n\n"
    "Serves language models and their adapters over the OpenAI API.\n\n"
    "  --model [NAME=]PATH       a Hugging Face folder or a .gguf file; may be given several times, and then each is\n"
    "                            loaded when a request first asks for it\n"
    "  --listen ADDRESS:PORT     default 127.0.0.1:8080; port 0 takes a free one\n"
    "  --served-model-name NAME  default: the name of the folder or file\n"
    "  --adapter NAME=DIR        a PEFT folder served under NAME, for the --model before it; may be given several "
    "times\n"
    "  --task-id N               whose prompt, if the --adapter before it has several tasks (multitask prompt tuning); "
    "default 0\n"
    "  --memory-limit SIZE       of all models in memory, e.g. 6GiB: the one unused for longest is dropped for "
    "another\n"
    "  --idle-unload-s SECONDS   drop a model that was not used for so long; default 0: never\n"
    "  --dtype TYPE              auto, f32, bf16, int8 or int4\n"
    "  --threads N               default: as many as the machine has cores\n"
    "  --max-model-len N         longest sequence in tokens; default: the model's own, at most 8192\n"
    "  --max-num-seqs N          sequences that run at once; default 64\n"
    "  --queue N                 requests that may wait; more get 429; default 256\n"
    "  --kv-cache-tokens N       size of the KV cache\n"
    "  --kv-cache-dtype TYPE     auto, f32, bf16 or int8; auto: f32 beside f32 weights, else bf16\n"
    "  --no-prefix-caching       requests with the same beginning do not share its keys and values\n"
    "  --prompt-tokens-beside N  prompt tokens per step while streams run: what a prompt may delay them by; default "
    "64\n"
    "  --speculative-tokens N    tokens guessed from the text itself per step; the output stays the same; default 0\n"
    "  --adapters-in-memory N    adapters whose weights are in memory at once; default 32\n"
    "  --max-body-bytes N        default 16777216\n"
    "  --request-timeout SECONDS from a request's arrival to the end of its answer; default 0: no limit\n"
    "  --ssl-certfile FILE       PEM, with those that vouch for it: HTTPS; SIGHUP reads certificate and key again\n"
    "  --ssl-keyfile FILE        the certificate's key, without a passphrase\n"
    "  --drain-timeout SECONDS   how long running answers may go on after SIGTERM; default 30\n"
    "  --api-key-file FILE       its first line must be sent by clients as bearer token\n"
    "  --api-key KEY             the same; others on this machine can see it, so prefer the file or SLIPWAY_API_KEY\n"
    "  --no-runtime-adapters     clients may not load or unload adapters\n"
    "  --help, --version\n";

enum class Kind { kText, kInteger, kNumber };

struct Flag {
  const char* name;
  const char* pointer;  // where it goes in the spec
  Kind kind;
};
constexpr Flag kFlags[] = {
    {"--listen", "/listen", Kind::kText},
    {"--served-model-name", "/model/served_model_name", Kind::kText},
    {"--dtype", "/model/dtype", Kind::kText},
    {"--threads", "/threads", Kind::kInteger},
    {"--max-model-len", "/limits/max_model_len", Kind::kInteger},
    {"--max-num-seqs", "/limits/max_num_seqs", Kind::kInteger},
    {"--queue", "/limits/queue", Kind::kInteger},
    {"--kv-cache-tokens", "/limits/kv_cache_tokens", Kind::kInteger},
    {"--kv-cache-dtype", "/kv_cache_dtype", Kind::kText},
    {"--prompt-tokens-beside", "/limits/prompt_tokens_beside", Kind::kInteger},
    {"--speculative-tokens", "/speculative_tokens", Kind::kInteger},
    {"--adapters-in-memory", "/limits/adapters_in_memory", Kind::kInteger},
    {"--max-body-bytes", "/limits/max_body_bytes", Kind::kInteger},
    {"--request-timeout", "/limits/request_timeout_s", Kind::kNumber},
    {"--idle-unload-s", "/limits/idle_unload_s", Kind::kNumber},
    {"--ssl-certfile", "/ssl_certfile", Kind::kText},
    {"--ssl-keyfile", "/ssl_keyfile", Kind::kText},
    {"--drain-timeout", "/limits/drain_timeout_s", Kind::kNumber},
    {"--api-key-file", "/api_key_file", Kind::kText},
};

// The value as JSON; one that is no number stays a text, and the schema says what was expected.
json flag_value(const std::string& text, Kind kind) {
  if (kind == Kind::kText) return text;
  const json parsed = json::parse(text, nullptr, false);
  return parsed.is_number() ? parsed : json(text);
}

void say(const std::string& text) { std::fprintf(stderr, "slipway-serve: %s\n", text.c_str()); }

std::string default_name(const std::filesystem::path& model) {
  const std::filesystem::path clean = model.has_filename() ? model : model.parent_path();
  return clean.extension() == ".gguf" || clean.extension() == ".slipway" ? clean.stem().string()
                                                                         : clean.filename().string();
}

// Of a spec's model: what it says, else the name of its folder or file.
std::string served_name(const json& model) {
  const std::string name = model.value("served_model_name", "");
  return name.empty() ? default_name(model["path"].get<std::string>()) : name;
}

// SIZE as bytes: a number with B, KiB, MiB, GiB or TiB, or without a unit. Another text stays one, and the schema says
// what was expected.
json byte_count(const std::string& text) {
  size_t end = 0;
  while (end < text.size() && (std::isdigit(static_cast<unsigned char>(text[end])) || text[end] == '.')) ++end;
  const json amount = json::parse(text.substr(0, end), nullptr, false);
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double factor = text.size() == end ? 1 : 0;
  for (size_t i = 0; i < std::size(units); ++i) {
    if (text.substr(end) == units[i]) factor = std::pow(1024.0, static_cast<double>(i));
  }
  const double bytes = amount.is_number() ? amount.get<double>() * factor : 0;
  return bytes >= 1 && bytes < 9e18 ? json(static_cast<int64_t>(bytes)) : json(text);
}

// Puts the spec together from one flag after the other. Says on stderr what is wrong with one.
class FlagReader {
 public:
  // False: it is no flag without a value.
  bool take_switch(const std::string& name) {
    if (name != "--no-runtime-adapters" && name != "--no-prefix-caching") return false;
    spec_[name == "--no-prefix-caching" ? "prefix_caching" : "runtime_adapters"] = false;
    return true;
  }

  bool check_name(const std::string& name) const {
    std::vector<std::string> names = {
        "--no-runtime-adapters", "--no-prefix-caching", "--spec", "--workdir", "--help", "--version"};
    names.insert(names.end(), std::begin(kSpecialFlags), std::end(kSpecialFlags));
    for (const Flag& flag : kFlags) names.emplace_back(flag.name);
    if (std::find(std::begin(kSpecialFlags), std::end(kSpecialFlags), name) != std::end(kSpecialFlags)) return true;
    if (flag_of(name) != nullptr) return true;
    const std::string nearest = spec::nearest_name(name, names);
    say("unknown flag " + name + (nearest.empty() ? "; see --help" : "; did you mean " + nearest + "?"));
    return false;
  }

  bool take(const std::string& name, const std::string& value) {
    if (name == "--model") {
      take_model(value);
    } else if (name == "--adapter") {
      return take_adapter(value);
    } else if (name == "--task-id") {
      return take_task(value);
    } else if (name == "--api-key") {
      setenv("SLIPWAY_API_KEY", value.c_str(), 1);
    } else if (name == "--memory-limit") {
      spec_["limits"]["memory_limit_bytes"] = byte_count(value);
    } else {
      const Flag& flag = *flag_of(name);
      spec_[json::json_pointer(flag.pointer)] = flag_value(value, flag.kind);
    }
    return true;
  }

  json result() const {
    json spec = spec_;
    // Flags are for all models; a spec says it for each.
    const std::string dtype = spec.value("/model/dtype"_json_pointer, "auto");
    for (size_t i = 0; spec.contains("models") && i < spec["models"].size(); ++i) spec["models"][i]["dtype"] = dtype;
    for (json adapter : adapters_) {
      // An adapter is its model's by the place among the flags; the spec names the model.
      const auto model = adapter["model"].get<size_t>();
      adapter.erase("model");
      if (model > 0) adapter["model"] = served_name(spec["models"][model - 1]);
      spec["adapters"].push_back(std::move(adapter));
    }
    return spec;
  }

 private:
  static constexpr const char* kSpecialFlags[] = {"--model", "--adapter", "--task-id", "--api-key", "--memory-limit"};

  static const Flag* flag_of(const std::string& name) {
    for (const Flag& flag : kFlags) {
      if (name == flag.name) return &flag;
    }
    return nullptr;
  }

  // PATH, or NAME=PATH: a name holds no slash.
  void take_model(const std::string& value) {
    const size_t equals = value.find('=');
    const bool named = equals != std::string::npos && equals > 0 && value.find('/') > equals;
    json model = {{"path", named ? value.substr(equals + 1) : value}};
    if (named) model["served_model_name"] = value.substr(0, equals);
    if (models_++ == 0) {
      spec_["model"].update(model);
    } else {
      spec_["models"].push_back(std::move(model));
    }
  }

  bool take_adapter(const std::string& value) {
    const size_t equals = value.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == value.size()) {
      say("--adapter is \"" + value + "\"; expected NAME=DIR");
      return false;
    }
    adapters_.push_back({{"name", value.substr(0, equals)},
                         {"path", value.substr(equals + 1)},
                         {"model", models_ > 0 ? models_ - 1 : 0}});
    return true;
  }

  bool take_task(const std::string& value) {
    if (adapters_.empty()) {
      say("--task-id belongs to the --adapter before it, and there is none");
      return false;
    }
    adapters_.back()["task_id"] = flag_value(value, Kind::kInteger);
    return true;
  }

  json spec_ = {{"version", 1}, {"kind", "serve"}};
  size_t models_ = 0;
  std::vector<json> adapters_;
};

std::string read_key(const std::filesystem::path& path) {
  std::string key = base::read_file(path, kMaxKeyFileBytes);
  key = key.substr(0, key.find_first_of("\r\n"));
  if (key.empty())
    throw base::Error(base::kInvalidSpec, "the first line of the key file " + path.string() + " is empty",
                      "write the key into it");
  return key;
}

std::chrono::milliseconds milliseconds(const json& seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds.get<double>() * 1000.0));
}

BaseModelSettings base_model(const json& model, const std::filesystem::path& folder) {
  return {(folder / model["path"].get<std::string>()).lexically_normal(), served_name(model),
          model["dtype"].get<std::string>(), model["fingerprint"].get<std::string>()};
}

size_t model_of_adapter(const std::vector<BaseModelSettings>& models, const json& adapter) {
  const std::string name = adapter["model"].get<std::string>();
  if (name.empty()) return 0;
  for (size_t i = 0; i < models.size(); ++i) {
    if (models[i].served_model_name == name) return i;
  }
  std::string known;
  for (const BaseModelSettings& model : models) known += (known.empty() ? "" : ", ") + model.served_model_name;
  throw base::Error(
      base::kInvalidSpec,
      "adapter " + adapter["name"].get<std::string>() + " belongs to the model " + name + ", which is not served",
      "served: " + known);
}

void check_names(const ServeSettings& settings) {
  std::set<std::string> names;
  const auto check = [&](const std::string& name) {
    if (names.insert(name).second) return;
    throw base::Error(base::kInvalidSpec, "the name " + name + " is given to two models or adapters",
                      "give each a name of its own: --model NAME=PATH, served_model_name");
  };
  for (const BaseModelSettings& model : settings.models) check(model.served_model_name);
  for (const AdapterSettings& adapter : settings.adapters) check(adapter.name);
}

}  // namespace

std::optional<nlohmann::json> spec_from_flags(int argc, char** argv, int& status) {
  status = spec::kExitWrongSpec;
  FlagReader reader;
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    if (name == "--help" || name == "-h" || name == "--version") {
      name == "--version" ? (void)std::printf("slipway-serve %s\n", spec::version().c_str())
                          : (void)std::fputs(kUsage, stdout);
      status = spec::kExitSucceeded;
      return std::nullopt;
    }
    if (reader.take_switch(name)) continue;
    std::optional<std::string> value;
    if (const size_t equals = name.find('='); equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    if (!reader.check_name(name)) return std::nullopt;
    if (!value && i + 1 < argc) value = argv[++i];
    if (!value) {
      say(name + " needs a value");
      return std::nullopt;
    }
    if (!reader.take(name, *value)) return std::nullopt;
  }
  json spec = reader.result();
  if (!spec.contains("model")) {
    std::fputs(kUsage, stderr);
    return std::nullopt;
  }
  status = spec::kExitSucceeded;
  return spec;
}

ServeSettings settings_from_spec(const nlohmann::json& spec, const std::filesystem::path& folder) {
  ServeSettings settings;
  const json& limits = spec["limits"];
  settings.base_folder = folder;
  settings.models = {base_model(spec["model"], folder)};
  for (const json& model : spec["models"]) settings.models.push_back(base_model(model, folder));
  for (const json& adapter : spec["adapters"]) {
    settings.adapters.push_back({adapter["name"].get<std::string>(),
                                 (folder / adapter["path"].get<std::string>()).lexically_normal(),
                                 model_of_adapter(settings.models, adapter), adapter["task_id"].get<int64_t>()});
  }
  check_names(settings);
  settings.memory_limit_bytes = limits["memory_limit_bytes"].get<int64_t>();
  settings.idle_unload_s = limits["idle_unload_s"].get<double>();
  if (const std::string file = spec["ssl_certfile"].get<std::string>(); !file.empty())
    settings.tls.certificate = folder / file;
  if (const std::string file = spec["ssl_keyfile"].get<std::string>(); !file.empty()) settings.tls.key = folder / file;
  settings.listen = spec["listen"].get<std::string>();
  settings.max_model_len = limits["max_model_len"].get<int64_t>();
  settings.max_num_seqs = limits["max_num_seqs"].get<int64_t>();
  settings.queue = limits["queue"].get<int64_t>();
  settings.kv_cache_tokens = limits["kv_cache_tokens"].get<int64_t>();
  settings.kv_cache_dtype = spec["kv_cache_dtype"].get<std::string>();
  settings.prefix_caching = spec["prefix_caching"].get<bool>();
  settings.prompt_tokens_beside = limits["prompt_tokens_beside"].get<int64_t>();
  settings.speculative_tokens = spec["speculative_tokens"].get<int64_t>();
  settings.adapters_in_memory = limits["adapters_in_memory"].get<int64_t>();
  settings.threads = spec["threads"].get<int>();
  settings.http.max_connections = limits["max_connections"].get<int64_t>();
  settings.http.max_body_bytes = limits["max_body_bytes"].get<int64_t>();
  settings.http.max_header_bytes = limits["max_header_bytes"].get<int64_t>();
  settings.http.read_timeout = milliseconds(limits["read_timeout_s"]);
  settings.http.write_timeout = milliseconds(limits["write_timeout_s"]);
  settings.http.idle_timeout = milliseconds(limits["idle_timeout_s"]);
  settings.http.request_timeout = milliseconds(limits["request_timeout_s"]);
  settings.drain_timeout_s = limits["drain_timeout_s"].get<double>();
  settings.runtime_adapters = spec["runtime_adapters"].get<bool>();
  const std::string key_file = spec["api_key_file"].get<std::string>();
  if (!key_file.empty()) {
    settings.api_key = read_key(folder / key_file);
  } else if (const char* key = std::getenv("SLIPWAY_API_KEY"); key != nullptr) {
    settings.api_key = key;
  }
  return settings;
}

}  // namespace slipway::serve
