#include "agents/engine/serve/settings.h"

#include <gtest/gtest.h>

#include <fstream>

#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::serve {
namespace {

std::optional<nlohmann::json> from_flags(std::vector<std::string> flags, int& status) {
  flags.insert(flags.begin(), "slipway-serve");
  std::vector<char*> argv;
  for (std::string& flag : flags) argv.push_back(flag.data());
  return spec_from_flags(static_cast<int>(argv.size()), argv.data(), status);
}

TEST(Settings, FlagsAndSpecMeanTheSame) {
  int status = -1;
  const auto spec =
      from_flags({"--model", "m.gguf", "--listen=127.0.0.1:0", "--adapter", "a=/x/a", "--adapter", "b=b", "--task-id",
                  "2", "--dtype", "f32", "--threads", "2", "--max-model-len", "512", "--served-model-name", "name"},
                 status);
  ASSERT_TRUE(spec);
  const ServeSettings settings = settings_from_spec(spec::parse_spec("serve", spec->dump()), "/work");
  EXPECT_EQ(settings.models[0].path, "/work/m.gguf");
  EXPECT_EQ(settings.models[0].served_model_name, "name");
  EXPECT_EQ(settings.adapters[0].path, "/x/a");
  EXPECT_EQ(settings.adapters[1].path, "/work/b");
  EXPECT_EQ(settings.adapters[0].task_id, 0);
  EXPECT_EQ(settings.adapters[1].task_id, 2);
  EXPECT_EQ(settings.threads, 2);
  EXPECT_EQ(settings.max_model_len, 512);
}

TEST(Settings, SeveralModelsEachWithItsAdapters) {
  int status = -1;
  const auto spec = from_flags({"--model", "small=/m/s", "--adapter", "a=/a", "--model=/m/name=big.gguf", "--adapter",
                                "b=/b", "--memory-limit", "1.5GiB", "--idle-unload-s", "60", "--dtype", "int8"},
                               status);
  ASSERT_TRUE(spec);
  const ServeSettings settings = settings_from_spec(spec::parse_spec("serve", spec->dump()), "/work");
  ASSERT_EQ(settings.models.size(), 2U);
  EXPECT_EQ(settings.models[0].served_model_name, "small");
  EXPECT_EQ(settings.models[1].path, "/m/name=big.gguf");
  EXPECT_EQ(settings.models[1].served_model_name, "name=big");
  EXPECT_EQ(settings.models[1].dtype, "int8");
  EXPECT_EQ(settings.adapters[0].model, 0U);
  EXPECT_EQ(settings.adapters[1].model, 1U);
  EXPECT_EQ(settings.memory_limit_bytes, int64_t{3} << 29U);
  EXPECT_EQ(settings.idle_unload_s, 60);
}

TEST(Settings, NamesAreGivenOnceAndAdaptersNeedAServedModel) {
  const auto refused = [](const nlohmann::json& more) {
    nlohmann::json spec = {{"version", 1}, {"kind", "serve"}, {"model", {{"path", "/m/a"}}}};
    spec.update(more);
    EXPECT_THROW(settings_from_spec(spec::parse_spec("serve", spec.dump()), "/"), base::Error) << more;
  };
  refused({{"models", {{{"path", "/other/a"}}}}});
  refused({{"adapters", {{{"name", "a"}, {"path", "/x"}}}}});
  refused({{"adapters", {{{"name", "x"}, {"path", "/x"}, {"model", "unknown"}}}}});
  int status = -1;
  const auto spec = from_flags({"--model", "m", "--memory-limit", "6 potatoes"}, status);
  EXPECT_THROW(spec::parse_spec("serve", spec->dump()), base::Error);
}

TEST(Settings, WrongFlagsAreNamed) {
  int status = -1;
  EXPECT_FALSE(from_flags({"--modle", "x"}, status));
  EXPECT_EQ(status, 2);
  EXPECT_FALSE(from_flags({"--model"}, status));
  EXPECT_FALSE(from_flags({"--model", "x", "--adapter", "no-path"}, status));
  EXPECT_FALSE(from_flags({"--model", "x", "--task-id", "1"}, status));
  EXPECT_FALSE(from_flags({}, status));
  EXPECT_EQ(status, 2);
  const auto spec = from_flags({"--model", "x", "--threads", "many"}, status);
  ASSERT_TRUE(spec);
  EXPECT_THROW(spec::parse_spec("serve", spec->dump()), base::Error);
}

TEST(Settings, TheModelIsNamedAfterItsFileUnlessToldOtherwise) {
  const auto name_of = [](const std::string& path) {
    const nlohmann::json spec = {{"version", 1}, {"kind", "serve"}, {"model", {{"path", path}}}};
    return settings_from_spec(spec::parse_spec("serve", spec.dump()), "/").models[0].served_model_name;
  };
  EXPECT_EQ(name_of("/models/smol.Q4_1.gguf"), "smol.Q4_1");
  EXPECT_EQ(name_of("/models/llama-3/"), "llama-3");
}

TEST(Settings, TheKeyComesFromItsFile) {
  const base::TemporaryFolder folder;
  std::ofstream(folder.path() / "key") << "secret\nmore\n";
  nlohmann::json spec = {{"version", 1}, {"kind", "serve"}, {"model", {{"path", "m"}}}, {"api_key_file", "key"}};
  EXPECT_EQ(settings_from_spec(spec::parse_spec("serve", spec.dump()), folder.path()).api_key, "secret");
  std::ofstream(folder.path() / "key") << "\n";
  EXPECT_THROW(settings_from_spec(spec::parse_spec("serve", spec.dump()), folder.path()), base::Error);
}

}  // namespace
}  // namespace slipway::serve
