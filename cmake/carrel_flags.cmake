# carrel_flags: how carrel's own code is compiled and its shared library linked, each flag with its
# reason. Programs that use carrel inherit none of this.

# --- sanitizers: set for everything below, tests included -------------------------------------
# address and thread bring a runtime that must own malloc itself, so that only the prefixed library
# is built with them. undefined traps instead of reporting: it needs no runtime, which would
# allocate through the code under test, and so the overriding libraries are built as usual.
set(CARREL_HAS_OVERRIDE ON)
if(CARREL_SANITIZE STREQUAL "undefined")
  add_compile_options(-fsanitize=undefined)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    add_compile_options(-fsanitize-trap=undefined)
  else()
    add_compile_options(-fsanitize-undefined-trap-on-error)
  endif()
elseif(CARREL_SANITIZE MATCHES "^(address|thread)$")
  set(CARREL_HAS_OVERRIDE OFF)
  add_compile_options(-fsanitize=${CARREL_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${CARREL_SANITIZE})
elseif(CARREL_SANITIZE)
  message(FATAL_ERROR "CARREL_SANITIZE is '${CARREL_SANITIZE}'; use address, thread or undefined")
endif()

add_library(carrel_warnings INTERFACE)
target_compile_options(carrel_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wundef -Wpointer-arith -Wcast-qual -Wvla -Wimplicit-fallthrough
  $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor -Woverloaded-virtual>
  # What a designated initialiser leaves out is meant to be zero.
  $<$<COMPILE_LANGUAGE:CXX>:-Wno-missing-field-initializers>
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wduplicated-cond -Wlogical-op>
  $<$<BOOL:${CARREL_WERROR}>:-Werror>)

add_library(carrel_core_flags INTERFACE)
target_link_libraries(carrel_core_flags INTERFACE carrel_warnings)
target_compile_options(carrel_core_flags INTERFACE
  # The same bytes wherever the sources and the build are: no path of theirs is in the debug
  # information, and so in the build id. The last one that matches counts.
  "-ffile-prefix-map=${CMAKE_CURRENT_SOURCE_DIR}/="
  "-ffile-prefix-map=${CMAKE_BINARY_DIR}=build"
  # The core may be entered before the C++ runtime is up, from C programs that have none, and with
  # no memory left: no exceptions, no RTTI, no guarded statics (their guards come from libstdc++).
  -fno-exceptions -fno-rtti -fno-threadsafe-statics
  # Only what the version script names is visible, and internal calls bind directly. No symbol is
  # made unique across the process: two libraries may carry a carrel each.
  -fvisibility=hidden -fvisibility-inlines-hidden
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique>
  # Thread-local state by one fixed offset: no __tls_get_addr, which itself may allocate.
  -ftls-model=initial-exec
  # The compiler must not reason about the functions defined here, for example drop a pair of
  # malloc and free, or turn malloc and memset inside calloc into a call of calloc.
  -fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free
  # Two counters side by side are not worth a vector: its constants would lie in memory, on a page
  # that nothing else needs when a process starts.
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-tree-slp-vectorize>
  # The canary check would sit on the fast path; no buffer lives on our stack.
  -fno-stack-protector
  # The few libc calls go through the GOT: bound at start (-z now), no lazy stub to run in malloc.
  -fno-plt
  # With --gc-sections, and in a static program, only what is used remains.
  -ffunction-sections -fdata-sections)

# The linker flags of libcarrel.so.
set(carrel_shared_link_options
  # All symbols are resolved at load, then the GOT is read-only: nothing of ours is a jump table
  # that an attacker can write, and no call to the lazy binder from within malloc.
  LINKER:-z,now LINKER:-z,relro
  # A strong symbol that libc does not have fails here and not in the user's process.
  LINKER:-z,defs
  # Never unmapped: thread-exit keys, fork handlers and a helper thread point into it.
  LINKER:-z,nodelete
  LINKER:--gc-sections
  # Segments begin where the kernel's 64 KiB of pages around a fault begin: the code that every
  # process runs is mapped by one fault.
  LINKER:-z,max-page-size=65536
  # No -Bsymbolic-functions: the core calls no exported function, and where a form of operator new
  # or delete has to call another one, it must reach the program's when the program replaces it.
  LINKER:--hash-style=gnu)
