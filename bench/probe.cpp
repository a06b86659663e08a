// Says whose allocator this process runs on: the files that malloc, free and their relatives
// resolve into, and what version the engine there reports. Run under the same preload as the
// workloads, so that no allocator is measured that did not take over. It does not judge; the
// harness does.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <new>

namespace {

const char* file_of(const char* symbol) {
  void* address = dlsym(RTLD_DEFAULT, symbol);
  Dl_info info{};
  if (address == nullptr || dladdr(address, &info) == 0) return "";
  return info.dli_fname;
}

template <typename Function>
Function* find(const char* symbol) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, symbol));
}

// The version by whichever of the engines' own interfaces is there; empty when none is.
void engine_version(char* text, std::size_t capacity) {
  text[0] = '\0';
  if (auto* carrel = find<const char*()>("carrel_version")) {
    std::snprintf(text, capacity, "%s", carrel());
  } else if (auto* mimalloc = find<int()>("mi_version")) {
    const int number = mimalloc();  // older ones have one digit for minor and two for patch
    const bool wide = number >= 10000;
    std::snprintf(text, capacity, "%d.%d.%d", wide ? number / 10000 : number / 100,
                  wide ? number / 100 % 100 : number / 10 % 10, wide ? number % 100 : number % 10);
  } else if (auto* gperftools = find<const char*(int*, int*, const char**)>("tc_version")) {
    int major = 0;
    int minor = 0;
    const char* patch = "";
    gperftools(&major, &minor, &patch);
    std::snprintf(text, capacity, "%d.%d%s", major, minor, patch);
  } else if (auto* jemalloc =
                 find<int(const char*, void*, std::size_t*, void*, std::size_t)>("mallctl")) {
    const char* version = nullptr;
    std::size_t size = sizeof(version);
    if (jemalloc("version", &version, &size, nullptr, 0) == 0) {
      std::snprintf(text, capacity, "%s", version);
    }
  }
}

}  // namespace

int main() {
  // One use of each, so that a library that takes over lazily has done so.
  void* block = std::malloc(100);
  std::free(block);
  ::operator delete(::operator new(100));
  char version[128];
  engine_version(version, sizeof(version));
  constexpr const char* kSymbols[] = {
      "malloc",         "free",          "calloc", "realloc", "memalign",
      "posix_memalign", "aligned_alloc", "_Znwm",  "_ZdlPv",  "malloc_usable_size"};
  std::printf("{\"version\":\"%s\"", version);
  for (const char* symbol : kSymbols) std::printf(",\"%s\":\"%s\"", symbol, file_of(symbol));
  std::puts("}");
  return 0;
}
