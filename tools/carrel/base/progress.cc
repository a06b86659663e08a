// Drawing the progress line.
#include "base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace carrel::tools {

using Clock = std::chrono::steady_clock;

Progress::Progress(std::string what, double total)
    : what_(std::move(what)),
      total_(total),
      shown_(isatty(STDERR_FILENO) == 1),
      started_(Clock::now()),
      drawn_(started_) {}

Progress::~Progress() {
  if (shown_) fmt::print(stderr, "\r\033[K");
}

void Progress::at(double done, const std::string& detail) {
  if (!shown_) return;
  const auto now = Clock::now();
  if (now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  const double spent = std::chrono::duration<double>(now - started_).count();
  std::string line = fmt::format("{}: {:.0f} s", what_, spent);
  if (total_ > 0) {
    const double share = std::clamp(done / total_, 0.0, 1.0);
    line = fmt::format("{}: {:3.0f}%, {:.0f} s", what_, share * 100, spent);
    if (share > 0.02) line += fmt::format(", about {:.0f} s left", spent / share - spent);
  }
  if (!detail.empty()) line += ", " + detail;
  fmt::print(stderr, "\r\033[K{}", line.substr(0, 99));
  std::fflush(stderr);
}

}  // namespace carrel::tools
