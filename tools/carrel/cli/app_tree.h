// The command line as data, read from CLI11's own tree: what completions and the manual are made
// from, so that neither can disagree with --help.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace carrel::tools {

struct OptionFacts {
  std::vector<std::string> names;   // "-o", "--output"; empty for a positional one
  std::string positional;           // "DIR"; empty for others
  std::string description;          // one line
  std::string value;                // what it takes, "TEXT"; empty for flags
  std::string default_value;        // empty: none worth naming
  std::vector<std::string> values;  // one of these, or something else too:
  bool only_these = false;
};

struct CommandFacts {
  std::vector<std::string> path;  // {"trace", "info"}; empty: the program itself
  std::string summary;
  std::string footer;
  std::vector<OptionFacts> options;   // in the order of the help
  std::vector<std::string> commands;  // names of those below
  bool takes_program = false;         // "-- CMD..."
};

// The program first, then its commands, each before those below it.
std::vector<CommandFacts> read_tree(const CLI::App& root);

}  // namespace carrel::tools
