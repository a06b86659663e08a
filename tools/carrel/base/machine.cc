// Facts about the machine from /proc and /sys.
#include "base/machine.h"

#include <sched.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <fstream>

namespace carrel::tools {

Machine this_machine() {
  Machine machine;
  utsname names;
  if (uname(&names) == 0) machine.kernel = names.release;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    machine.cpus = static_cast<std::uint32_t>(CPU_COUNT(&set));
  }
  std::string line;
  for (std::ifstream cpuinfo("/proc/cpuinfo"); std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) {
      const std::size_t colon = line.find(": ");
      if (colon != std::string::npos) machine.cpu_model = line.substr(colon + 2);
      break;
    }
  }
  std::ifstream thp("/sys/kernel/mm/transparent_hugepage/enabled");
  if (std::getline(thp, line)) {
    const std::size_t open = line.find('[');
    const std::size_t close = line.find(']');
    if (open != std::string::npos && close != std::string::npos) {
      machine.thp = line.substr(open + 1, close - open - 1);
    }
  }
  double loads[1];
  if (getloadavg(loads, 1) == 1) machine.load = loads[0];
  return machine;
}

nlohmann::json to_json(const Machine& machine) {
  return {{"kernel", machine.kernel},
          {"cpu_model", machine.cpu_model},
          {"cpus", machine.cpus},
          {"thp", machine.thp},
          {"load", machine.load}};
}

}  // namespace carrel::tools
