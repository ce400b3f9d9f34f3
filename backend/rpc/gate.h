// What every adapter of this folder is made with: the workers that run the bodies of calls, and who may make them.
#pragma once

#include "backend/rpc/authenticator.h"
#include "backend/rpc/worker_pool.h"

namespace slipway::rpc {

struct Gate {
  WorkerPool& workers;
  Authenticator& authenticator;
};

}  // namespace slipway::rpc
