// Finding files by the places that installations use.
#include "launch/paths.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <system_error>

#include "base/error.h"

namespace carrel::tools {

namespace fs = std::filesystem;

fs::path own_directory() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  return error ? fs::path(".") : self.parent_path();
}

fs::path own_file(const std::string& name) {
  const fs::path here = own_directory();
  for (const fs::path& directory :
       {here, here / "../lib", here / "../lib" / CARREL_LIBRARY_ARCH, here / "../libexec/carrel",
        here / "../lib/carrel", here / "../lib" / CARREL_LIBRARY_ARCH / "carrel"}) {
    std::error_code error;
    const fs::path candidate = directory / name;
    if (fs::exists(candidate, error)) return fs::canonical(candidate, error);
  }
  throw UserError("{} is not beside {}; install carrel anew, or build it with ./dev build", name,
                  (here / "carrel").string());
}

fs::path find_program(const std::string& word) {
  const auto runnable = [](const fs::path& path) {
    std::error_code error;
    return fs::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
  };
  if (word.find('/') != std::string::npos) {
    if (runnable(word)) return word;
    std::error_code error;
    if (fs::exists(word, error)) {
      throw UserError("{} is no file that may be executed; check its permissions", word);
    }
    throw UserError("there is no program {}; check the path", word);
  }
  const char* const path = std::getenv("PATH");
  for (std::string_view rest(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin");;) {
    const std::size_t colon = rest.find(':');
    const std::string_view part = rest.substr(0, colon);
    const fs::path candidate = fs::path(part.empty() ? "." : part) / word;
    if (runnable(candidate)) return candidate;
    if (colon == std::string_view::npos) break;
    rest = rest.substr(colon + 1);
  }
  throw UserError("no program '{}' in PATH; give its path", word);
}

}  // namespace carrel::tools
