// Hash maps from strings to strings, as services keep them: insert, look up, replace values by
// longer ones, erase, and copy the whole map now and then. Everything goes through operator new and
// the standard library.
#include <string>
#include <unordered_map>

#include "bench.hpp"

namespace {

// "user:<number>:profile", often too long for the string's own buffer.
void make_key(std::string& key, std::size_t number) {
  char text[40];
  const int length = std::snprintf(text, sizeof(text), "user:%zu:profile", number);
  key.assign(text, static_cast<std::size_t>(length));
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  constexpr std::size_t kKeys = 40000;
  const std::size_t steps = options.scaled(1.2e6);

  bench::Rng rng(options.seed);
  std::size_t found = 0;
  std::size_t expected = 0;
  const double start = bench::now_seconds();
  {
    std::unordered_map<std::string, std::string> map;
    std::vector<unsigned> length(kKeys, 0);  // what the map should hold, 0 when it should not
    std::string key;
    for (std::size_t i = 0; i < steps; i++) {
      const std::size_t number = rng.below(kKeys);
      make_key(key, number);
      const std::size_t what = rng.below(8);
      if (what < 3) {
        const auto it = map.find(key);
        found += it == map.end() ? 0 : it->second.size();
        expected += length[number];
      } else if (what < 7) {
        const std::size_t size = 8 + rng.program_size(16, 400);
        map[key] = std::string(size, static_cast<char>('a' + number % 26));
        length[number] = static_cast<unsigned>(size);
      } else {
        map.erase(key);
        length[number] = 0;
      }
      if (i % 400000 == 399999) {
        const auto copy = map;
        if (copy.size() != map.size()) bench::die("a copied map lost entries");
      }
    }
    for (const auto& [name, value] : map) {
      if (value.front() != value.back()) bench::die("the value of %s changed", name.c_str());
    }
  }
  const double seconds = bench::now_seconds() - start;
  if (found != expected) bench::die("look-ups returned %zu bytes, not %zu", found, expected);
  return bench::Report(steps, seconds).print();
}
