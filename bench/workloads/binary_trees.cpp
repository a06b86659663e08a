// Binary trees, after the programme of that name in the Computer Language Benchmarks Game: a tall
// tree lives throughout while many shorter ones are built, walked and torn down node by node.
#include "bench.hpp"

namespace {

struct Node {
  Node* left = nullptr;
  Node* right = nullptr;
};

Node* grow(unsigned depth) {
  Node* node = new Node;
  if (depth > 0) {
    node->left = grow(depth - 1);
    node->right = grow(depth - 1);
  }
  return node;
}

std::size_t count(const Node* node) {
  return node == nullptr ? 0 : 1 + count(node->left) + count(node->right);
}

void fell(Node* node) {
  if (node == nullptr) return;
  fell(node->left);
  fell(node->right);
  delete node;
}

std::size_t grow_count_fell(unsigned depth) {
  Node* tree = grow(depth);
  const std::size_t nodes = count(tree);
  if (nodes != (std::size_t{2} << depth) - 1) bench::die("a tree of depth %u lost nodes", depth);
  fell(tree);
  return nodes;
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Options options = bench::parse(argc, argv);
  const unsigned threads = options.threads != 0 ? options.threads : 2;
  constexpr unsigned kShortest = 4;
  constexpr unsigned kTallest = 16;
  const std::size_t budget = options.scaled(4e6, 100);  // nodes for each depth and thread

  std::atomic<std::size_t> nodes{0};
  const double seconds = bench::run_threads(threads, [&](unsigned) {
    Node* standing = grow(kTallest);
    std::size_t made = (std::size_t{2} << kTallest) - 1;
    for (unsigned depth = kShortest; depth <= kTallest; depth += 2) {
      const std::size_t trees = budget / ((std::size_t{2} << depth) - 1) + 1;
      for (std::size_t i = 0; i < trees; i++) made += grow_count_fell(depth);
    }
    if (count(standing) != (std::size_t{2} << kTallest) - 1) bench::die("the tall tree lost nodes");
    fell(standing);
    nodes += made;
  });
  return bench::Report(nodes, seconds).print();
}
