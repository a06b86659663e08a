// A program whose allocations are known exactly: it says what it did as JSON, and a trace of it
// must say the same. Beside its own calls only the C and C++ runtimes' few remain, which use other
// sizes.
//
//   counted THREADS ROUNDS [hang | exec PROGRAM]   after the work wait for a kill, or become it
#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace {

constexpr std::size_t kMallocSize = 100'003;
constexpr std::size_t kCallocSize = 7 * 1'009;
constexpr std::size_t kReallocFrom = 333;
constexpr std::size_t kReallocTo = 33'331;
constexpr std::size_t kNewSize = 4'441;
constexpr std::size_t kAlignedSize = 5'557;

long rounds = 0;
thread_local void* volatile sink = nullptr;  // one for each: it hands over what is freed next

// Blocks that the main thread frees.
struct Handed {
  void* blocks[1000];
};
Handed handed[64];

void* work(void* argument) {
  Handed& mine = *static_cast<Handed*>(argument);
  for (long i = 0; i < rounds; ++i) {
    void* const kept = std::malloc(kMallocSize);
    sink = kept;
    mine.blocks[i % 1000] = kept;
    sink = std::calloc(7, 1'009);
    std::free(sink);
    void* const grown = std::malloc(kReallocFrom);
    sink = grown;
    sink = std::realloc(grown, kReallocTo);
    std::free(sink);
    void* const made = ::operator new(kNewSize);
    sink = made;
    ::operator delete(made, kNewSize);
    void* aligned = nullptr;
    if (posix_memalign(&aligned, 256, kAlignedSize) != 0) std::abort();
    sink = aligned;
    std::free(aligned);
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  rounds = argc > 2 ? std::atol(argv[2]) : 100;
  if (threads < 1 || threads > 64 || rounds < 1 || rounds > 1000) return 2;
  pthread_t handles[64];
  for (int i = 0; i < threads; ++i) {
    if (pthread_create(&handles[i], nullptr, work, &handed[i]) != 0) return 2;
  }
  for (int i = 0; i < threads; ++i) pthread_join(handles[i], nullptr);
  for (int i = 0; i < threads; ++i) {
    for (long j = 0; j < rounds; ++j) std::free(handed[i].blocks[j]);
  }
  char line[256];
  const int length = std::snprintf(
      line, sizeof(line),
      "{\"threads\":%d,\"rounds\":%ld,\"malloc\":%zu,\"calloc\":%zu,\"realloc_from\":%zu,"
      "\"realloc_to\":%zu,\"new\":%zu,\"aligned\":%zu}\n",
      threads, rounds, kMallocSize, kCallocSize, kReallocFrom, kReallocTo, kNewSize, kAlignedSize);
  if (write(1, line, static_cast<std::size_t>(length)) != length) return 2;
  if (argc > 3 && std::strcmp(argv[3], "hang") == 0) pause();
  if (argc > 4 && std::strcmp(argv[3], "exec") == 0) execlp(argv[4], argv[4], nullptr);
  return 17;
}
