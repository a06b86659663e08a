// The signal handlers behind interrupted().
#include "base/interrupt.h"

#include <csignal>
#include <initializer_list>

namespace carrel::tools {

namespace {

volatile std::sig_atomic_t caught = 0;

void on_signal(int number) {
  if (caught != 0) {
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

}  // namespace carrel::tools
