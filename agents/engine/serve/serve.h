// The server as a whole: models, adapters, HTTP; from start to a drained end. Used by main.cpp.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "agents/engine/serve/settings.h"

namespace slipway::serve {

// Loads the model, when it is the only one, and serves until `stop`; then drains: no new connections, running answers
// go on for at most the drain time. `reload` is taken back when it is seen: certificate and key are read again.
// `on_ready` gets the address. `on_tick` is called about every 30 seconds with the tokens generated so far. Throws
// base::Error when something cannot be loaded.
void run_server(const ServeSettings& settings, const std::atomic<bool>& stop, std::atomic<bool>& reload,
                const std::function<void(const std::string& url)>& on_ready,
                const std::function<void(int64_t generated_tokens)>& on_tick);

}  // namespace slipway::serve
