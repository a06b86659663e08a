// What /proc/PID/maps tells about a process's code.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trace/event.h"

namespace carrel::tools {

// The file that a line maps as code, without its build id; nothing for any other line.
std::optional<Module> code_mapping(const std::string& line);

// Adds a mapping, with its file's build id, unless it is there already.
void add_module(std::vector<Module>& modules, Module module);

}  // namespace carrel::tools
