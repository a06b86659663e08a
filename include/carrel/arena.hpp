// Arenas for C++20: an owner that is also a std::pmr::memory_resource, and an STL allocator.
//
// An arena gives all its blocks back at once, in a time that depends on the memory they are in
// and not on their number. Everything but construction, move and destruction may be called from
// any thread. Units are bytes. What cannot be had throws std::bad_alloc.
#pragma once

#include <carrel/carrel.h>

#include <cstddef>
#include <limits>
#include <memory_resource>
#include <new>
#include <utility>

namespace carrel {

/// Owns an arena; what was allocated from it must not be used after the owner's end.
class Arena final : public std::pmr::memory_resource {
 public:
  Arena() : arena_(carrel_arena_create()) {
    if (arena_ == nullptr) throw std::bad_alloc();
  }
  /// One that takes no more than this from the system; SIZE_MAX for no limit.
  explicit Arena(std::size_t limit_bytes) : Arena() { set_limit(limit_bytes); }
  ~Arena() override { carrel_arena_destroy(arena_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Gives every block back; destructors of what they hold are not called.
  void reset() noexcept { carrel_arena_reset(arena_); }
  void set_limit(std::size_t bytes) noexcept { carrel_arena_set_limit(arena_, bytes); }

  /// Has `handler(const carrel_shortage&)`, which returns whether to try again, called before a
  /// request of this arena fails; it must outlive its use. See carrel_arena_set_shortage_handler.
  template <class Handler>
  void set_shortage_handler(Handler& handler) noexcept {
    const auto call = [](void* context, const carrel_shortage* shortage) -> int {
      return (*static_cast<Handler*>(context))(*shortage) ? 1 : 0;
    };
    carrel_arena_set_shortage_handler(arena_, call, &handler);
  }
  void clear_shortage_handler() noexcept {
    carrel_arena_set_shortage_handler(arena_, nullptr, nullptr);
  }

  [[nodiscard]] carrel_arena_stats statistics() const noexcept {
    carrel_arena_stats stats{};
    carrel_arena_stats_read(arena_, &stats, sizeof stats);
    return stats;
  }

  /// Calls visit(void* block, std::size_t size) for every live block. It must not use the arena,
  /// and must not throw.
  template <class Visit>
  void for_each_block(Visit visit) const {
    const auto call = [](void* context, void* block, std::size_t size) {
      (*static_cast<Visit*>(context))(block, size);
      return 1;
    };
    carrel_arena_walk(arena_, call, &visit);
  }

  /// A new object in the arena; its destructor is the caller's to call, if it needs one.
  template <class T, class... Arguments>
  [[nodiscard]] T* make(Arguments&&... arguments) {
    void* block = allocate(sizeof(T), alignof(T));
    try {
      return ::new (block) T(std::forward<Arguments>(arguments)...);
    } catch (...) {
      carrel_free(block);
      throw;
    }
  }

  /// The C handle, for the functions of carrel.h.
  [[nodiscard]] carrel_arena* handle() const noexcept { return arena_; }

 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    void* block = carrel_arena_aligned_alloc(arena_, alignment, bytes);
    if (block == nullptr) throw std::bad_alloc();
    return block;
  }
  void do_deallocate(void* block, std::size_t, std::size_t) override { carrel_free(block); }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return this == &other;
  }

  carrel_arena* arena_;
};

/// An STL allocator over an arena, which must outlive the container:
/// `std::vector<int, carrel::arena_allocator<int>> v{carrel::arena_allocator<int>(arena)};`.
template <class T>
class arena_allocator {  // NOLINT(readability-identifier-naming): named as the standard's are
 public:
  using value_type = T;

  explicit arena_allocator(const Arena& arena) noexcept : arena_(arena.handle()) {}
  template <class U>
  arena_allocator(const arena_allocator<U>& other) noexcept  // NOLINT(google-explicit-constructor)
      : arena_(other.handle()) {}

  [[nodiscard]] T* allocate(std::size_t count) {
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) {
      throw std::bad_array_new_length();
    }
    void* block = carrel_arena_aligned_alloc(arena_, alignof(T), count * sizeof(T));
    if (block == nullptr) throw std::bad_alloc();
    return static_cast<T*>(block);
  }
  void deallocate(T* block, std::size_t) noexcept { carrel_free(block); }

  [[nodiscard]] carrel_arena* handle() const noexcept { return arena_; }
  template <class U>
  friend bool operator==(const arena_allocator& a, const arena_allocator<U>& b) noexcept {
    return a.handle() == b.handle();
  }

 private:
  carrel_arena* arena_;
};

}  // namespace carrel
