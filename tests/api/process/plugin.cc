// A library that plugin_host.cc loads and unloads: allocates in constructors, destructors
// and thread-local storage, and leaves blocks behind for the host.
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

struct Registry {
  std::vector<std::string> names;
  Registry() {
    for (int i = 0; i < 500; ++i)
      names.push_back(std::string(static_cast<std::size_t>(i % 80), 'n'));
  }
  ~Registry() { names.push_back(std::string(5000, 'e')); }
} registry;

thread_local std::vector<std::string> local_names;

void* constructor_block;

__attribute__((constructor)) void on_load() { constructor_block = std::calloc(1, 70000); }

__attribute__((destructor)) void on_unload() {
  std::free(constructor_block);
  std::free(std::malloc(12345));
}

}  // namespace

/// A block of `size` bytes, all 'p', that outlives the library.
extern "C" void* plugin_take(std::size_t size) {
  local_names.push_back(std::string(300, 'l'));
  void* block = std::malloc(size);
  if (block != nullptr) std::memset(block, 'p', size);
  return block;
}

extern "C" void plugin_give(void* block) { std::free(block); }
