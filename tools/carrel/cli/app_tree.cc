// Walking CLI11's apps and options.
#include "cli/app_tree.h"

#include <algorithm>

#include "launch/allocators.h"

namespace carrel::tools {

namespace {

// "TEXT:{cpu,rss,tail}" and "ENUM:value in {none->0,page->1}" name the values in braces.
std::vector<std::string> values_in(const std::string& type) {
  std::vector<std::string> values;
  const std::size_t open = type.find('{');
  const std::size_t close = type.find('}', open);
  if (open == std::string::npos || close == std::string::npos) return values;
  for (std::size_t at = open + 1; at < close;) {
    const std::size_t end = std::min(type.find(',', at), close);
    const std::string value = type.substr(at, end - at);
    values.push_back(value.substr(0, value.find("->")));
    at = end + 1;
  }
  return values;
}

OptionFacts facts_of(const CLI::Option& option) {
  OptionFacts facts;
  for (const std::string& name : option.get_snames()) facts.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) facts.names.push_back("--" + name);
  if (facts.names.empty()) facts.positional = option.get_name(true);
  facts.description = option.get_description();
  if (option.get_items_expected_max() > 0) {
    facts.values = values_in(option.get_type_name());
    facts.only_these = !facts.values.empty();
    const std::string type = option.get_type_name();
    facts.value = facts.values.empty() ? type.substr(0, type.find_first_of(":[ ")) : "WORD";
    if (facts.value.empty()) facts.value = "TEXT";
    facts.default_value = option.get_default_str();
  }
  if (std::find(facts.names.begin(), facts.names.end(), "--alloc") != facts.names.end()) {
    facts.values = known_allocator_names();
  }
  return facts;
}

void read(const CLI::App& app, const std::vector<std::string>& path,
          std::vector<CommandFacts>& out) {
  CommandFacts facts;
  facts.path = path;
  facts.summary = app.get_description();
  facts.footer = app.get_footer();
  const auto any_option = [](const CLI::Option*) { return true; };
  for (const CLI::Option* option : app.get_options(any_option)) {
    if (option->get_name(true) == "CMD") facts.takes_program = true;
    facts.options.push_back(facts_of(*option));
  }
  const auto named = [](const CLI::App* sub) { return !sub->get_name().empty(); };
  const std::vector<const CLI::App*> below = app.get_subcommands(named);
  for (const CLI::App* sub : below) facts.commands.push_back(sub->get_name());
  out.push_back(std::move(facts));
  for (const CLI::App* sub : below) {
    std::vector<std::string> further = path;
    further.push_back(sub->get_name());
    read(*sub, further, out);
  }
}

}  // namespace

std::vector<CommandFacts> read_tree(const CLI::App& root) {
  std::vector<CommandFacts> out;
  read(root, {}, out);
  return out;
}

}  // namespace carrel::tools
