// Where a linked hook finds the allocator behind it.
#pragma once

#include "hook/channel.h"

namespace carrel::tools::hook {

// The file that `function` lies in, malloc or null; the executable where it lies there or there is
// no dynamic linker to ask.
void name_file_of(channel::Process& process, void* function);

}  // namespace carrel::tools::hook
