// Threads that never share a block, after the threadtest of Berger et al., "Hoard" (2000): each
// allocates its part of the objects, writes them, frees them all, and begins again.
#include "bench.hpp"

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  const unsigned threads = options.threads != 0 ? options.threads : 4;
  constexpr std::size_t kObjects = 10000;
  constexpr std::size_t kSize = 64;
  const std::size_t rounds = options.scaled(1500);

  const double seconds = bench::run_threads(threads, [&](unsigned i) {
    std::vector<void*> objects(kObjects);
    for (std::size_t round = 0; round < rounds; round++) {
      const std::uint64_t tag = round * 131 + i;
      for (void*& object : objects) {
        object = bench::take(kSize);
        bench::mark(object, kSize, tag);
      }
      for (void* object : objects) {
        bench::check(object, kSize, tag);
        std::free(object);
      }
    }
  });
  return bench::Report(rounds * threads * kObjects, seconds).print();
}
