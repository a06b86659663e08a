// Starting a program with an environment of its own, and what became of it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace carrel::tools {

// As exec takes them, a null pointer last; valid as long as the words. exec writes to none of them.
std::vector<char*> pointers(const std::vector<std::string>& words);

// Starts `command` (its first word searched in PATH) in `environment`; `before` runs in the child
// just before. Returns its process id. Throws UserError when it cannot be executed.
pid_t spawn(const std::vector<std::string>& command, const std::vector<std::string>& environment,
            const std::function<void()>& before = {});

// Replaces this process. Returns only by throwing UserError.
[[noreturn]] void become(const std::vector<std::string>& command,
                         const std::vector<std::string>& environment);

}  // namespace carrel::tools
