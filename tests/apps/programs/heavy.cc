// A translation unit that is heavy to compile: the standard library's ranges, regular expressions,
// variants, formatted streams and maps, hundreds of template instances of our own, and constant
// evaluation. Input of the compiler tests and of the demo; compiled with SIZE set, it also runs and
// prints one line. It measures nothing.

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#ifndef SIZE
#define SIZE 6
#endif

namespace {

// Constant evaluation: a sieve, and a table that the compiler computes.
template <std::size_t Count>
constexpr std::array<std::uint32_t, Count> make_primes() {
  std::array<std::uint32_t, Count> primes{};
  std::size_t found = 0;
  for (std::uint32_t candidate = 2; found < Count; ++candidate) {
    bool prime = true;
    for (std::size_t i = 0; i < found && primes[i] * primes[i] <= candidate; ++i) {
      if (candidate % primes[i] == 0) {
        prime = false;
        break;
      }
    }
    if (prime) {
      primes[found++] = candidate;
    }
  }
  return primes;
}

constexpr auto kPrimes = make_primes<400>();

// One class per number: a virtual interface, containers of it, and a lambda that captures them.
template <int N>
struct Key {
  int value = N;
  std::string name = "key";
  auto operator<=>(const Key&) const = default;
};

struct Shape {
  virtual ~Shape() = default;
  [[nodiscard]] virtual double area(double scale) const = 0;
};

template <int N>
struct Polygon final : Shape {
  std::array<double, N % 7 + 3> sides{};
  std::map<Key<N>, std::vector<std::string>> labels;

  Polygon() {
    std::iota(sides.begin(), sides.end(), static_cast<double>(N));
    for (int i = 0; i < 3; ++i) {
      labels[Key<N>{i, std::to_string(N * i)}].push_back(std::string(N % 50 + 1, 'p'));
    }
  }

  [[nodiscard]] double area(double scale) const override {
    std::vector<double> scaled;
    std::transform(sides.begin(), sides.end(), std::back_inserter(scaled),
                   [scale](double side) { return side * scale; });
    std::sort(scaled.begin(), scaled.end(), std::greater<>());
    const auto small = std::find_if(scaled.begin(), scaled.end(), [](double s) { return s < 1.0; });
    double sum = std::accumulate(scaled.begin(), small, 0.0);
    for (const auto& [key, words] : labels) {
      sum += key.value + static_cast<double>(words.front().size());
    }
    return sum;
  }
};

template <int N>
using Choice = std::variant<int, std::string, std::vector<Key<N>>, std::optional<Key<N + 1>>>;

template <class... Functions>
struct Overload : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overload(Functions...) -> Overload<Functions...>;

template <int N>
double visit_choices() {
  const std::vector<Choice<N>> choices{N, std::string(N + 1, 'v'), std::vector<Key<N>>(N % 5 + 1),
                                       std::optional<Key<N + 1>>{}};
  double sum = 0;
  for (const auto& choice : choices) {
    sum += std::visit(
        Overload{[](int number) { return static_cast<double>(number); },
                 [](const std::string& text) { return text.size() * 0.5; },
                 [](const std::vector<Key<N>>& keys) { return keys.size() * 2.0; },
                 [](const std::optional<Key<N + 1>>& key) { return key.has_value() ? 1.0 : -1.0; }},
        choice);
  }
  return sum;
}

template <int N>
double index_words() {
  std::unordered_map<std::string, std::set<std::tuple<int, Key<N % 2>>>> index;
  std::for_each_n(kPrimes.begin(), N + 10, [&index](std::uint32_t prime) {
    index[std::to_string(prime % 17)].emplace(static_cast<int>(prime), Key<N % 2>{});
  });
  const std::function<double(double)> weigh = [&index](double start) {
    return std::accumulate(index.begin(), index.end(), start, [](double sum, const auto& entry) {
      return sum + static_cast<double>(entry.second.size());
    });
  };
  return weigh(N);
}

template <int... Ns>
double run_all(std::integer_sequence<int, Ns...> /*numbers*/) {
  std::vector<std::unique_ptr<Shape>> shapes;
  (shapes.push_back(std::make_unique<Polygon<Ns>>()), ...);
  double sum = (visit_choices<Ns>() + ...) + (index_words<Ns>() + ...);
  for (const auto& shape : shapes) {
    sum += shape->area(1.5);
  }
  return sum;
}

std::size_t match_text() {
  const std::regex pattern(R"((\w+)-(\d+)(?:,\s*)?)");
  std::string text;
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i) {
    text += "item-" + std::to_string(random() % 1000) + ", ";
  }
  return static_cast<std::size_t>(std::distance(
      std::sregex_iterator(text.begin(), text.end(), pattern), std::sregex_iterator()));
}

}  // namespace

int main() {
  double from_thread = 0;
  std::thread worker(
      [&from_thread] { from_thread = run_all(std::make_integer_sequence<int, SIZE / 2>()); });
  const double here = run_all(std::make_integer_sequence<int, SIZE>());
  worker.join();
  std::ostringstream line;
  line << "heavy: " << here << ' ' << from_thread << ' ' << match_text() << ' '
       << std::accumulate(kPrimes.begin(), kPrimes.end(), 0U);
  std::cout << line.str() << '\n';
  return 0;
}
