// Fuzzing of the trace reader: a file of any bytes is read to its end, or refused with an error
// that the command prints; never a crash, a read out of bounds or memory without measure.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "trace/trace_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const int file = memfd_create("trace", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  if (file < 0 || ftruncate(file, 0) != 0) std::abort();
  if (pwrite(file, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  try {
    carrel::tools::TraceReader reader(path);
    carrel::tools::Event event;
    std::uint64_t events = 0;
    while (events < 1'000'000 && reader.next(event)) ++events;
    for (std::uint32_t i = 1; i <= reader.stack_count() && i < 1000; ++i) {
      for (const std::uint64_t address : reader.stack(i)) static_cast<void>(address);
    }
    static_cast<void>(reader.modules().size() + reader.memory().size());
  } catch (const carrel::tools::UserError&) {
    // It said what is wrong.
  }
  return 0;
}
