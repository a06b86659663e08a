// The list that Registrations fill before main, and the option that most commands share.
#include "cli/command.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <system_error>
#include <utility>

#include "base/error.h"

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

std::optional<pid_t> process_id(const std::string& word) {
  pid_t pid = 0;
  const char* const end = word.data() + word.size();
  const auto [rest, error] = std::from_chars(word.data(), end, pid);
  if (rest != end || word.empty() || word.starts_with('-')) return std::nullopt;
  if (error != std::errc{} || pid == 0) {
    throw UsageError("{} is no process's number; ps shows them", word);
  }
  return pid;
}

pid_t parse_process(const std::string& word) {
  const std::optional<pid_t> pid = process_id(word);
  if (!pid) throw UsageError("'{}' is no process's number; ps shows them, as does pidof", word);
  return *pid;
}

std::string not_empty(const std::string& word) {
  return word.empty() ? "is empty; name a file" : "";
}

std::uint64_t parse_bytes(const std::string& text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const std::string unit(rest, end);
  unsigned shift = 0;
  if (unit == "K" || unit == "k") shift = 10;
  if (unit == "M" || unit == "m") shift = 20;
  if (unit == "G" || unit == "g") shift = 30;
  if (error != std::errc{} || (shift == 0 && !unit.empty()) ||
      value > (~std::uint64_t{0} >> shift)) {
    throw UsageError("'{}' is no size; write a number of bytes, or 64K, 100M, 2G", text);
  }
  return value << shift;
}

}  // namespace carrel::tools
