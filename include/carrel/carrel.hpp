// carrel for C++20: a std::pmr::memory_resource and an STL allocator over the C API.
//
// Both are stateless handles on the process's one carrel heap: every instance is equal to
// every other, copies are free, and blocks may be freed through any of them from any
// thread. They throw std::bad_alloc on exhaustion and never call the new-handler.
#pragma once

#include <carrel/carrel.h>

#include <cstddef>
#include <limits>
#include <memory_resource>
#include <new>
#include <type_traits>

namespace carrel {

/// Alignment that every carrel block has without asking, in bytes.
inline constexpr std::size_t kDefaultAlignment = 16;

/// Storage of `bytes` at `alignment` (a power of two) or std::bad_alloc.
[[nodiscard]] inline void* allocate_bytes(std::size_t bytes, std::size_t alignment) {
  void* block = alignment <= kDefaultAlignment ? carrel_malloc(bytes)
                                               : carrel_aligned_alloc(alignment, bytes);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

/// Gives back what allocate_bytes(bytes, alignment) returned; null is ignored.
inline void deallocate_bytes(void* block, std::size_t bytes, std::size_t alignment) noexcept {
  if (alignment <= kDefaultAlignment) {
    carrel_free_sized(block, bytes);
  } else {
    carrel_free_sized_aligned(block, bytes, alignment);
  }
}

/// Has `handler(const carrel_shortage&)`, which returns whether to try again, called before a
/// request fails for want of memory: see carrel_set_shortage_handler. `handler` must outlive its
/// use.
template <class Handler>
void set_shortage_handler(Handler& handler) noexcept {
  const auto call = [](void* context, const carrel_shortage* shortage) -> int {
    return (*static_cast<Handler*>(context))(*shortage) ? 1 : 0;
  };
  carrel_set_shortage_handler(call, &handler);
}
inline void clear_shortage_handler() noexcept { carrel_set_shortage_handler(nullptr, nullptr); }

namespace detail {
template <class Hook>
void call_sample_hook(void* hook, const carrel_sample* sample) {
  (*static_cast<Hook*>(hook))(*sample);
}
}  // namespace detail

/// Calls `hook(const carrel_sample&)` for one sampled allocation in `interval` bytes (0: the option
/// profile_interval_kib), and with `frees` for the frees of what it was told of: see
/// carrel_sample_hook_add, which says what it may do. `hook` must outlive its use: until
/// remove_sample_hook(hook). CARREL_OK, or why not.
template <class Hook>
[[nodiscard]] carrel_result add_sample_hook(Hook& hook, std::size_t interval = 0,
                                            bool frees = false) noexcept {
  return carrel_sample_hook_add(detail::call_sample_hook<Hook>, &hook, interval, frees ? 1 : 0);
}
/// Afterwards no thread is in it.
template <class Hook>
carrel_result remove_sample_hook(Hook& hook) noexcept {
  return carrel_sample_hook_remove(detail::call_sample_hook<Hook>, &hook);
}

/// A polymorphic memory resource over carrel's heap. Thread-safe; stateless.
class MemoryResource final : public std::pmr::memory_resource {
 private:
  void* do_allocate(std::size_t bytes, std::size_t alignment) override {
    return allocate_bytes(bytes, alignment);
  }
  void do_deallocate(void* block, std::size_t bytes, std::size_t alignment) override {
    deallocate_bytes(block, bytes, alignment);
  }
  bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
    return dynamic_cast<const MemoryResource*>(&other) != nullptr;
  }
};

/// The process's memory resource; lives for ever, for example
/// `std::pmr::vector<int> v{carrel::memory_resource()};`.
inline std::pmr::memory_resource* memory_resource() noexcept {
  static MemoryResource resource;
  return &resource;
}

/// An STL allocator over carrel's heap: `std::vector<int, carrel::allocator<int>>`.
template <class T>
class allocator {  // NOLINT(readability-identifier-naming): named as the standard's is
 public:
  using value_type = T;
  using is_always_equal = std::true_type;
  using propagate_on_container_move_assignment = std::true_type;

  constexpr allocator() noexcept = default;
  template <class U>
  constexpr allocator(const allocator<U>&) noexcept {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] T* allocate(std::size_t count) {
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) {
      throw std::bad_array_new_length();
    }
    return static_cast<T*>(allocate_bytes(count * sizeof(T), alignof(T)));
  }
  void deallocate(T* block, std::size_t count) noexcept {
    deallocate_bytes(block, count * sizeof(T), alignof(T));
  }
  template <class U>
  friend constexpr bool operator==(const allocator&, const allocator<U>&) noexcept {
    return true;
  }
};

}  // namespace carrel
