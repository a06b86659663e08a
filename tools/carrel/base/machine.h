// The machine that numbers come from: what belongs beside every measurement.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace carrel::tools {

struct Machine {
  std::string kernel;  // release
  std::string cpu_model;
  std::uint32_t cpus = 0;  // that this process may run on
  std::string thp;         // always, madvise or never
  double load = 0;         // of the last minute
};

Machine this_machine();
nlohmann::json to_json(const Machine& machine);

}  // namespace carrel::tools
