// carrel export: an analysis in the formats of other tools.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>

#include "base/error.h"
#include "cli/command.h"
#include "export/export.h"
#include "export/measures.h"

namespace carrel::tools {

namespace {

struct Options {
  std::string place;
  std::string output;
  std::string measure = "bytes";
  bool pprof = false;
  bool speedscope = false;
  bool folded = false;
  bool massif = false;
  bool json = false;
};

int run(const Options& options) {
  const Json document = read_document(options.place);
  std::string text;
  if (options.pprof) {
    text = export_pprof(document);
  } else if (options.speedscope) {
    text = export_speedscope(document);
  } else if (options.folded) {
    text = export_folded(document, options.measure);
  } else if (options.massif) {
    text = export_massif(document);
  } else {
    text = document.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  write_output(text, options.output);
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("DIR", options->place, "folder of carrel profile, or an analysis document")
      ->required();
  auto* formats = command.add_option_group("format");
  formats->add_flag("--pprof", options->pprof, "google/pprof's protocol buffers, not compressed");
  formats->add_flag("--speedscope", options->speedscope, "JSON for speedscope");
  CLI::Option* folded =
      formats->add_flag("--folded", options->folded, "one line a stack: a;b;c NUMBER");
  formats->add_flag("--massif", options->massif, "massif's format: ms_print shows the peak's tree");
  formats->add_flag("--json", options->json, "the analysis document as it is");
  formats->require_option(1);
  command
      .add_option("--measure", options->measure,
                  fmt::format("for --folded: {}", fmt::join(measure_keys(), ", ")))
      ->capture_default_str()
      ->needs(folded);
  command.add_option("-o,--output", options->output,
                     "the file to write; standard output if absent");
  return [options] { return run(*options); };
}

const Registration kRegistration{
    {90, "export", "write call sites for pprof, speedscope, massif or flame graph scripts",
     "carrel export profile --speedscope -o profile.speedscope.json", setup}};

}  // namespace

}  // namespace carrel::tools
