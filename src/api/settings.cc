// What is asked of the library as a whole, by programs and by its own parts: apart from the
// carrel_ functions that allocate, so that those who ask do not link them.
#include <carrel/carrel.h>
#include <errno.h>

#include "api/instance.h"

using carrel::core::process_heap;
namespace core = carrel::core;

extern "C" {

const char* carrel_version() { return "0.1.0"; }

size_t carrel_purge() { return process_heap.purge(); }

int carrel_set_option(const char* key, const char* value) {
  if (key == nullptr || value == nullptr ||
      process_heap.set_option_now(key, value) != core::OptionError::kNone) {
    errno = EINVAL;
    return 0;
  }
  return 1;
}

}  // extern "C"
