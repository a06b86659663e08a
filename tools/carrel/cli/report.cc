// carrel report: the page of an analysis or of a snapshot.
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>

#include "cli/command.h"
#include "report/report.h"
#include "snapshot/document.h"

namespace carrel::tools {

namespace {

struct Options {
  std::string place;
  std::string output;
  bool json = false;
};

int run(const Options& options) {
  const Json document =
      is_snapshot(options.place) ? read_snapshot(options.place) : read_document(options.place);
  const std::string page = report_page(document);
  write_file(page, options.output);
  if (options.json) {
    const Json out = {{"input", options.place}, {"output", options.output}, {"bytes", page.size()}};
    fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    return kExitOk;
  }
  fmt::print("{}: {} KiB, one file, opens in any browser\n", options.output, page.size() / 1024);
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command
      .add_option("DIR", options->place,
                  "folder of carrel profile, an analysis document, or a snapshot")
      ->required();
  command.add_option("-o,--output", options->output, "the HTML file to write")->required();
  command.add_flag("--json", options->json, "print what was written as JSON");
  return [options] { return run(*options); };
}

const Registration kRegistration{{80, "report",
                                  "draw an analysis or a snapshot as one HTML file, no network",
                                  "carrel report profile -o report.html", setup}};

}  // namespace

}  // namespace carrel::tools
