// The walk, and what it may read.
#include "os/linux/frame_walk.h"

#include <errno.h>

#include "base/compiler.h"
#include "os/linux/frame_rules.h"
#include "os/linux/linux_os.h"
#include "os/linux/syscall.h"

namespace carrel::core {
namespace {

constexpr std::uintptr_t kStackPageBytes = 4096;

/// What the system answers that is asked for a change that there is not, with a signal mask at this
/// place: it reads the mask first.
long ask_to_read(std::uintptr_t address) {
  constexpr long kNoSuchChange = -1;
  return raw_syscall(SYS_rt_sigprocmask, kNoSuchChange, static_cast<long>(address & ~7ul), 0, 8);
}

/// Whether the word can be read. Null the system would take for no mask. Under Valgrind, which
/// would report the call, other words can be.
bool readable(std::uintptr_t address) {
  if (address < kStackPageBytes) return false;
  return LinuxOs::under_valgrind() || ask_to_read(address) == -EINVAL;
}

/// What a thread remembers from one walk to the next. No walk interrupts another: samples are not
/// taken within samples (heap/profiler.h), and an error report ends the process.
struct SeenStack {
  std::uintptr_t start = 0;  // of readable pages
  std::uintptr_t end = 0;
  std::uint32_t until_check = 0;  // walks, until unloaded libraries are asked for
};
[[gnu::tls_model(CARREL_TLS_MODEL)]] constinit thread_local SeenStack seen_stack;

constexpr std::uint32_t kWalksBetweenChecks = 16;

/// The readable pages around the stack pointer, and what is in them. Pages between two that are
/// read are looked at as well, if they are not too many, so that this is one range.
class StackPages {
 public:
  explicit StackPages(std::uintptr_t stack_pointer)
      : start_(seen_stack.start), end_(seen_stack.end) {
    if (CARREL_LIKELY(stack_pointer - start_ < end_ - start_)) return;
    const std::uintptr_t page = align_down(stack_pointer, kStackPageBytes);
    if (page > start_ || start_ - page > kMostNewBytes || !all_readable(page, start_)) {
      end_ = page + kStackPageBytes;
    }
    start_ = page;
    remember();
  }

  [[gnu::no_sanitize_address]] bool read(std::uintptr_t address, std::uintptr_t& word) {
    if (CARREL_UNLIKELY((address & 7) != 0)) return false;
    // The last page is where walks end, and may be what only looked like a part of the stack: what
    // another mapping has beside it may be gone by now.
    const std::uintptr_t certain = end_ - (end_asked_ ? 0 : kStackPageBytes);
    if (CARREL_UNLIKELY(address - start_ >= certain - start_) && !find(address)) return false;
    word = *at_address<const std::uintptr_t>(address);
    return true;
  }

 private:
  static constexpr std::uintptr_t kMostNewBytes = 64 * kStackPageBytes;

  static bool all_readable(std::uintptr_t page, std::uintptr_t end) {
    for (; page < end; page += kStackPageBytes) {
      if (!readable(page)) return false;
    }
    return true;
  }

  /// A stack that continues elsewhere, as some coroutines' do, is looked at each time.
  CARREL_NOINLINE bool find(std::uintptr_t address) {
    const std::uintptr_t page = align_down(address, kStackPageBytes);
    if (address - start_ < end_ - start_) {
      end_asked_ = readable(address);
      if (!end_asked_) {
        end_ = page;
        remember();
      }
      return end_asked_;
    }
    if (page < end_ || page - end_ >= kMostNewBytes || !all_readable(end_, page)) {
      return readable(address);
    }
    if (!readable(page)) return false;
    end_ = page + kStackPageBytes;
    end_asked_ = true;
    remember();
    return true;
  }

  void remember() const {
    seen_stack.start = start_;
    seen_stack.end = end_;
  }

  std::uintptr_t start_;
  std::uintptr_t end_;
  bool end_asked_ = false;  // the last page, in this walk
};

/// One frame up. False if its registers cannot be read.
CARREL_INLINE bool step(FrameRule rule, StackPages& pages, FrameRegisters& at) {
  const auto offset = static_cast<std::uintptr_t>(rule.offset());
  std::uintptr_t end = at.stack_pointer + offset;
  if (rule.kind() != FrameRule::Kind::kFromStackPointer) {
    end = at.frame_register + offset;
    if (rule.kind() == FrameRule::Kind::kThroughFrame && !pages.read(end, end)) return false;
  }
  if (!pages.read(end - 8, at.return_address)) return false;
  at.stack_pointer = end;
  const std::uint32_t saved = rule.saved();
  if (saved == FrameRule::kUnchanged) return true;
  return pages.read(
      saved == FrameRule::kAtFrameRegister ? at.frame_register : end - 8 * std::uintptr_t{saved},
      at.frame_register);
}

/// What to do at code that the table has no rule for; learned now, if it can be.
CARREL_NOINLINE FrameRule rule_of_new(std::uintptr_t return_address, bool& emptied) {
  const FrameRule rule = learn_frame_rule(return_address, emptied);
  if (rule.kind() != FrameRule::Kind::kNone) return rule;
  // In no object: made at run time, for which another unwinder may have been told of tables, or
  // not code at all, of which it had better not be asked.
  const bool code = readable(return_address) && readable(return_address + 8);
  return FrameRule(code ? FrameRule::Kind::kOther : FrameRule::Kind::kOutermost);
}

}  // namespace

bool can_tell_readable() {
  const std::uintptr_t word = 0;
  return LinuxOs::under_valgrind() ||
         (ask_to_read(address_of(&word)) == -EINVAL && ask_to_read(~std::uintptr_t{7}) == -EFAULT);
}

FrameWalk walk_frames(const FrameRegisters& first, const void** frames, std::size_t capacity) {
  if (CARREL_UNLIKELY(seen_stack.until_check-- == 0)) {
    seen_stack.until_check = kWalksBetweenChecks - 1;
    forget_unloaded_code();
  }
  StackPages pages(first.stack_pointer);
  FrameRegisters at = first;
  bool walked_anew = false;
  std::size_t count = 0;
  while (count < capacity && at.return_address != 0) {
    FrameRule rule = frame_rules.find(at.return_address);
    if (CARREL_UNLIKELY(rule.kind() == FrameRule::Kind::kNone)) {
      bool emptied = false;
      rule = rule_of_new(at.return_address, emptied);
      if (emptied && !walked_anew) {  // the rules followed so far may be of what is gone
        walked_anew = true;
        at = first;
        count = 0;
        continue;
      }
    }
    frames[count++] = at_address<const void>(at.return_address);
    if (CARREL_UNLIKELY(rule.kind() >= FrameRule::Kind::kOutermost)) {
      return {.count = count, .complete = rule.kind() == FrameRule::Kind::kOutermost};
    }
    if (!step(rule, pages, at)) break;
  }
  return {.count = count, .complete = true};
}

}  // namespace carrel::core
