// What is added to error reports, for the rest of src/api.
#pragma once

namespace carrel::core {

/// What the option report_stacks=1 asks for, at the start of the program.
void start_report_stacks();

}  // namespace carrel::core
