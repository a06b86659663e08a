// As prove.c, for C++: where operator new and delete come from, that exhaustion throws, and that
// carrel.hpp compiles and works against the installed library.
#include <dlfcn.h>

#include <carrel/carrel.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory_resource>
#include <new>
#include <string>
#include <vector>

namespace {

[[noreturn]] void fail(const char* what, const char* detail) {
  std::printf("FAIL: %s: %s\n", what, detail);
  std::exit(1);
}

std::string file_of(const char* name) {
  void* address = dlsym(RTLD_DEFAULT, name);
  Dl_info info{};
  if (address == nullptr || dladdr(address, &info) == 0) fail("cannot find", name);
  std::printf("%s is in %s\n", name, info.dli_fname);
  return info.dli_fname;
}

bool throws_bad_alloc() {
  volatile std::size_t huge = static_cast<std::size_t>(-1) / 2;
  try {
    void* volatile block = ::operator new(huge);
    ::operator delete(block);
  } catch (const std::bad_alloc&) {
    return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  const bool prefixed = how == "prefixed";
  Dl_info self{};
  if (dladdr(reinterpret_cast<void*>(&main), &self) == 0) fail("cannot find", "main");
  for (const char* name : {"_Znwm", "_ZdlPv", "_ZdlPvm", "_ZnwmSt11align_val_t"}) {
    const std::string file = file_of(name);
    const bool shared = file.find("libcarrel.so") != std::string::npos;
    const bool own = file == self.dli_fname;
    if ((how == "shared" && !shared) || (how == "static" && !own) ||
        (prefixed && (shared || own))) {
      fail("wrong place for this kind of link", name);
    }
  }
  if (!throws_bad_alloc()) fail("operator new", "no std::bad_alloc for an impossible size");

  std::pmr::vector<std::pmr::string> words{carrel::memory_resource()};
  for (int i = 0; i < 1000; ++i) words.emplace_back(200, static_cast<char>('a' + i % 26));
  std::vector<int, carrel::allocator<int>> numbers(100000, 7);
  if (words[27][0] != 'b' || numbers.back() != 7) fail("contents", "changed");
  std::printf("carrel_version %s\nok\n", carrel_version());
  return 0;
}
