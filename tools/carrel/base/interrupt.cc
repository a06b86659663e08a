// The signal handlers behind interrupted().
#include "base/interrupt.h"

#include <csignal>
#include <ctime>
#include <initializer_list>

namespace carrel::tools {

namespace {

volatile std::sig_atomic_t caught = 0;
volatile std::sig_atomic_t wishes = 0;
volatile std::sig_atomic_t borne = 1;  // the next wish beyond so many ends the process
volatile std::time_t caught_at = 0;

void on_signal(int number) {
  // The same wish may come twice at once, to the process and to its group.
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (wishes == 0 || now.tv_sec - caught_at >= 1) {
    caught_at = now.tv_sec;
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
