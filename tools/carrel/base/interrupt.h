// Ctrl-C and SIGTERM as a flag: long steps look at it between units of work, stop, and keep what
// was gathered. A second signal, a second or more later, ends the process at once.
#pragma once

namespace carrel::tools {

// Installs the handlers; safe to call again.
void catch_interrupts();

// True once a signal came. Any thread.
bool interrupted();

// The signal that came, 0 if none.
int interrupt_signal();

// A step that goes on although an earlier one was interrupted: the analysis of a recording that
// Ctrl-C ended. Only what comes after its beginning counts, and may come once more.
class InterruptibleStep {
 public:
  InterruptibleStep();
  bool interrupted() const;

 private:
  int before_;
};

}  // namespace carrel::tools
