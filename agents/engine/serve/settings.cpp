#include "agents/engine/serve/settings.h"

#include <cstdio>
#include <cstdlib>

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
    "Serves a language model and its adapters over the OpenAI API.\n\n"
    "  --model PATH              a Hugging Face folder or a .gguf file\n"
    "  --listen ADDRESS:PORT     default 127.0.0.1:8080; port 0 takes a free one\n"
    "  --served-model-name NAME  default: the name of the folder or file\n"
    "  --adapter NAME=DIR        a PEFT folder served under NAME; may be given several times\n"
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
    {"--model", "/model/path", Kind::kText},
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
  return clean.extension() == ".gguf" ? clean.stem().string() : clean.filename().string();
}

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

}  // namespace

std::optional<nlohmann::json> spec_from_flags(int argc, char** argv, int& status) {
  json spec = {{"version", 1}, {"kind", "serve"}};
  std::vector<std::string> names = {
      "--adapter", "--api-key", "--no-runtime-adapters", "--no-prefix-caching", "--spec", "--workdir",
      "--help",    "--version"};
  for (const Flag& flag : kFlags) names.emplace_back(flag.name);
  status = spec::kExitWrongSpec;
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    if (name == "--help" || name == "-h") {
      std::fputs(kUsage, stdout);
      status = spec::kExitSucceeded;
      return std::nullopt;
    }
    if (name == "--version") {
      std::printf("slipway-serve %s\n", spec::version().c_str());
      status = spec::kExitSucceeded;
      return std::nullopt;
    }
    if (name == "--no-runtime-adapters") {
      spec["runtime_adapters"] = false;
      continue;
    }
    if (name == "--no-prefix-caching") {
      spec["prefix_caching"] = false;
      continue;
    }
    std::optional<std::string> value;
    if (const size_t equals = name.find('='); equals != std::string::npos) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    const Flag* known = nullptr;
    for (const Flag& flag : kFlags) {
      if (name == flag.name) known = &flag;
    }
    if (known == nullptr && name != "--adapter" && name != "--api-key") {
      const std::string nearest = spec::nearest_name(name, names);
      say("unknown flag " + name + (nearest.empty() ? "; see --help" : "; did you mean " + nearest + "?"));
      return std::nullopt;
    }
    if (!value && i + 1 < argc) value = argv[++i];
    if (!value) {
      say(name + " needs a value");
      return std::nullopt;
    }
    if (name == "--api-key") {
      setenv("SLIPWAY_API_KEY", value->c_str(), 1);
    } else if (name == "--adapter") {
      const size_t equals = value->find('=');
      if (equals == std::string::npos || equals == 0 || equals + 1 == value->size()) {
        say("--adapter is \"" + *value + "\"; expected NAME=DIR");
        return std::nullopt;
      }
      spec["adapters"].push_back({{"name", value->substr(0, equals)}, {"path", value->substr(equals + 1)}});
    } else {
      spec[json::json_pointer(known->pointer)] = flag_value(*value, known->kind);
    }
  }
  if (!spec.contains("model")) {
    std::fputs(kUsage, stderr);
    return std::nullopt;
  }
  status = spec::kExitSucceeded;
  return spec;
}

ServeSettings settings_from_spec(const nlohmann::json& spec, const std::filesystem::path& folder) {
  ServeSettings settings;
  const json& model = spec["model"];
  const json& limits = spec["limits"];
  settings.base_folder = folder;
  settings.model = (folder / model["path"].get<std::string>()).lexically_normal();
  settings.served_model_name = model["served_model_name"].get<std::string>();
  if (settings.served_model_name.empty()) settings.served_model_name = default_name(settings.model);
  settings.dtype = model["dtype"].get<std::string>();
  settings.fingerprint = model["fingerprint"].get<std::string>();
  for (const json& adapter : spec["adapters"]) {
    settings.adapters.emplace_back(adapter["name"].get<std::string>(),
                                   (folder / adapter["path"].get<std::string>()).lexically_normal());
  }
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
