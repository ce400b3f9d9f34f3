// slipway completion bash|zsh: a script made from the command line itself, so that it never lags behind.
#include <CLI/CLI.hpp>
#include <iostream>
#include <sstream>

#include "app/cli/commands.h"

namespace slipway::cli {
namespace {

// One case per command path: the words that may follow it.
void add_cases(const CLI::App& app, const std::string& path, std::ostringstream& cases) {
  std::string words;
  for (const auto* subcommand : app.get_subcommands(nullptr)) words += subcommand->get_name() + " ";
  for (const auto* option : app.get_options()) {
    for (const auto& name : option->get_lnames()) words += "--" + name + " ";
  }
  if (!words.empty()) words.pop_back();
  cases << "    '" << path << "') words='" << words << "' ;;\n";
  for (const auto* subcommand : app.get_subcommands(nullptr)) {
    add_cases(*subcommand, path + (path.empty() ? "" : " ") + subcommand->get_name(), cases);
  }
}

std::string script(const CLI::App& app, const std::string& shell) {
  std::ostringstream cases;
  add_cases(app, "", cases);
  // Both shells walk the same table: the command path is every word so far that is no flag and extends a known path.
  const std::string table = "_slipway_words() {\n  local words=''\n  case \"$1\" in\n" + cases.str() +
                            "    *) return 1 ;;\n  esac\n  printf '%s' \"$words\"\n}\n";
  if (shell == "bash") {
    return "# bash completion for slipway: source <(slipway completion bash)\n" + table +
           R"script(_slipway() {
  local current="${COMP_WORDS[COMP_CWORD]}" path='' word index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="${COMP_WORDS[index]}"
    if [[ "$word" != -* ]] && _slipway_words "${path:+$path }$word" >/dev/null; then path="${path:+$path }$word"; fi
  done
  COMPREPLY=($(compgen -W "$(_slipway_words "$path")" -- "$current"))
  if [[ ${#COMPREPLY[@]} -eq 0 ]]; then COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -o filenames -F _slipway slipway
)script";
  }
  return "#compdef slipway\n# zsh completion for slipway: source <(slipway completion zsh)\n" + table +
         R"script(_slipway() {
  local path_so_far='' word index
  for ((index = 2; index < CURRENT; index++)); do
    word="${words[index]}"
    if [[ "$word" != -* ]] && _slipway_words "${path_so_far:+$path_so_far }$word" >/dev/null; then
      path_so_far="${path_so_far:+$path_so_far }$word"
    fi
  done
  compadd -- ${=$(_slipway_words "$path_so_far")} || _files
}
compdef _slipway slipway
)script";
}

}  // namespace

void add_completion(CLI::App& app, Context& context) {
  const auto shell = std::make_shared<std::string>();
  auto* command = app.add_subcommand("completion", "Print a completion script: source <(slipway completion bash)");
  command->add_option("SHELL", *shell, "bash or zsh")->required()->check(CLI::IsMember({"bash", "zsh"}));
  command->callback([&app, &context, shell] {
    context.action = [&app, shell] {
      std::cout << script(app, *shell);
      return Exit::kOk;
    };
  });
}

}  // namespace slipway::cli
