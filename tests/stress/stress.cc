// Seeded random operations from many threads, every block's contents, alignment and size
// checked; blocks travel between threads through mailboxes; threads die and are replaced;
// purges come in between. On a failure it prints what was wrong and the replay command.
//
// The operations of a thread follow from the seed; how threads interleave does not, so a
// race may take several replays. Long runs: stress --seconds 3600 --seed 1 --threads 16.
#include <getopt.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdarg>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "operations.h"
#include "shadow.h"
#ifndef CARREL_STRESS_PREFIXED
#include "../api/support/override.h"
#endif

namespace stress {
namespace {

struct Settings {
  std::uint64_t seed = 0;
  int threads = 8;
  double seconds = 5;
  std::uint64_t operations = 0;  // per thread and life; 0: until the time is over
  std::size_t live_mib = 64;     // all threads together
};

Settings settings;
char replay_command[256];

[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char* format, ...) {
  static std::mutex only_one;
  only_one.lock();
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  char line[1024];
  const int length = snprintf(line, sizeof line, "stress: %s\nreplay: %s\n", text, replay_command);
  if (write(STDERR_FILENO, line, static_cast<std::size_t>(length)) != length) _exit(3);
  abort();  // not _exit: a core file or a debugger sees every thread
}

struct Held {
  Shadow shadow;
  Kind kind = Kind::kPlain;
};

/// Blocks on their way between threads: a slot holds one or none.
constexpr std::size_t kMailboxes = 1024;
std::atomic<Held*> mailboxes[kMailboxes];
std::atomic<std::uint64_t> total_operations{0};
std::atomic<std::uint64_t> next_tag{1};

void check(const Held& held, const char* when) {
  const Shadow& shadow = held.shadow;
  const std::size_t damage = first_damage(shadow, shadow.bytes, shadow.size);
  if (damage != shadow.size) {
    fail("%s: block %p of %zu bytes (alignment %zu, tag %llu) lost its contents at offset %zu",
         when, static_cast<void*>(shadow.bytes), shadow.size, shadow.alignment,
         static_cast<unsigned long long>(shadow.tag), damage);
  }
}

/// One thread's life.
class Worker {
 public:
  Worker(std::uint64_t seed, std::size_t budget) : random_(seed), budget_bytes_(budget) {}

  template <class Continue>
  void run(Continue keep_going) {
    std::uint64_t count = 0;
    while (keep_going(count)) {
      step();
      ++count;
    }
    while (!held_.empty()) release(held_.size() - 1);
    total_operations += count;
  }

 private:
  void step() {
    if (live_bytes_ > budget_bytes_ || held_.size() > kMaxHeld) {
      for (int i = 0; i < 20 && !held_.empty(); ++i) release(random_.below(held_.size()));
      return;
    }
    const std::uint64_t choice = random_.below(1000);
    if (choice < 440) return allocate();
    if (choice < 780) return release_some();
    if (choice < 880) return resize();
    if (choice < 985) return exchange();
    if (choice < 995) return inspect();
    if (choice < 996) return burst();
    if (choice < 999 || !random_.one_in(20)) return inspect();
    if (random_.one_in(2)) return static_cast<void>(carrel_purge());
    check_all();
  }

  std::size_t pick_size() {
    const std::uint64_t choice = random_.below(1000);
    if (choice < 2) return random_.below(6 << 20);
    if (choice < 8) return random_.below(600 << 10);
    if (choice < 40) return random_.below(40 << 10);
    if (choice < 50) return 0;
    // Around a power of two, where classes end, or anywhere.
    if (choice < 500) return (std::size_t{1} << random_.below(13)) + random_.below(5) - 1;
    return random_.below(1500);
  }

  std::size_t pick_alignment() {
    const std::uint64_t shift = random_.one_in(50) ? random_.below(24) : random_.below(13);
    return std::size_t{1} << shift;
  }

  void hold(Held held, const char* what) {
    Shadow& shadow = held.shadow;
    if (shadow.bytes == nullptr) {
      fail("%s of %zu bytes (alignment %zu) failed", what, shadow.size, shadow.alignment);
    }
    const std::size_t promised = shadow.alignment < 16 ? 16 : shadow.alignment;
    const bool plain = held.kind == Kind::kPlain || held.kind == Kind::kNew;
    if (reinterpret_cast<std::uintptr_t>(shadow.bytes) % (plain ? 16 : shadow.alignment) != 0) {
      fail("%s of %zu bytes returned %p, not aligned to %zu", what, shadow.size,
           static_cast<void*>(shadow.bytes), plain ? 16 : promised);
    }
    if (carrel_usable_size(shadow.bytes) < shadow.size) {
      fail("%s of %zu bytes returned a block of %zu", what, shadow.size,
           carrel_usable_size(shadow.bytes));
    }
    shadow.tag = next_tag.fetch_add(1, std::memory_order_relaxed);
    fill(shadow);
    live_bytes_ += shadow.size;
    held_.push_back(held);
  }

  void allocate() {
    Held held;
    Shadow& shadow = held.shadow;
    shadow.size = pick_size();
    const unsigned how = static_cast<unsigned>(random_.next() >> 40);
    switch (random_.below(8)) {
      case 0: {
        shadow.bytes = static_cast<unsigned char*>(Operations::allocate_zeroed(shadow.size));
        for (std::size_t i = 0; shadow.bytes != nullptr && i < shadow.size; ++i) {
          if (shadow.bytes[i] != 0) {
            fail("calloc of %zu bytes returned %p with byte %zu not zero", shadow.size,
                 static_cast<void*>(shadow.bytes), i);
          }
        }
        return hold(held, "calloc");
      }
      case 1:
        held.kind = Kind::kAligned;
        shadow.alignment = pick_alignment();
        shadow.bytes = static_cast<unsigned char*>(
            Operations::allocate_aligned(shadow.alignment, shadow.size, how));
        return hold(held, "aligned allocation");
      case 2:
        held.kind = Kind::kNew;
        shadow.bytes = static_cast<unsigned char*>(Operations::create(shadow.size));
        return hold(held, "operator new");
      case 3:
        held.kind = Kind::kAlignedNew;
        shadow.alignment = pick_alignment();
        shadow.bytes =
            static_cast<unsigned char*>(Operations::create_aligned(shadow.alignment, shadow.size));
        return hold(held, "aligned operator new");
      default:
        shadow.bytes = static_cast<unsigned char*>(Operations::allocate(shadow.size, how));
        return hold(held, "malloc");
    }
  }

  /// Takes the block at `index` out of the list.
  Held take(std::size_t index) {
    Held held = held_[index];
    held_[index] = held_.back();
    held_.pop_back();
    live_bytes_ -= held.shadow.size;
    return held;
  }

  void give_back(const Held& held, const char* when) {
    check(held, when);
    const Shadow& shadow = held.shadow;
    Operations::release(shadow.bytes, held.kind, shadow.size, shadow.alignment,
                        static_cast<unsigned>(random_.next() >> 40));
  }

  void release(std::size_t index) { give_back(take(index), "at free"); }

  void release_some() {
    for (int i = 0; i < 2 && !held_.empty(); ++i) release(random_.below(held_.size()));
  }

  void resize() {
    if (held_.empty()) return allocate();
    const std::size_t index = random_.below(held_.size());
    if (held_[index].kind != Kind::kPlain) return;
    Held held = take(index);
    check(held, "before realloc");
    std::size_t size = pick_size();
    if (random_.one_in(3) && held.shadow.size < kMaxGrown) size = held.shadow.size * 3 / 2;
    if (size == 0) size = 1;
    auto* moved = static_cast<unsigned char*>(
        Operations::resize(held.shadow.bytes, size, static_cast<unsigned>(random_.next() >> 40)));
    if (moved == nullptr) fail("realloc from %zu to %zu bytes failed", held.shadow.size, size);
    const std::size_t kept = size < held.shadow.size ? size : held.shadow.size;
    const std::size_t damage = first_damage(held.shadow, moved, kept);
    if (damage != kept) {
      fail("realloc from %zu to %zu bytes (%p to %p) lost byte %zu", held.shadow.size, size,
           static_cast<void*>(held.shadow.bytes), static_cast<void*>(moved), damage);
    }
    held.shadow.bytes = moved;
    held.shadow.size = size;
    hold(held, "realloc");
  }

  /// Leaves a block in a mailbox and frees, or keeps, what another thread had left there.
  void exchange() {
    std::atomic<Held*>& box = mailboxes[random_.below(kMailboxes)];
    Held* sent = nullptr;
    if (!held_.empty() && !random_.one_in(8)) {
      sent = static_cast<Held*>(Operations::create(sizeof(Held)));
      *sent = take(random_.below(held_.size()));
    }
    Held* received = box.exchange(sent, std::memory_order_acq_rel);
    if (received == nullptr) return;
    const Held held = *received;
    Operations::release(received, Kind::kNew, sizeof(Held), 1, 1);
    if (random_.one_in(4)) {
      check(held, "received from another thread");
      live_bytes_ += held.shadow.size;
      held_.push_back(held);
    } else {
      give_back(held, "at another thread's free");
    }
  }

  void inspect() {
    if (held_.empty()) return;
    const Held& held = held_[random_.below(held_.size())];
    check(held, "at inspection");
    const std::size_t usable = carrel_usable_size(held.shadow.bytes);
    if (usable < held.shadow.size) {
      fail("usable size of %p is %zu, but %zu were asked for",
           static_cast<void*>(held.shadow.bytes), usable, held.shadow.size);
    }
  }

  /// Many blocks of one size at once, then all of them freed: fills and empties slabs.
  void burst() {
    const std::size_t size = random_.below(2000);
    const std::size_t count = random_.below(3000);
    std::vector<Held> blocks;
    for (std::size_t i = 0; i < count; ++i) {
      Held held;
      held.shadow.size = size;
      held.shadow.bytes = static_cast<unsigned char*>(Operations::allocate(size, 3));
      if (held.shadow.bytes == nullptr) fail("malloc of %zu bytes failed in a burst", size);
      held.shadow.tag = next_tag.fetch_add(1, std::memory_order_relaxed);
      fill(held.shadow);
      blocks.push_back(held);
    }
    for (const Held& held : blocks) give_back(held, "at the end of a burst");
  }

  void check_all() {
    for (const Held& held : held_) check(held, "at the check of all");
  }

  static constexpr std::size_t kMaxHeld = 20000;
  static constexpr std::size_t kMaxGrown = 1 << 20;
  Random random_;
  std::size_t budget_bytes_;
  std::size_t live_bytes_ = 0;
  std::vector<Held> held_;
};

/// A place for threads: one lives and dies here after the other.
void lives(int place) {
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::microseconds(static_cast<long long>(settings.seconds * 1e6));
  const std::size_t budget = (settings.live_mib << 20) / static_cast<std::size_t>(settings.threads);
  Random random(settings.seed * 1000003 + static_cast<std::uint64_t>(place));
  for (int life = 0;; ++life) {
    const std::uint64_t seed = random.next();
    const std::uint64_t span =
        settings.operations != 0 ? settings.operations : 1000 + random.below(200000);
    std::thread([&] {
      Worker worker(seed, budget);
      worker.run([&](std::uint64_t count) {
        return count < span && (settings.operations != 0 || std::chrono::steady_clock::now() < end);
      });
    }).join();
    if (settings.operations != 0 || std::chrono::steady_clock::now() >= end) return;
  }
}

int usage(const char* program) {
  fprintf(stderr,
          "usage: %s [--seed N] [--threads N] [--seconds S] [--live-mib N] [--operations N]\n"
          "  --operations N   each of the threads does N operations, once; --seconds is ignored\n",
          program);
  return 2;
}

bool read_settings(int argc, char** argv) {
  settings.seed =
      static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) %
      1000000007;
  const option options[] = {{"seed", 1, nullptr, 's'},       {"threads", 1, nullptr, 't'},
                            {"seconds", 1, nullptr, 'S'},    {"live-mib", 1, nullptr, 'm'},
                            {"operations", 1, nullptr, 'o'}, {nullptr, 0, nullptr, 0}};
  for (int option; (option = getopt_long(argc, argv, "", options, nullptr)) != -1;) {
    switch (option) {
      case 's':
        settings.seed = strtoull(optarg, nullptr, 10);
        break;
      case 't':
        settings.threads = atoi(optarg);
        break;
      case 'S':
        settings.seconds = atof(optarg);
        break;
      case 'm':
        settings.live_mib = strtoull(optarg, nullptr, 10);
        break;
      case 'o':
        settings.operations = strtoull(optarg, nullptr, 10);
        break;
      default:
        return false;
    }
  }
  return optind == argc && settings.threads > 0 && settings.threads <= 1000 &&
         settings.seconds > 0 && settings.live_mib > 0;
}

int run(int argc, char** argv) {
  if (!read_settings(argc, argv)) return usage(argv[0]);
  snprintf(replay_command, sizeof replay_command,
           "%s --seed %llu --threads %d --seconds %g --live-mib %zu --operations %llu", argv[0],
           static_cast<unsigned long long>(settings.seed), settings.threads, settings.seconds,
           settings.live_mib, static_cast<unsigned long long>(settings.operations));
  fprintf(stderr, "replay: %s\n", replay_command);
  std::vector<std::thread> places;
  for (int place = 0; place < settings.threads; ++place) places.emplace_back(lives, place);
  for (std::thread& place : places) place.join();
  for (std::atomic<Held*>& box : mailboxes) {
    Held* held = box.exchange(nullptr);
    if (held == nullptr) continue;
    check(*held, "left in a mailbox");
    Operations::release(held->shadow.bytes, held->kind, held->shadow.size, held->shadow.alignment,
                        1);
    Operations::release(held, Kind::kNew, sizeof(Held), 1, 1);
  }
  fprintf(stderr, "stress: %llu operations, no damage\n",
          static_cast<unsigned long long>(total_operations.load()));
  return 0;
}

}  // namespace
}  // namespace stress

int main(int argc, char** argv) {
#ifndef CARREL_STRESS_PREFIXED
  require_override();
#endif
  return stress::run(argc, argv);
}
