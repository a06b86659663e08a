// What is added to error reports, for the rest of src/api.
#pragma once

#include "heap/options.h"

namespace carrel::core {

/// What the options ask for, at the start of the program.
void start_report_stacks_by_option(const Options& options);

}  // namespace carrel::core
