// Running out of memory under a limit: requests fail with ENOMEM (or std::bad_alloc), what
// was allocated stays intact, frees make room again, and the program goes on.
//
// Usage: memory_limit {as|data} LIMIT_KIB {small|medium|large|threads}. Sets RLIMIT_AS
// (as `ulimit -v` does) or RLIMIT_DATA and starts itself again, so that the allocator's own
// reservations are made under the limit. RLIMIT_DATA counts private writable memory: it
// refuses late, as strict overcommit accounting does, but is not the same as that.
#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"

namespace {

/// A block in a chain that lives in the blocks themselves: no memory beside them is needed.
struct Link {
  Link* next;
  size_t size;
  uint32_t seed;
};

constexpr size_t kTouched = 256;  // bytes at either end that are written and checked

void write_link(Link* link, Link* next, size_t size, uint32_t seed) {
  *link = {next, size, seed};
  if (size < sizeof(Link) + 2 * kTouched) return;
  fill_block(link + 1, kTouched, seed);
  fill_block(reinterpret_cast<char*>(link) + size - kTouched, kTouched, seed + 1);
}

void check_link(const Link* link) {
  if (link->size < sizeof(Link) + 2 * kTouched) return;
  CHECK(block_is_intact(link + 1, kTouched, link->seed));
  CHECK(block_is_intact(reinterpret_cast<const char*>(link) + link->size - kTouched, kTouched,
                        link->seed + 1));
}

struct Sizes {
  size_t least;
  size_t span;
};

size_t pick(const Sizes& sizes, uint64_t* random) {
  return sizes.least + next_random(random) % sizes.span;
}

/// Allocates until a request fails; the chain and the bytes in it.
Link* fill_up(const Sizes& sizes, uint64_t seed, size_t* total) {
  Link* chain = nullptr;
  uint64_t random = seed;
  for (uint32_t i = 0;; ++i) {
    const size_t size = pick(sizes, &random);
    errno = 0;
    void* block = nullptr;
    switch (i % 4) {
      case 0:
        block = calloc(1, size);
        break;
      case 1:
        block = ::operator new(size, std::nothrow);
        break;
      case 2:
        block = memalign(64, size);
        break;
      default:
        block = malloc(size);
    }
    if (block == nullptr) {
      CHECK_EQ(errno, ENOMEM);
      return chain;
    }
    write_link(static_cast<Link*>(block), chain, size, i);
    chain = static_cast<Link*>(block);
    *total += size;
  }
}

/// Checks every block; frees those for which `index % step == 0`.
Link* check_and_free(Link* chain, unsigned step) {
  Link* kept = nullptr;
  unsigned index = 0;
  while (chain != nullptr) {
    Link* next = chain->next;
    check_link(chain);
    if (index++ % step == 0) {
      free(chain);
    } else {
      chain->next = kept;
      kept = chain;
    }
    chain = next;
  }
  return kept;
}

void at_the_limit(Link* chain) {
  // A failing resize keeps the block; a throwing form throws.
  check_link(chain);
  errno = 0;
  CHECK(realloc(chain, size_t{3} << 30) == nullptr);
  CHECK_EQ(errno, ENOMEM);
  check_link(chain);
  bool thrown = false;
  try {
    ::operator delete(::operator new (size_t{3} << 30));
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  CHECK(thrown);
}

void fill_and_recover(const Sizes& sizes, int rounds, size_t expected_bytes) {
  for (int round = 0; round < rounds; ++round) {
    size_t total = 0;
    Link* chain = fill_up(sizes, static_cast<uint64_t>(round) + 1, &total);
    fprintf(stderr, "round %d: %zu MiB before the first refusal, %zu expected\n", round,
            total >> 20, expected_bytes >> 20);
    CHECK_GE(total, expected_bytes);
    at_the_limit(chain);
    chain = check_and_free(chain, 2);
    // Half of it is free again: much of that must be available, though in pieces.
    size_t again = 0;
    Link* second = fill_up(sizes, static_cast<uint64_t>(round) + 100, &again);
    CHECK_GE(again, total / 8);
    check_and_free(chain, 1);
    check_and_free(second, 1);
  }
}

void fill_from_threads(const Sizes& sizes, size_t expected_bytes) {
  std::atomic<size_t> total{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 1; t <= 8; ++t) {
    threads.emplace_back([&, t] {
      size_t mine = 0;
      Link* chain = fill_up(sizes, t, &mine);
      total += mine;
      check_and_free(chain, 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_GE(total.load(), expected_bytes);
  void* block = malloc(1 << 20);
  CHECK(block != nullptr);
  free(block);
}

int run(const char* mode, size_t limit_bytes) {
  if (strcmp(mode, "small") == 0) {
    // Small blocks touch every page there is: gigabytes of them once, not three times.
    fill_and_recover({sizeof(Link), 2000}, limit_bytes >> 30 != 0 ? 1 : 3, limit_bytes / 2);
  } else if (strcmp(mode, "medium") == 0) {
    fill_and_recover({30 << 10, 400 << 10}, 3, limit_bytes / 2);
  } else if (strcmp(mode, "large") == 0) {
    fill_and_recover({1 << 20, 16 << 20}, 3, limit_bytes / 2);
  } else {
    fill_from_threads({sizeof(Link), 8000}, limit_bytes / 4);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  require_override();
  if (argc != 4 && argc != 5) {
    fprintf(stderr, "usage: %s {as|data} LIMIT_KIB {small|medium|large|threads}\n", argv[0]);
    return 2;
  }
  const size_t limit_bytes = strtoull(argv[2], nullptr, 10) << 10;
  if (argc == 5) return run(argv[3], limit_bytes);
  const struct rlimit limit = {limit_bytes, limit_bytes};
  CHECK_EQ(setrlimit(strcmp(argv[1], "as") == 0 ? RLIMIT_AS : RLIMIT_DATA, &limit), 0);
  char limited[] = "limited";
  char* arguments[] = {argv[0], argv[1], argv[2], argv[3], limited, nullptr};
  execv("/proc/self/exe", arguments);
  CHECK(!"execv must not return");
}
