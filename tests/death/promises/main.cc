// promise CASE SIZE: commits one misuse; see promise.h. `promise list` prints the cases.
#include "promise.h"

namespace {

constexpr const Case* kFamilies[] = {kOverflowCases, kFreeCases, kAfterFreeCases, kRequestCases};

}  // namespace

int main(int argc, char** argv) {
  const bool list = argc == 2 && strcmp(argv[1], "list") == 0;
  if (!list && argc != 3) {
    fprintf(stderr, "usage: promise list | promise CASE SIZE\n");
    return kNotReached;
  }
  for (const Case* family : kFamilies) {
    for (const Case* one = family; one->name != nullptr; ++one) {
      if (list) {
        puts(one->name);
      } else if (strcmp(one->name, argv[1]) == 0) {
        // Without stdio's and the runtime's exit: what frees do there is no part of the case.
        _exit(one->run(strtoul(argv[2], nullptr, 10)));
      }
    }
  }
  if (list) return 0;
  fprintf(stderr, "promise: no case '%s'; see promise list\n", argv[1]);
  return kNotReached;
}
