// Prints what LinuxOs::environment() finds for the variable named by the first argument,
// in a process whose C library has not set `environ` yet, and before it "secure " if the
// process is set-user-id. The second argument is the buffer's size.
//
// Run by environment_test.cc with environments of its own making.
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <vector>

#include "os/linux/linux_os.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: test_environment_probe NAME BUFFER_SIZE\n");
    return 2;
  }
  std::vector<char> buffer(strtoul(argv[2], nullptr, 10));
  environ = nullptr;
  const std::size_t size =
      carrel::core::LinuxOs::environment(argv[1], buffer.data(), buffer.size());
  printf("%s%zu:%.*s", getauxval(AT_SECURE) != 0 ? "secure " : "", size, static_cast<int>(size),
         buffer.data());
  return 0;
}
