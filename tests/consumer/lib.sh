# lib.sh: what the consumer tests share; sourced, never run. It makes the work folder and removes
# it, builds the consumer project against one prefix, and runs what was built.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # used by the scripts that source this file
work=$(mktemp -d "${TMPDIR:-/tmp}/carrel-consumer.XXXXXX")
trap 'rm -rf "$work"' EXIT

fail() {
  printf 'FAIL: %s\n' "$*" >&2
  exit 1
}

# run NAME COMMAND...: output shown under a heading; a failure names the step.
run() {
  local name=$1
  shift
  printf '== %s\n' "$name"
  "$@" || fail "$name"
}

# with_cmake PREFIX: find_package from PREFIX; C alone first, then C and C++.
with_cmake() {
  local prefix=$1 build=$work/cmake-c
  run "configure (C only)" cmake -S "$here/project" -B "$build" -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF
  grep -q "carrel_DIR:PATH=$prefix/" "$build/CMakeCache.txt" || fail "found another carrel"
  run "build (C only)" cmake --build "$build"
  run "C, shared" "$build/c_shared" shared
  run "C, static" "$build/c_static" static
  run "C, prefixed" "$build/c_prefixed" prefixed
  run "C, hardened" "$build/c_secure" shared
  run "C, hardened, static" "$build/c_secure_static" static
  run "C, wholly static" "$build/c_wholly_static" wholly-static
  no_cxx_runtime "$build/c_shared" "$build/c_static" "$build/c_prefixed"

  build=$work/cmake-cxx
  run "configure (C and C++)" cmake -S "$here/project" -B "$build" \
    -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF -DWITH_CXX=ON
  run "build (C and C++)" cmake --build "$build"
  run "C++, shared" "$build/cxx_shared" shared
  run "C++, static" "$build/cxx_static" static
  run "C++, prefixed" "$build/cxx_prefixed" prefixed
}

# with_pkg_config PREFIX LIBDIR: the same by hand, with what pkg-config prints.
with_pkg_config() {
  local prefix=$1 libdir=$2 out=$work/pkg-config
  local -a flags
  mkdir -p "$out"
  local -x PKG_CONFIG_PATH=$libdir/pkgconfig
  [[ $(pkg-config --variable=includedir carrel) -ef $prefix/include ]] ||
    fail "pkg-config's carrel is not the one under $prefix"
  read -r -a flags <<<"$(pkg-config --cflags --libs carrel)"
  run "pkg-config, shared: cc ${flags[*]}" \
    cc "$here/project/prove.c" -o "$out/shared" "${flags[@]}" -Wl,-rpath,"$libdir"
  run "pkg-config, shared" "$out/shared" shared
  read -r -a flags <<<"$(pkg-config --static --cflags --libs carrel)"
  run "pkg-config, static: cc -static ${flags[*]}" \
    cc -static "$here/project/prove.c" -o "$out/static" "${flags[@]}"
  run "pkg-config, static" "$out/static" wholly-static
  read -r -a flags <<<"$(pkg-config --cflags --libs carrel-prefixed)"
  run "pkg-config, prefixed: c++ ${flags[*]}" \
    c++ -std=c++20 "$here/project/prove_cxx.cc" -o "$out/prefixed" "${flags[@]}"
  run "pkg-config, prefixed" "$out/prefixed" prefixed
}

# A C program must not have been given the C++ runtime.
no_cxx_runtime() {
  local program
  for program in "$@"; do
    if readelf -d "$program" | grep -q 'NEEDED.*libstdc++'; then
      fail "$program needs libstdc++"
    fi
  done
}

# with_hook LIBDIR COMMAND: a static program is linked with the recording hook as pkg-config says,
# and the command records it.
with_hook() {
  local libdir=$1 command=$2
  local -a flags
  read -r -a flags <<<"$(PKG_CONFIG_PATH=$libdir/pkgconfig pkg-config --libs carrel-hook)"
  printf '%s\n' '#include <stdlib.h>' 'int main(void) { free(malloc(12345)); return 0; }' \
    >"$work/hooked.c"
  run "link with the hook" cc -static -fno-builtin "$work/hooked.c" -o "$work/hooked" "${flags[@]}"
  run "carrel record of a static program" "$command" record -o "$work/hooked.crl" -- "$work/hooked"
  "$command" trace info --events "$work/hooked.crl" | grep -q 'malloc.* size=12345' ||
    fail "the static program's allocation was not recorded"
  printf '%s\n' 'cmake_minimum_required(VERSION 3.22)' 'project(hooked C)' \
    'find_package(carrel REQUIRED)' 'add_executable(hooked hooked.c)' \
    'target_link_libraries(hooked PRIVATE carrel::hook)' >"$work/CMakeLists.txt"
  run "configure" cmake -S "$work" -B "$work/hook" -Dcarrel_DIR="$libdir/cmake/carrel"
  run "build with carrel::hook" cmake --build "$work/hook"
  readelf -nW "$work/hook/hooked" | grep -q note.carrel.hook || fail "carrel::hook links no hook"
}
