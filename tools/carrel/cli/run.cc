// carrel run: starts a program on an allocator and has it prove that the allocator took.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>

#include "analysis/document.h"
#include "cli/command.h"
#include "launch/allocators.h"
#include "launch/paths.h"
#include "launch/preflight.h"
#include "launch/proof.h"
#include "launch/spawn.h"
#include "trace/trace_writer.h"

namespace carrel::tools {
namespace {

struct Options {
  std::string allocator = "carrel";
  std::string json;  // a file: standard output is the program's
  std::vector<std::string>* command = nullptr;
};

// What serves the program as it is started. It proves again, from the inside, that it is so.
void write_proof(const Options& options, const Allocator& allocator) {
  const Bindings bindings = ask_program(*options.command, allocator);
  std::error_code error;
  const std::filesystem::path file = std::filesystem::canonical(bindings.malloc(), error);
  const nlohmann::json out = {{"command", *options.command},
                              {"program", find_program(options.command->front()).string()},
                              {"allocator", to_json(describe(allocator))},
                              {"malloc", error ? bindings.malloc() : file.string()},
                              {"served", is_of(allocator, bindings.malloc())}};
  write_file(out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n",
             options.json);
}

int run(const Options& options) {
  const Allocator allocator = parse_allocator(options.allocator);
  // The proof is asked of a library that is preloaded, also where the allocator is the system's.
  if (!allocator.is_system() || !options.json.empty()) {
    require_preloadable(preflight(*options.command));
  }
  if (!options.json.empty()) write_proof(options, allocator);
  // The program takes this process's place: its exit status, signals and terminal are its own.
  become(*options.command, proving_environment(allocator));
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("--alloc", options->allocator, "NAME, NAME=PATH or PATH")
      ->capture_default_str();
  command.add_option("--json", options->json,
                     "write what serves the program to this file, before it starts");
  options->command = &program_argument(command);
  return [options] { return run(*options); };
}

const Registration kRegistration{{10, "run", "run a program on an allocator, proving that it took",
                                  "carrel run --alloc jemalloc -- python3 -c 'print(1)'", setup}};

}  // namespace
}  // namespace carrel::tools
