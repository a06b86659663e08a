// carrel top: a live table of a process that runs on carrel.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/interrupt.h"
#include "cli/command.h"
#include "live/table.h"

namespace carrel::tools {

namespace {

struct Options {
  std::string process;
  double interval_s = 1;
  bool once = false;
  bool json = false;
  std::size_t most_classes = 10;
};

// Until the time has come, or Ctrl-C.
void wait_until(double at_s) {
  for (double left = at_s - seconds_now(); left > 0 && !interrupted();
       left = at_s - seconds_now()) {
    poll(nullptr, 0, std::max(1, static_cast<int>(std::min(left, 0.2) * 1000)));
  }
}

void show(const Options& options, const std::string& text) {
  const bool in_place = !options.once && !options.json && isatty(STDOUT_FILENO) != 0;
  // From the top left corner; what is left of longer lines and of more of them goes.
  if (in_place) {
    fmt::print("\x1b[H");
    for (const char c : text) {
      if (c == '\n') fmt::print("\x1b[K");
      std::putchar(c);
    }
    fmt::print("\x1b[J");
  } else {
    fmt::print("{}", text);
  }
  std::fflush(stdout);
}

int run(const Options& options) {
  const Target target(parse_process(options.process));
  const LiveHeap heap(target);
  catch_interrupts();
  std::optional<Look> before;
  if (!options.once && !options.json && isatty(STDOUT_FILENO) != 0) fmt::print("\x1b[2J");
  while (!interrupted()) {
    Look now;
    try {
      now = {.counters = read_counters(heap, true), .at_s = seconds_now()};
    } catch (const TargetEnded& ended) {
      fmt::print(stderr, "carrel: {}\n", ended.what());
      return kExitOk;
    }
    std::string text;
    if (options.json) {
      text = live_json(heap, now, before).dump(-1, ' ', false, Json::error_handler_t::replace);
      text += '\n';
    } else {
      text = live_table(heap, now, before, options.most_classes);
      if (!options.once && isatty(STDOUT_FILENO) == 0) text += '\n';
    }
    show(options, text);
    if (options.once) break;
    wait_until(now.at_s + options.interval_s);
    before = std::move(now);
  }
  return kExitOk;
}

RunFunction setup(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("PID", options->process, "number of a process that runs on carrel")
      ->required();
  command.add_option("--interval", options->interval_s, "seconds between two looks")
      ->capture_default_str()
      ->check(CLI::Range(0.05, 86400.0));
  command.add_flag("--once", options->once, "one look, without rates");
  command.add_option("--top", options->most_classes, "how many size classes to show")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command.add_flag("--json", options->json, "each look as JSON, on a line of its own");
  return [options] { return run(*options); };
}

const Registration kRegistration{{86, "top", "watch the heap of a process that runs on carrel",
                                  "carrel top $(pidof redis-server)", setup}};

}  // namespace

}  // namespace carrel::tools
