#include "agents/engine/train/training.h"

#include <c10/util/Exception.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "agents/engine/train/parallel/rank_environment.h"
#include "agents/engine/train/trainer.h"
#include "backend/base/error.h"

namespace slipway::train {

int run_training(spec::EngineContext& context) {
  // libtorch's exceptions end here.
  try {
    Trainer trainer(context);
    try {
      return trainer.run();
    } catch (const base::Error& error) {
      trainer.fail(error);
      throw;
    }
  } catch (const base::Error& error) {
    if (error.code() != kRankLost || std::getenv(kLaunchedVariable) == nullptr) throw;
    // The launcher goes on without the lost one; this rank's part in it ends here.
    std::fprintf(stderr, "slipway-train: %s\n", error.what());
    std::_Exit(kExitRankLost);
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
        text.find("allocate memory") != std::string::npos) {
      throw base::Error(
          base::kOutOfMemory, text,
          "halve per_device_train_batch_size and double gradient_accumulation_steps, lower max_length, or set "
          "gradient_checkpointing to true");
    }
    throw;
  }
}

}  // namespace slipway::train
