// A translation unit that makes a C++ compiler allocate: standard containers and a family of
// instantiations. WIDTH sets how many; it is compiled, never run.
#include <map>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#ifndef WIDTH
#define WIDTH 3
#endif

template <int N>
struct Tagged {
  std::string name = "tag";
  std::vector<int> values = std::vector<int>(N % 7 + 1, N);
  bool operator<(const Tagged& other) const { return values < other.values; }
};

template <int N>
int use() {
  std::map<Tagged<N>, std::vector<Tagged<N>>> by_tag;
  by_tag[Tagged<N>{}].push_back({});
  std::variant<Tagged<N>, std::tuple<int, std::string, Tagged<N>>> choice = Tagged<N>{};
  const auto measure = [](const Tagged<N>& t) {
    return static_cast<int>(t.values.size() + t.name.size());
  };
  std::vector<Tagged<N>> list(5);
  list.insert(list.begin(), list.back());
  return measure(list.front()) + static_cast<int>(choice.index()) + static_cast<int>(by_tag.size());
}

template <int... Ns>
int use_all(std::integer_sequence<int, Ns...>) {
  return (0 + ... + use<Ns>());
}

int total() { return use_all(std::make_integer_sequence<int, WIDTH>{}); }
