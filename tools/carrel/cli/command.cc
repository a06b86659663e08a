// The list that Registrations fill before main, and the option that most commands share.
#include "cli/command.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace carrel::tools {

namespace {

std::vector<CommandEntry>& registered() {
  static std::vector<CommandEntry> entries;
  return entries;
}

}  // namespace

std::vector<CommandEntry> commands() {
  std::vector<CommandEntry> entries = registered();
  std::sort(entries.begin(), entries.end(), [](const CommandEntry& a, const CommandEntry& b) {
    return a.order != b.order ? a.order < b.order : a.name < b.name;
  });
  return entries;
}

Registration::Registration(CommandEntry entry) { registered().push_back(std::move(entry)); }

std::vector<std::string>& program_argument(CLI::App& command, bool required) {
  static std::vector<std::unique_ptr<std::vector<std::string>>> kept;
  kept.push_back(std::make_unique<std::vector<std::string>>());
  std::vector<std::string>& words = *kept.back();
  CLI::Option* option = command.add_option("CMD", words, "the program and its arguments, after --");
  if (required) option->required();
  return words;
}

}  // namespace carrel::tools
