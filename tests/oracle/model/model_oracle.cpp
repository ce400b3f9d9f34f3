// Shows what agents/engine/model reads, for the pytest files beside it to compare with the reference libraries.
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "agents/engine/model/adapter.h"
#include "agents/engine/model/architecture.h"
#include "agents/engine/model/weights.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace {

using namespace slipway;

int run(const std::string& command, const std::vector<std::string>& arguments) {
  if (command == "architecture") {  // PATH: config.json and the rotary frequencies
    const auto architecture = model::load_architecture(arguments.at(0));
    auto config = model::config_from_architecture(architecture, "float32");
    std::cout << nlohmann::ordered_json{{"config", config},
                                        {"inverse_frequencies", model::rope_inverse_frequencies(architecture)},
                                        {"parameters", architecture.parameter_count()}};
  } else if (command == "names") {  // PATH
    std::cout << nlohmann::json(model::open_weights(arguments.at(0))->names());
  } else if (command == "dump") {  // PATH OUT: all tensors as f32, one after the other in the order of the names
    const auto weights = model::open_weights(arguments.at(0));
    std::ofstream out(arguments.at(1), std::ios::binary);
    for (const auto& name : weights->names()) {
      std::vector<float> values(static_cast<size_t>(weights->get(name).elements()));
      weights->read_f32(name, values);
      out.write(reinterpret_cast<const char*>(values.data()),
                static_cast<std::streamsize>(values.size() * sizeof(float)));
    }
  } else if (command == "export") {  // PATH FOLDER: a Hugging Face folder with f32 weights
    const auto weights = model::open_weights(arguments.at(0));
    std::vector<std::vector<float>> values;
    std::vector<model::TensorView> views;
    for (const auto& name : weights->names()) {
      auto view = weights->get(name);
      values.emplace_back(static_cast<size_t>(view.elements()));
      weights->read_f32(name, values.back());
      view.dtype = model::DType::kF32;
      view.data = std::as_bytes(std::span(values.back()));
      views.push_back(view);
    }
    const std::filesystem::path folder = arguments.at(1);
    model::write_safetensors(folder / "model.safetensors", views);
    base::write_file_atomically(
        folder / "config.json",
        model::config_from_architecture(model::load_architecture(arguments.at(0)), "float32").dump(2));
  } else if (command == "adapter") {  // FOLDER OUT: loads and saves it again
    model::save_adapter(arguments.at(1), model::load_adapter(arguments.at(0)));
  } else {
    std::cerr << "unknown command " << command << "\n";
    return 2;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return argc < 2 ? 2 : run(argv[1], std::vector<std::string>(argv + 2, argv + argc));
  } catch (const slipway::base::Error& error) {
    std::cerr << error.code() << ": " << error.what() << " (" << error.advice() << ")\n";
    return 1;
  }
}
