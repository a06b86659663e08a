// carrel completions: the script that lets a shell complete carrel's command lines. Each is one
// function over the same table: which words follow which command, and which values which option.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "analysis/document.h"
#include "cli/app_tree.h"
#include "cli/command.h"

namespace carrel::tools {

namespace {

struct Options {
  std::string shell;
  std::string output;
};

// " trace info": the path of a command as the scripts keep it.
std::string key_of(const CommandFacts& command) {
  std::string key;
  for (const std::string& name : command.path) key += " " + name;
  return key;
}

std::vector<std::string> words_of(const CommandFacts& command) {
  std::vector<std::string> words = command.commands;
  for (const OptionFacts& option : command.options) {
    words.insert(words.end(), option.names.begin(), option.names.end());
  }
  if (command.takes_program) words.emplace_back("--");
  return words;
}

// The value of a positional argument that is one of a few words.
std::vector<std::string> positional_values(const CommandFacts& command) {
  std::vector<std::string> values;
  for (const OptionFacts& option : command.options) {
    if (option.names.empty())
      values.insert(values.end(), option.values.begin(), option.values.end());
  }
  return values;
}

// Lines of the shells' case statements that bash and zsh share; `emit(words)` is a shell's way to
// offer words, `files` its way to offer files.
struct Cases {
  std::string commands;  // patterns of the steps from command to command
  std::string values;    // "path option" to the option's values
  std::string words;     // path to words
};

template <typename Emit>
Cases cases_of(const std::vector<CommandFacts>& tree, const Emit& emit, const std::string& files) {
  Cases cases;
  std::vector<std::string> steps;
  for (const CommandFacts& command : tree) {
    const std::string key = key_of(command);
    for (const std::string& name : command.commands) {
      steps.push_back(fmt::format("\"{} {}\"", key, name));
    }
    for (const OptionFacts& option : command.options) {
      if (option.value.empty() || option.names.empty()) continue;
      std::vector<std::string> patterns;
      for (const std::string& name : option.names) {
        patterns.push_back(fmt::format("\"{} {}\"", key, name));
      }
      cases.values +=
          fmt::format("    {})\n      {}\n      return ;;\n", fmt::join(patterns, " | "),
                      option.values.empty() ? files : emit(option.values));
    }
    std::vector<std::string> words = words_of(command);
    const std::vector<std::string> fixed = positional_values(command);
    words.insert(words.end(), fixed.begin(), fixed.end());
    cases.words += fmt::format("    \"{}\")\n      {} ;;\n", key, emit(words));
  }
  cases.commands = fmt::format("{}", fmt::join(steps, " | "));
  return cases;
}

std::string bash_script(const std::vector<CommandFacts>& tree) {
  const Cases cases = cases_of(
      tree,
      [](const std::vector<std::string>& words) {
        return fmt::format("_carrel_words '{}'", fmt::join(words, " "));
      },
      "compopt -o default");
  return fmt::format(
      R"(# Completion of carrel's command lines for bash; made by carrel completions bash.
_carrel_words() {{
  local word
  for word in $1; do
    [[ $word != "$current"* ]] || COMPREPLY+=("$word")
  done
}}

_carrel() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} path='' word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${{COMP_WORDS[i]}}
    if [[ $word == -- ]]; then
      if declare -F _command_offset >/dev/null; then
        _command_offset $((i + 1))
      else
        compopt -o default
        ((COMP_CWORD > i + 1)) || mapfile -t COMPREPLY < <(compgen -c -- "$current")
      fi
      return
    fi
    case "$path $word" in
    {}) path="$path $word" ;;
    esac
  done
  case "$path ${{COMP_WORDS[COMP_CWORD - 1]}}" in
{}  esac
  case $path in
{}  esac
  [[ $current == -* ]] || compopt -o default
}}

complete -F _carrel carrel
)",
      cases.commands, cases.values, cases.words);
}

std::string zsh_script(const std::vector<CommandFacts>& tree) {
  const Cases cases = cases_of(
      tree,
      [](const std::vector<std::string>& words) {
        return fmt::format("compadd -- '{}'", fmt::join(words, "' '"));
      },
      "_files");
  return fmt::format(R"(#compdef carrel
# Completion of carrel's command lines for zsh; made by carrel completions zsh.
_carrel() {{
  local line='' word i
  for ((i = 2; i < CURRENT; ++i)); do
    word=${{words[i]}}
    if [[ $word == -- ]]; then
      shift $i words
      ((CURRENT -= i))
      _normal
      return
    fi
    case "$line $word" in
    {}) line="$line $word" ;;
    esac
  done
  case "$line ${{words[CURRENT - 1]}}" in
{}  esac
  case $line in
{}  esac
  [[ ${{words[CURRENT]}} == -* ]] || _files
}}

if [[ $funcstack[1] == _carrel ]]; then
  _carrel "$@"
else
  compdef _carrel carrel
fi
)",
                     cases.commands, cases.values, cases.words);
}

std::string in_quotes(const std::string& text) {
  std::string out = "'";
  for (const char c : text)
    out += c == '\'' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return out + "'";
}

// fish asks a condition for each line; `__carrel_at` compares the commands that were given so far.
std::string fish_script(const std::vector<CommandFacts>& tree) {
  std::vector<std::string> steps;
  std::string lines;
  for (const CommandFacts& command : tree) {
    const std::string key = key_of(command);
    const std::string head = fmt::format("complete -c carrel -n \"__carrel_at '{}'\"", key);
    for (const std::string& name : command.commands) {
      steps.push_back(in_quotes(key + " " + name));
      std::string summary;
      for (const CommandFacts& other : tree) {
        if (key_of(other) == key + " " + name) summary = other.summary;
      }
      lines += fmt::format("{} -f -a {} -d {}\n", head, name, in_quotes(summary));
    }
    for (const std::string& value : positional_values(command)) {
      lines += fmt::format("{} -f -a {}\n", head, value);
    }
    for (const OptionFacts& option : command.options) {
      if (option.names.empty()) continue;
      std::string line = head;
      for (const std::string& name : option.names) {
        line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      }
      if (!option.value.empty()) {
        line += option.values.empty() ? " -r -F"
                                      : fmt::format(" -x -a '{}'", fmt::join(option.values, " "));
      }
      lines += fmt::format("{} -d {}\n", line, in_quotes(option.description));
    }
  }
  return fmt::format(
      R"(# Completion of carrel's command lines for fish; made by carrel completions fish.
function __carrel_at
    set -l line ''
    for word in (commandline -opc)[2..-1]
        if test "$word" = --
            return 1
        end
        if contains -- "$line $word" {}
            set line "$line $word"
        end
    end
    test "$line" = "$argv[1]"
end

function __carrel_program
    contains -- -- (commandline -opc)
end

function __carrel_complete_program
    __fish_complete_subcommand --fcs-skip=(contains -i -- -- (commandline -opc))
end

complete -c carrel -n __carrel_program -a '(__carrel_complete_program)'
{})",
      fmt::join(steps, " "), lines);
}

int run(const CLI::App& command, const Options& options) {
  const std::vector<CommandFacts> tree = read_tree(*command.get_parent());
  const std::string text = options.shell == "bash"  ? bash_script(tree)
                           : options.shell == "zsh" ? zsh_script(tree)
                                                    : fish_script(tree);
  write_output(text, options.output);
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("SHELL", options->shell, "the shell that asks")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command.add_option("-o,--output", options->output,
                     "the file to write; standard output if absent");
  return [options, &command] { return run(command, *options); };
}

const Registration kRegistration{{200, "completions", "print what lets a shell complete carrel",
                                  "carrel completions bash > carrel.bash", setup}};

}  // namespace

}  // namespace carrel::tools
