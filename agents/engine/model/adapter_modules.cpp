#include "agents/engine/model/adapter_modules.h"

#include <algorithm>
#include <set>

#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/model/family.h"
#include "backend/base/error.h"

namespace slipway::model {
namespace {

constexpr std::string_view kWeight = ".weight";

std::string without_ending(std::string name) {
  if (name.ends_with(kWeight)) name.resize(name.size() - kWeight.size());
  return name;
}

std::string last_name(const std::string& module) { return module.substr(module.rfind('.') + 1); }

bool is_linear(Role role) {
  switch (role) {
    case Role::kQuery:
    case Role::kKey:
    case Role::kValue:
    case Role::kAttentionOutput:
    case Role::kGate:
    case Role::kUp:
    case Role::kDown:
      return true;
    default:
      return false;
  }
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// Those of the first layer: all layers are alike.
std::vector<AdapterModule> first_layer(const Architecture& architecture) {
  std::vector<AdapterModule> modules = adapter_modules(architecture);
  std::erase_if(modules, [](const AdapterModule& module) { return module.layer != 0; });
  return modules;
}

// The shortest name that no other layer has, or all that have it are chosen.
std::string target_of(const AdapterModule& module, const std::vector<AdapterModule>& modules,
                      const std::set<std::string>& chosen) {
  const std::string name = last_name(module.inner);
  const bool clear = std::all_of(modules.begin(), modules.end(), [&](const AdapterModule& other) {
    return last_name(other.inner) != name || chosen.contains(other.inner);
  });
  return clear ? name : module.inner;
}

[[noreturn]] void refuse(const Architecture& architecture, const std::vector<AdapterModule>& modules,
                         const std::string& what) {
  std::vector<std::string> known;
  for (const AdapterModule& module : modules) known.push_back(target_of(module, modules, {module.inner}));
  throw base::Error(base::kInvalidSpec, "method.target_modules: " + architecture.family + " models have " + what,
                    "use some of " + joined(known));
}

// The weights that `named` has of `module`; throws when they are only some of it.
bool holds_named(const Architecture& architecture, const std::vector<AdapterModule>& modules,
                 const AdapterModule& module, const std::set<std::string>& named) {
  std::vector<std::string> all, missing;
  for (const std::string& weight : module.weights) {
    all.push_back(last_name(weight));
    if (!named.contains(all.back())) missing.push_back(all.back());
  }
  if (missing.size() == all.size()) return false;
  if (missing.empty()) return true;
  refuse(architecture, modules,
         joined(all) + " as one layer, " + last_name(module.inner) + ", which an adapter changes as a whole");
}

}  // namespace

std::vector<AdapterModule> adapter_modules(const Architecture& architecture) {
  const Family* family = find_family(architecture.family);
  std::vector<AdapterModule> modules;
  for (const DecoderTensor& tensor : decoder_tensors(architecture)) {
    if (tensor.bias || !is_linear(tensor.role)) continue;
    const TensorPlace place = family->place(architecture, tensor);
    std::string name = without_ending(place.name);
    if (modules.empty() || modules.back().name != name) {
      const std::string number = "." + std::to_string(tensor.layer) + ".";
      std::string inner = name.substr(name.find(number) + number.size());
      modules.push_back({std::move(name), std::move(inner), tensor.layer, {}, tensor.shape[1], 0, place.transposed});
    }
    modules.back().weights.push_back(without_ending(tensor.name()));
    modules.back().out_features += tensor.shape[0];
  }
  return modules;
}

bool is_target(const std::string& target, const std::string& module) {
  return module == target || module.ends_with("." + target);
}

std::vector<std::string> adapter_targets(const Architecture& architecture, const std::vector<std::string>& names) {
  static const std::set<std::string> kDecoders = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                  "gate_proj", "up_proj", "down_proj"};
  const std::vector<AdapterModule> modules = first_layer(architecture);
  std::set<std::string> chosen, named;
  for (const std::string& name : names) {
    bool found = false;
    for (const AdapterModule& module : modules) {
      if (!is_target(name, module.name)) continue;
      chosen.insert(module.inner);
      found = true;
    }
    if (!found && !kDecoders.contains(name)) refuse(architecture, modules, "no layer " + name);
    if (!found) named.insert(name);
  }
  for (const AdapterModule& module : modules) {
    if (!chosen.contains(module.inner) && holds_named(architecture, modules, module, named))
      chosen.insert(module.inner);
  }
  std::vector<std::string> targets;
  for (const AdapterModule& module : modules) {
    if (!chosen.contains(module.inner)) continue;
    std::string target = target_of(module, modules, chosen);
    if (std::find(targets.begin(), targets.end(), target) == targets.end()) targets.push_back(std::move(target));
  }
  if (targets.empty()) refuse(architecture, modules, "none of " + joined(names));
  return targets;
}

}  // namespace slipway::model
