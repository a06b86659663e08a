// carrel diff: what changed between two analyses.
#include <fmt/format.h>

#include <memory>
#include <string>

#include "cli/command.h"
#include "diff/diff.h"
#include "export/measures.h"

namespace carrel::tools {

namespace {

struct Options {
  std::string before;
  std::string after;
  std::string measure = "peak_bytes";
  std::size_t most = 20;
  bool json = false;
};

int run(const Options& options) {
  const Json difference =
      diff_documents(read_document(options.before), read_document(options.after), options.measure);
  if (options.json) {
    fmt::print("{}\n", difference.dump(1, ' ', false, Json::error_handler_t::replace));
  } else {
    fmt::print("{}", diff_text(difference, options.most));
  }
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("BEFORE", options->before, "folder of carrel profile, or its document")
      ->required();
  command.add_option("AFTER", options->after, "the same, of a later run or another version")
      ->required();
  command.add_option("--by", options->measure, "what call sites are compared by")
      ->capture_default_str()
      ->check(CLI::IsMember(measure_keys()));
  command.add_option("--top", options->most, "how many call sites to show")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command.add_flag("--json", options->json, "all of it as JSON");
  return [options] { return run(*options); };
}

const Registration kRegistration{{85, "diff", "show what changed between two analyses",
                                  "carrel diff profile-of-last-week profile", setup}};

}  // namespace

}  // namespace carrel::tools
