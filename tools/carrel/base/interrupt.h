// Ctrl-C and SIGTERM as a flag: long steps look at it between units of work, stop, and keep what
// was gathered. A second signal ends the process at once.
#pragma once

namespace carrel::tools {

// Installs the handlers; safe to call again.
void catch_interrupts();

// True once a signal came. Any thread.
bool interrupted();

// The signal that came, 0 if none.
int interrupt_signal();

}  // namespace carrel::tools
