// The command line of slipway-train where its main has to look before the engine does. Used by plan.cpp and
// launcher.cpp.
#pragma once

#include <string>
#include <string_view>

namespace slipway::train {

// The value of --name VALUE or --name=VALUE; empty when it is not there.
inline std::string argument(int argc, char** argv, const std::string& name) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view text = argv[i];
    if (text == name && i + 1 < argc) return argv[i + 1];
    if (text.starts_with(name + "=")) return std::string(text.substr(name.size() + 1));
  }
  return {};
}

}  // namespace slipway::train
