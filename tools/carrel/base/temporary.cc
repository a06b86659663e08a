// Making and removing temporary files.
#include "base/temporary.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "base/error.h"

namespace carrel::tools {

namespace fs = std::filesystem;

namespace {

std::string pattern(const std::string& purpose) {
  std::error_code error;
  const fs::path folder = fs::temp_directory_path(error);
  return ((error ? fs::path("/tmp") : folder) / ("carrel-" + purpose + "-XXXXXX")).string();
}

[[noreturn]] void refuse(const std::string& name) {
  throw UserError("cannot make {}: {}; set TMPDIR to a folder with room", name,
                  std::strerror(errno));
}

}  // namespace

TemporaryFile::TemporaryFile(const std::string& purpose) {
  std::string name = pattern(purpose);
  const int file = mkstemp(name.data());
  if (file < 0) refuse(name);
  close(file);
  path_ = name;
}

TemporaryFile::~TemporaryFile() {
  std::error_code error;
  fs::remove(path_, error);
}

OutputFolder::OutputFolder(const std::string& wanted, const std::string& purpose)
    : kept_(!wanted.empty()), path_(wanted) {
  if (kept_) {
    std::error_code error;
    fs::create_directories(path_, error);
    if (!error && access(path_.c_str(), W_OK) != 0) {
      error = std::error_code(errno, std::generic_category());
    }
    if (error) {
      throw UserError("cannot make {}: {}; choose another folder with -o", wanted, error.message());
    }
    return;
  }
  std::string name = pattern(purpose);
  if (mkdtemp(name.data()) == nullptr) refuse(name);
  path_ = name;
}

OutputFolder::~OutputFolder() {
  std::error_code error;
  if (!kept_) fs::remove_all(path_, error);
}

}  // namespace carrel::tools
