// Names for code addresses of a recorded process, from its modules' files on disk, outside the
// process: functions by symbol table or debugging information, lines where there is some. Never
// fetches debugging information over a network. A file that changed since is not used.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trace/event.h"

namespace carrel::tools {

struct SourceFrame {
  std::string function;  // demangled; "name+0x1234" (file offset) when the file tells nothing
  std::string module;    // path of the file; empty when the address is in none
  std::string file;      // source file, or empty
  int line = 0;          // 0: unknown
};

class Symbols {
 public:
  explicit Symbols(const std::vector<Module>& modules);
  ~Symbols();
  Symbols(const Symbols&) = delete;
  Symbols& operator=(const Symbols&) = delete;

  // The frame that a return address belongs to: looks at the byte before it. The reference stays
  // valid as long as this.
  const SourceFrame& of_return_address(std::uint64_t address);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A C++ or Rust symbol in readable form; other names unchanged.
std::string demangled(const std::string& name);

}  // namespace carrel::tools
