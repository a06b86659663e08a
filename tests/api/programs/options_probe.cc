// Run by options_test.cc: allocates a little, prints what the mode asks for, and leaves.
//
// Modes: "quiet" prints "ok"; "threads" frees a burst, waits, prints how many threads the
// process then has. With CARREL_TEST_LINKED_OPTIONS the program carries a link-time default.
#include "../support/check.h"
#include "../support/override.h"
#include "../support/proc.h"

#ifdef CARREL_TEST_LINKED_OPTIONS
extern "C" {
const char* carrel_options = CARREL_TEST_LINKED_OPTIONS;
}
#endif

namespace {

constexpr int kBlocks = 50000;
void* blocks[kBlocks];

}  // namespace

int main(int argc, char** argv) {
  require_override();
  CHECK(argc == 2);
  const bool threads = strcmp(argv[1], "threads") == 0;
  for (void*& block : blocks) {
    block = malloc(1000);
    CHECK(block != nullptr);
    memset(block, 1, 1000);
  }
  for (void* block : blocks) free(block);
  if (!threads) {
    printf("ok\n");
    return 0;
  }
  // Long enough for a lazily started thread, and to see that none comes.
  long most = thread_count();
  for (int i = 0; i < 30; ++i) {
    sleep_ms(20);
    const long now = thread_count();
    if (now > most) most = now;
  }
  printf("threads %ld\n", most);
  return 0;
}
