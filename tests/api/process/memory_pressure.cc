// Free memory goes back at once while the process's control group is short of memory, and rests
// again afterwards. The kernel's files are simulated: in a mount namespace of its own, a folder
// that the test writes lies over /sys/fs/cgroup. Where mounting is not permitted, exits with 77.
#include <carrel/carrel.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "../support/check.h"
#include "../support/override.h"
#include "../support/proc.h"

namespace {

std::string root;   // of the simulated groups
std::string group;  // this process's folder in it

void write_file(const std::string& path, const char* text) {
  FILE* file = fopen(path.c_str(), "w");
  CHECK(file != nullptr);
  fputs(text, file);
  CHECK_EQ(fclose(file), 0);
}

/// Lays the simulated groups over the kernel's; false if that is not permitted.
bool simulate_groups() {
  char name[] = "/tmp/carrel-groups-XXXXXX";
  CHECK(mkdtemp(name) != nullptr);
  root = group = name;
  char path[512] = "/";
  proc_text("/proc/self/cgroup", "0::", path, sizeof path);
  for (const char* part = path; *part != '\0';) {
    const std::size_t length = strcspn(part + 1, "/");
    if (strncmp(part + 1, "..", 2) == 0) return false;  // a group beyond what this container sees
    if (length != 0) {
      group += '/' + std::string(part + 1, length);
      CHECK_EQ(mkdir(group.c_str(), 0755), 0);
    }
    part += 1 + length;
  }
  write_file(root + "/memory.max", "104857600\n");
  write_file(root + "/memory.stat", "anon 1000000\nfile 104000000\n");
  write_file(group + "/memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
  return unshare(CLONE_NEWNS) == 0 &&
         mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount(name, "/sys/fs/cgroup", nullptr, MS_BIND, nullptr) == 0;
}

long kept_kib(long before) {
  static std::vector<char*> blocks(60000);
  for (char*& block : blocks) memset(block = static_cast<char*>(malloc(1000)), 1, 1000);
  for (char* block : blocks) free(block);
  long kept = 0;
  for (int i = 0; i < 30; ++i) {  // as long as three looks take, and no longer than needed
    kept = rss_kib() - before;
    if (kept < 10 * 1024) break;
    sleep_ms(100);
  }
  printf("%ld KiB kept\n", kept);
  return kept;
}

}  // namespace

int main() {
  require_override();
  if (!simulate_groups()) {
    printf("mounting is not permitted\n");
    std::filesystem::remove_all(root);
    return 77;
  }
  CHECK_EQ(carrel_ctl_write_u64("option.decay_ms", 20000), CARREL_OK);
  printf("plenty of memory\n");  // whatever output allocates
  const long before = rss_kib();
  constexpr long kMuch = 40 * 1024;
  constexpr long kLittle = 10 * 1024;
  CHECK_LE(kMuch, kept_kib(before));
  write_file(root + "/memory.stat", "anon 96000000\nfile 1000\n");
  CHECK_LE(kept_kib(before), kLittle);
  printf("plenty again\n");
  write_file(root + "/memory.stat", "anon 1000000\nfile 104000000\n");
  sleep_ms(2500);
  CHECK_LE(kMuch, kept_kib(before));
  printf("tasks wait for memory\n");
  write_file(group + "/memory.pressure", "some avg10=27.43 avg60=5.00 avg300=1.00 total=9\n");
  CHECK_LE(kept_kib(before), kLittle);
  CHECK_EQ(carrel_ctl_write_u64("option.watch_memory", 0), CARREL_OK);
  sleep_ms(2500);
  CHECK_LE(kMuch, kept_kib(before));
  CHECK_EQ(umount2("/sys/fs/cgroup", MNT_DETACH), 0);
  std::filesystem::remove_all(root);
  return 0;
}
