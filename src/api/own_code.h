// Where carrel's own code lies, so that stacks can begin with their caller's.
#pragma once

#include "api/instance.h"

namespace carrel::core {

struct CodeRange {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
};

/// The library's code; an empty range where a program or another library contains it.
inline CodeRange own_code() {
  CodeRange own;
  ProcessOs::for_each_code_mapping(
      [](void* found, const ProcessOs::CodeMapping& mapping) {
        const std::uintptr_t here = reinterpret_cast<std::uintptr_t>(&ProcessOs::stack_trace);
        if (here < mapping.start || here >= mapping.end) return;
        constexpr TextView kName("libcarrel");
        std::size_t name = mapping.path_size;
        while (name > 0 && mapping.path[name - 1] != '/') --name;
        if (mapping.path_size - name >= kName.size &&
            TextView(mapping.path + name, kName.size) == kName) {
          *static_cast<CodeRange*>(found) = {.start = mapping.start, .end = mapping.end};
        }
      },
      &own);
  return own;
}

}  // namespace carrel::core
