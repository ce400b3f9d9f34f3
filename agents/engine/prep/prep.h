// The data preparation engine: inputs -> rows -> operators -> split -> out/train.jsonl and out/validation.jsonl.
#pragma once

#include "agents/engine/spec/engine_main.h"

namespace slipway::prep {

// Does the job of a prep spec. Memory grows by some 100 bytes a row (hashes), not with the text. Started again on a
// workdir that did not finish, it begins anew and replaces what lies there. Returns kExitSucceeded or kExitStopped;
// throws base::Error (INVALID_SPEC, INVALID_DATA naming file and line, NOT_FOUND, DISK_FULL).
int run_prep(spec::EngineContext& context);

}  // namespace slipway::prep
