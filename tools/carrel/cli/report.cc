// carrel report: the page of an analysis.
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>

#include "cli/command.h"
#include "report/report.h"

namespace carrel::tools {

namespace {

struct Options {
  std::string place;
  std::string output;
};

int run(const Options& options) {
  const Json document = read_document(options.place);
  const std::string page = report_page(document);
  write_file(page, options.output);
  fmt::print("{}: {} KiB, one file, opens in any browser\n", options.output, page.size() / 1024);
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("DIR", options->place, "folder of carrel profile, or an analysis document")
      ->required();
  command.add_option("-o,--output", options->output, "the HTML file to write")->required();
  return [options] { return run(*options); };
}

const Registration kRegistration{{80, "report",
                                  "draw an analysis as one HTML file that needs no network",
                                  "carrel report profile -o report.html", setup}};

}  // namespace

}  // namespace carrel::tools
