// What carrel-launch hands back. C and C++.
#pragma once

struct launch_result {
  int start_error;  // errno of what kept the program from starting, 0 if it started
  int status;       // as wait4 gives it
  double wall_s;
  double user_s;  // with the children that it waited for
  double system_s;
  long peak_rss_kib;  // of the largest process among them
};
