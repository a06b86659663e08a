// carrel doctor: says which allocator serves a program, and why not the one that was wanted.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "base/error.h"
#include "cli/command.h"
#include "launch/allocators.h"
#include "launch/preflight.h"
#include "launch/proof.h"

namespace carrel::tools {
namespace {

struct Options {
  std::string allocator;
  bool json = false;
  std::vector<std::string>* command = nullptr;
};

struct Finding {
  std::string program;
  Bindings bindings;
  std::string wanted;  // name, empty when none was
  bool served = true;  // by the wanted one
  std::string why;
  std::string advice;
  bool carries_hook = false;  // carrel's recording hook is linked in
};

// Why `allocator` doesn't serve a program that loads libraries like any other.
void explain(Finding& finding, const Allocator& allocator) {
  finding.served = is_of(allocator, finding.bindings.malloc());
  if (finding.served) return;
  if (finding.bindings.loader_messages.find("cannot be preloaded") != std::string::npos) {
    finding.why = "the dynamic linker could not load it: " + finding.bindings.loader_messages;
    finding.advice = "check with ldd that all it needs is there";
    return;
  }
  if (allocator.is_system()) {
    finding.why = "another allocator is preloaded or linked";
    finding.advice = "see LD_PRELOAD, and ldd of the program";
    return;
  }
  if (!read_elf(allocator.library).exports("malloc")) {
    finding.why = allocator.library.string() +
                  " is an inert preload: it exports no malloc, so that nothing calls it";
    finding.advice = "use a build of it that overrides malloc";
    return;
  }
  finding.why =
      "malloc is found in " + finding.bindings.malloc() + " before " + allocator.library.string();
  finding.advice = "take the other one out of LD_PRELOAD or of the program's link";
}

Finding look_at_program(const std::vector<std::string>& command, const Options& options) {
  Finding finding;
  const Preflight check = preflight(command);
  finding.program = check.loaded.string();
  finding.carries_hook = check.carries_hook;
  Allocator wanted{"glibc", {}};
  if (!options.allocator.empty()) {
    wanted = parse_allocator(options.allocator);
    finding.wanted = wanted.name;
  }
  if (check.obstacle != Obstacle::kNone) {
    finding.served = false;
    finding.why = check.why;
    finding.advice = check.advice;
    if (hook_helps(check) && !check.carries_hook) {
      finding.advice += fmt::format("; to record it as it is, {}", kHookAdvice);
    }
    if (check.obstacle == Obstacle::kOwnMalloc) {
      finding.bindings.files["malloc"] = check.loaded.string();
    }
    return finding;
  }
  finding.bindings = ask_program(command, wanted);
  if (!finding.wanted.empty()) explain(finding, wanted);
  return finding;
}

Finding look_at_process(pid_t pid, const Options& options) {
  Finding finding;
  finding.program = fmt::format("process {}", pid);
  finding.bindings = ask_process(pid);
  if (!options.allocator.empty()) {
    const Allocator wanted = parse_allocator(options.allocator);
    finding.wanted = wanted.name;
    explain(finding, wanted);
    if (!finding.served) finding.advice += "; a process that runs keeps its allocator";
  }
  return finding;
}

void print(const Finding& finding, bool json) {
  const std::string file = finding.bindings.malloc();
  LibraryInfo library;
  if (!file.empty()) library = describe_library(file);
  if (json) {
    const nlohmann::json out = {{"program", finding.program},
                                {"allocator", library.name},
                                {"malloc", file},
                                {"version", library.version},
                                {"build_id", library.build_id},
                                {"bindings", finding.bindings.files},
                                {"wanted", finding.wanted},
                                {"served", finding.served},
                                {"why", finding.why},
                                {"advice", finding.advice},
                                {"carries_hook", finding.carries_hook}};
    fmt::print("{}\n", out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    return;
  }
  fmt::print("program    {}\n", finding.program);
  if (!file.empty()) {
    fmt::print("allocator  {} {}\n", library.name, library.version);
    fmt::print("malloc     {}\n", file);
    if (!library.build_id.empty()) fmt::print("build id   {}\n", library.build_id);
    // Functions of one family that come from different files end in corruption sooner or later.
    for (const auto& [symbol, where] : finding.bindings.files) {
      if (where == file || symbol == "reallocarray" || symbol == "carrel_version") continue;
      const bool operators = symbol.starts_with("_Z");
      if (operators && where.find("libstdc++") != std::string::npos) continue;
      fmt::print("but        {} comes from {}\n", operators ? "operator new or delete" : symbol,
                 where);
    }
  }
  if (finding.carries_hook) {
    fmt::print("hook       linked in: carrel record, profile and advise see what it allocates\n");
  }
  if (!finding.why.empty()) {
    fmt::print("{}  {}\n", finding.wanted.empty() ? "obstacle " : "not " + finding.wanted,
               finding.why);
    fmt::print("do         {}\n", finding.advice);
  } else if (!finding.wanted.empty()) {
    fmt::print("verdict    {} serves it\n", finding.wanted);
  }
}

int run(const Options& options) {
  const std::vector<std::string>& command = *options.command;
  const auto pid = command.size() == 1 ? process_id(command[0]) : std::nullopt;
  const Finding finding = pid ? look_at_process(*pid, options) : look_at_program(command, options);
  print(finding, options.json);
  return finding.served ? kExitOk : kExitFailure;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("--alloc", options->allocator, "the allocator that ought to serve it");
  command.add_flag("--json", options->json, "as JSON");
  options->command = &program_argument(command);
  return [options] { return run(*options); };
}

const Registration kRegistration{
    {20, "doctor", "which allocator serves a program or process, and why not another",
     "carrel doctor --alloc mimalloc -- rustc --version", setup}};

}  // namespace
}  // namespace carrel::tools
