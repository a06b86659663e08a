// Stacks as carrel reads them are those that libgcc's unwinder reads, frame by frame; those that it
// follows by itself it does follow by itself; and rules that are wrong lead to no fault.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include <cstring>
#include <thread>
#include <vector>

#include "base/bits.h"
#include "os/linux/frame_rules.h"
#include "os/linux/frame_walk.h"
#include "os/linux/linux_os.h"
#include "stack_shapes.h"

#if defined(__x86_64__)

namespace carrel::core {
namespace {

using Frames = std::vector<const void*>;

_Unwind_Reason_Code collect_frame(_Unwind_Context* context, void* argument) {
  auto& frames = *static_cast<Frames*>(argument);
  if (_Unwind_GetIP(context) == 0) return _URC_END_OF_STACK;
  frames.push_back(at_address<const void>(_Unwind_GetIP(context)));
  return _URC_NO_REASON;
}

/// From the frame on that returns to `first`.
Frames from_frame(const Frames& frames, const void* first) {
  std::size_t i = 0;
  while (i < frames.size() && frames[i] != first) ++i;
  return Frames(frames.begin() + static_cast<std::ptrdiff_t>(i), frames.end());
}

struct Looked {
  int stacks = 0;
  int equal = 0;
  int followed = 0;  // to the end, by rules alone
  std::size_t deepest = 0;
};
thread_local Looked looked;

/// Compares the stack of the function that calls it.
[[gnu::noinline]] void look() {
  const void* own[512];
  const auto* frame = static_cast<const std::uintptr_t*>(__builtin_frame_address(0));
  const auto* first = at_address<const void>(frame[1]);
  const FrameWalk walk = walk_frames({.return_address = frame[1],
                                      .stack_pointer = address_of(frame + 2),
                                      .frame_register = frame[0]},
                                     own, 512);
  const Frames followed(own, own + walk.count);
  const std::size_t count = LinuxOs::stack_trace(own, 512);
  const Frames read = from_frame(Frames(own, own + count), first);
  Frames expected;
  _Unwind_Backtrace(collect_frame, &expected);
  expected = from_frame(expected, first);
  ++looked.stacks;
  if (read == expected && !read.empty()) ++looked.equal;
  if (walk.complete && followed == expected) ++looked.followed;
  if (read.size() > looked.deepest) looked.deepest = read.size();
}

class StackTraceTest : public ::testing::Test {
 protected:
  StackTraceTest() {
    EXPECT_TRUE(LinuxOs::load_unwinder());
    frame_rules.clear();
    looked = {};
  }
  static void expect_all_followed(int stacks) {
    EXPECT_EQ(looked.stacks, stacks);
    EXPECT_EQ(looked.equal, stacks);
    EXPECT_EQ(looked.followed, stacks);
  }
  static void expect_all_equal(int stacks) {
    EXPECT_EQ(looked.stacks, stacks);
    EXPECT_EQ(looked.equal, stacks);
  }
};

TEST_F(StackTraceTest, FollowsWhatCompilersMake) {
  for (const auto shapes :
       {unoptimized::every_shape, optimized::every_shape, frame_pointers::every_shape}) {
    looked = {};
    shapes(look);
    const int once = looked.stacks;
    EXPECT_GE(once, 8);
    EXPECT_GE(looked.deepest, 60u);
    shapes(look);  // and by what is remembered
    expect_all_followed(2 * once);
  }
}

TEST_F(StackTraceTest, FramesThatNoRuleDescribesAreLeftToLibgcc) {
  for (const auto shape :
       {unoptimized::large_frame, optimized::large_frame, frame_pointers::large_frame}) {
    looked = {};
    shape(look);
    expect_all_equal(1);
  }
}

TEST_F(StackTraceTest, FollowsThreads) {
  std::thread([] {
    optimized::every_shape(look);
    expect_all_followed(looked.stacks);
    EXPECT_GE(looked.stacks, 8);
  }).join();
}

TEST_F(StackTraceTest, ASignalsStackIsLibgccs) {
  std::vector<char> memory(256 * kKiB);
  const stack_t other = {.ss_sp = memory.data(), .ss_flags = 0, .ss_size = memory.size()};
  stack_t before;
  ASSERT_EQ(sigaltstack(&other, &before), 0);
  struct sigaction action = {};
  action.sa_handler = [](int) { look(); };
  for (const int flags : {0, SA_ONSTACK}) {
    action.sa_flags = flags;
    ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
    looked = {};
    raise(SIGUSR1);
    expect_all_equal(1);
    EXPECT_GE(looked.deepest, 8u);  // on through the frames below
  }
  signal(SIGUSR1, SIG_DFL);
  sigaltstack(&before, nullptr);
}

TEST_F(StackTraceTest, CodeWithoutTablesIsLeftToLibgcc) {
  // push rbp; mov rbp, rsp; call rdi; pop rbp; ret
  static constexpr unsigned char kCode[] = {0x55, 0x48, 0x89, 0xE5, 0xFF, 0xD7, 0x5D, 0xC3};
  void* code = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(code, MAP_FAILED);
  memcpy(code, kCode, sizeof kCode);
  ASSERT_EQ(mprotect(code, 4096, PROT_READ | PROT_EXEC), 0);
  reinterpret_cast<void (*)(Look)>(code)(look);
  expect_all_equal(1);
  munmap(code, 4096);
}

/// A stack of its own, with nothing readable above it.
class Coroutine {
 public:
  explicit Coroutine(void (*run)()) {
    memory_ = static_cast<char*>(mmap(nullptr, kBytes + 64 * kKiB, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(memory_ + kBytes, 64 * kKiB, PROT_NONE);
    getcontext(&inside_);
    inside_.uc_stack = {.ss_sp = memory_, .ss_flags = 0, .ss_size = kBytes};
    inside_.uc_link = &outside_;
    makecontext(&inside_, run, 0);
    swapcontext(&outside_, &inside_);
  }
  ~Coroutine() { munmap(memory_, kBytes + 64 * kKiB); }

 private:
  static constexpr std::size_t kBytes = 128 * kKiB;
  char* memory_;
  ucontext_t inside_;
  ucontext_t outside_;
};

TEST_F(StackTraceTest, FollowsCoroutines) {
  for (int i = 0; i < 3; ++i) {
    looked = {};
    const Coroutine coroutine([] { optimized::every_shape(look); });
    EXPECT_GE(looked.stacks, 8);
    expect_all_followed(looked.stacks);
    look();
    expect_all_followed(looked.stacks);
  }
}

using Kind = FrameRule::Kind;

FrameRule planted;
std::size_t walked;

/// Walks from here with the planted rule for where this returns to.
[[gnu::noinline]] void walk_by_planted_rule() {
  const auto* frame = static_cast<const std::uintptr_t*>(__builtin_frame_address(0));
  const void* frames[64];
  frame_rules.add(frame[1], planted);
  const std::uintptr_t registers[] = {
      frame[0], 0, 8, 0x7FFFFFFFFFF8, ~std::uintptr_t{7}, std::uintptr_t{1} << 63, 12345};
  for (const std::uintptr_t frame_register : registers) {
    walked = walk_frames({.return_address = frame[1],
                          .stack_pointer = address_of(frame + 2),
                          .frame_register = frame_register},
                         frames, 64)
                 .count;
    ASSERT_GE(walked, 1u);
  }
}

TEST_F(StackTraceTest, WrongRulesLeadToNoFault) {
  for (const Kind kind : {Kind::kFromStackPointer, Kind::kFromFrameRegister, Kind::kThroughFrame}) {
    for (const std::int64_t offset : {-262144, -4096, -8, 0, 8, 16, 4096, 130000, 262136}) {
      for (const std::uint32_t saved :
           {FrameRule::kUnchanged, FrameRule::kAtFrameRegister, 2u, FrameRule::kMostSavedWords}) {
        planted = FrameRule::make(kind, offset, saved);
        const Coroutine coroutine([] { walk_by_planted_rule(); });
        walk_by_planted_rule();
      }
    }
  }
}

TEST_F(StackTraceTest, ALibraryInTheOldOnesPlaceHasRulesOfItsOwn) {
  const char* const names[] = {CARREL_STACK_LIBRARY_SMALL, CARREL_STACK_LIBRARY_LARGE};
  std::uintptr_t last = 0;
  int at_the_same_place = 0;
  for (int i = 0; i < 6; ++i) {
    void* library = dlopen(names[i % 2], RTLD_NOW);
    ASSERT_NE(library, nullptr) << dlerror();
    auto* function = reinterpret_cast<int (*)(Look)>(dlsym(library, "call_back"));
    ASSERT_NE(function, nullptr);
    at_the_same_place += reinterpret_cast<std::uintptr_t>(function) == last ? 1 : 0;
    last = reinterpret_cast<std::uintptr_t>(function);
    // Some walks pass before one asks what was unloaded.
    for (int walk = 0; walk < 16; ++walk) function(look);
    looked = {};
    for (int walk = 0; walk < 20; ++walk) EXPECT_EQ(function(look), 4);
    expect_all_followed(20);
    dlclose(library);
  }
  EXPECT_GE(at_the_same_place, 1) << "the libraries were never at the same place";
}

/// While a thread holds the loader's lock in a callback of dl_iterate_phdr, the process forks: the
/// child, where nobody will ever free that lock, must still get stacks.
TEST_F(StackTraceTest, AChildOfThreadsAsksNotForTheLoadersLock) {
  int entered[2];
  int leave[2];
  ASSERT_EQ(pipe(entered), 0);
  ASSERT_EQ(pipe(leave), 0);
  int ends[2] = {entered[1], leave[0]};
  std::thread holder([&ends] {
    dl_iterate_phdr(
        [](dl_phdr_info*, std::size_t, void* argument) {
          const int* pipes = static_cast<int*>(argument);
          char byte = 0;
          return write(pipes[0], &byte, 1) == 1 && read(pipes[1], &byte, 1) == 1 ? 1 : 2;
        },
        ends);
  });
  char byte = 0;
  ASSERT_EQ(read(entered[0], &byte, 1), 1);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    const void* frames[64];
    for (int i = 0; i < 40; ++i) {
      if (LinuxOs::stack_trace(frames, 64) == 0) _exit(1);
    }
    _exit(0);
  }
  int status = -1;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ASSERT_EQ(write(leave[1], &byte, 1), 1);
  holder.join();
  for (const int end : {entered[0], entered[1], leave[0], leave[1]}) close(end);
}

}  // namespace
}  // namespace carrel::core

#endif
