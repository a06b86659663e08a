// The scenarios, in the order in which they are run. Each is a program of two or three threads
// that meets one place where carrel's threads meet.
#pragma once

#include <vector>

#include "runtime.h"

namespace model {

const std::vector<Scenario>& scenarios();

// By file.
void add_lock_scenarios(std::vector<Scenario>& all);
void add_block_scenarios(std::vector<Scenario>& all);
void add_purge_scenarios(std::vector<Scenario>& all);
void add_process_scenarios(std::vector<Scenario>& all);

}  // namespace model
