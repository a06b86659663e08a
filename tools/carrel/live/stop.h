// Holds all threads of a process still for a moment, as a debugger does, and lets them go on. A
// system call that one of them waits in may end with EINTR, where such calls do.
#pragma once

#include <sys/types.h>

#include <map>

#include "base/clock.h"

namespace carrel::tools {

class StoppedProcess {
 public:
  // Returns when they stand still. Throws UserError when they may not be stopped, or one does not
  // stop within a second; those that did go on then.
  explicit StoppedProcess(pid_t pid);
  ~StoppedProcess();
  StoppedProcess(const StoppedProcess&) = delete;
  StoppedProcess& operator=(const StoppedProcess&) = delete;

  // Lets them go on; returns for how long at most any of them stood still, in seconds.
  double release();

 private:
  bool seize_new_threads(pid_t pid);
  void wait_for(pid_t thread);

  std::map<pid_t, int> threads_;  // with the signal that each is to get when it goes on
  int policy_ = 0;                // of this process's scheduling, before
  bool raised_ = false;           // whether it has a better one now
  SteadyTime since_ = {};         // when the first was told to stop
};

}  // namespace carrel::tools
