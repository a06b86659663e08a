// The signal handlers behind interrupted().
#include "base/interrupt.h"

#include <csignal>
#include <cstdint>
#include <ctime>
#include <initializer_list>

namespace carrel::tools {

namespace {

volatile std::sig_atomic_t caught = 0;
volatile std::sig_atomic_t wishes = 0;
volatile std::sig_atomic_t borne = 1;  // the next wish beyond so many ends the process
volatile std::int64_t caught_at_ms = 0;

void on_signal(int number) {
  // The same wish may come twice at once, to the process and to its group.
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::int64_t now_ms = std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
  if (wishes == 0 || now_ms - caught_at_ms >= 1000) {
    caught_at_ms = now_ms;
    wishes = wishes + 1;
  }
  if (wishes > borne) {
    std::signal(number, SIG_DFL);
    std::raise(number);
  }
  caught = number;
}

}  // namespace

void catch_interrupts() {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action = {};
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, nullptr);
  }
}

bool interrupted() { return caught != 0; }

int interrupt_signal() { return caught; }

InterruptibleStep::InterruptibleStep() : before_(wishes) { borne = before_ + 1; }

bool InterruptibleStep::interrupted() const { return wishes != before_; }

}  // namespace carrel::tools
