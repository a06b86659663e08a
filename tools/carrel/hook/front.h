// The names under which the hook's functions stand in front of the allocator's, and how they reach
// the operators behind them. Preloaded, they have the functions' own names and the dynamic linker
// knows the next ones. Linked in (CARREL_HOOK_LINKED), the linker is told --wrap=NAME: it directs
// calls of NAME to __wrap_NAME, and __real_NAME to what NAME was.
#pragma once

#define HOOK_API extern "C" __attribute__((visibility("default")))

#ifdef CARREL_HOOK_LINKED

#define HOOK_FRONT(name) __wrap_##name
#define HOOK_OPERATOR(result, mangled, kind, parameters, quality, types) \
  extern "C" result __real_##mangled types;                              \
  HOOK_API result __wrap_##mangled parameters quality
#define HOOK_NEXT_OPERATOR(result, mangled, types) &__real_##mangled

#else

#define HOOK_FRONT(name) name
#define HOOK_OPERATOR(result, mangled, kind, parameters, quality, types) \
  __attribute__((visibility("default"))) result operator kind parameters quality
#define HOOK_NEXT_OPERATOR(result, mangled, types)                           \
  [] {                                                                       \
    static result(*function) types;                                          \
    if (function == nullptr) [[unlikely]] {                                  \
      function = reinterpret_cast<result(*) types>(find_operator(#mangled)); \
    }                                                                        \
    return function;                                                         \
  }()

#endif
