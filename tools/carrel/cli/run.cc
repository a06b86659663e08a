// carrel run: starts a program on an allocator and has it prove that the allocator took.
#include <CLI/CLI.hpp>
#include <memory>

#include "cli/command.h"
#include "launch/allocators.h"
#include "launch/preflight.h"
#include "launch/proof.h"
#include "launch/spawn.h"

namespace carrel::tools {
namespace {

struct Options {
  std::string allocator = "carrel";
  std::vector<std::string>* command = nullptr;
};

int run(const Options& options) {
  const Allocator allocator = parse_allocator(options.allocator);
  if (!allocator.is_system()) require_preloadable(preflight(*options.command));
  // The program takes this process's place: its exit status, signals and terminal are its own.
  become(*options.command, proving_environment(allocator));
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("--alloc", options->allocator, "NAME, NAME=PATH or PATH")
      ->capture_default_str();
  options->command = &program_argument(command);
  return [options] { return run(*options); };
}

const Registration kRegistration{{10, "run", "run a program on an allocator, proving that it took",
                                  "carrel run --alloc jemalloc -- python3 -c 'print(1)'", setup}};

}  // namespace
}  // namespace carrel::tools
