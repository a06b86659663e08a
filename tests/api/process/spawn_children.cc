// Children that exec: posix_spawn, popen, system and vfork from a process whose threads are
// busy in the allocator. The child's program must run and the parent go on.
#include <spawn.h>
#include <sys/wait.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"

extern char** environ;

namespace {

std::atomic<bool> stop{false};

void worker(uint64_t seed) {
  uint64_t random = seed;
  std::vector<void*> blocks(256, nullptr);
  while (!stop.load(std::memory_order_relaxed)) {
    void*& block = blocks[next_random(&random) % blocks.size()];
    free(block);
    block = malloc(next_random(&random) % 5000 + 1);
    CHECK(block != nullptr);
  }
  for (void* block : blocks) free(block);
}

void expect_exit(pid_t child, int code) {
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), code);
}

}  // namespace

int main(int argc, char** argv) {
  require_override();
  if (argc > 1) {  // as a child: allocate and say so by the exit status
    std::string text(10000, 'x');
    return text.size() == 10000 ? 7 : 1;
  }
  std::vector<std::thread> workers;
  for (uint64_t w = 1; w <= 4; ++w) workers.emplace_back(worker, w);
  char child_mode[] = "child";
  char* arguments[] = {argv[0], child_mode, nullptr};
  for (int i = 0; i < 30; ++i) {
    pid_t child = -1;
    CHECK_EQ(posix_spawn(&child, argv[0], nullptr, nullptr, arguments, environ), 0);
    expect_exit(child, 7);

    child = vfork();
    CHECK(child >= 0);
    if (child == 0) {
      execv(argv[0], arguments);
      _exit(126);
    }
    expect_exit(child, 7);

    const std::string command = std::string("'") + argv[0] + "' child";
    const int status = system(command.c_str());
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 7);

    FILE* pipe = popen("echo from the shell", "r");
    CHECK(pipe != nullptr);
    char line[64] = "";
    CHECK(fgets(line, sizeof line, pipe) != nullptr);
    CHECK(strcmp(line, "from the shell\n") == 0);
    CHECK_EQ(pclose(pipe), 0);
  }
  stop = true;
  for (std::thread& thread : workers) thread.join();
  return 0;
}
