// The note by which an executable says that the hook is linked into it: see channel.h, whose values
// it repeats for the assembler. Included by each source of which one is in every such program.
#pragma once

#include "hook/channel.h"

namespace carrel::tools::hook {

static_assert(sizeof(channel::kNoteOwner) == 7 && channel::kNoteType == 0x43524c48 &&
              channel::kVersion == 3);

// A note, so that --gc-sections and strip leave it.
__asm__(
    ".pushsection .note.carrel.hook,\"a\",%note\n"
    ".balign 4\n"
    ".long 7, 4, 0x43524c48\n"
    ".asciz \"carrel\"\n"
    ".balign 4\n"
    ".long 3\n"
    ".popsection\n");

}  // namespace carrel::tools::hook
