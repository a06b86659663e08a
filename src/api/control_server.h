// The thread that answers for the controls: see control_server.cc.
#pragma once

namespace carrel::core {

/// What the option control=1 asks for. Not from inside malloc or free; says on standard error if it
/// cannot be had.
void start_control_server();

/// The same in a child that fork made, on the only thread it has, when the heap is usable again:
/// under its own process number.
void restart_control_server();

}  // namespace carrel::core
