// Lines of /proc/PID/maps: see the header.
#include "record/modules.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "launch/elf_file.h"

namespace carrel::tools {

std::optional<Module> code_mapping(const std::string& line) {
  unsigned long long begin = 0;
  unsigned long long end = 0;
  unsigned long long offset = 0;
  char mode[5] = {};
  int path_at = 0;
  if (std::sscanf(line.c_str(), "%llx-%llx %4s %llx %*s %*s %n", &begin, &end, mode, &offset,
                  &path_at) < 4 ||
      mode[2] != 'x' || path_at == 0 || line[static_cast<std::size_t>(path_at)] != '/') {
    return std::nullopt;
  }
  return Module{begin, end, offset, line.substr(static_cast<std::size_t>(path_at)), {}};
}

void add_module(std::vector<Module>& modules, Module module) {
  const bool known = std::any_of(modules.begin(), modules.end(), [&](const Module& other) {
    return other.begin == module.begin && other.end == module.end && other.path == module.path;
  });
  if (known) return;
  module.build_id = build_id_of(module.path);
  modules.push_back(std::move(module));
}

}  // namespace carrel::tools
