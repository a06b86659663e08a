#!/usr/bin/env bash
# install_test.sh BUILD_DIR: installs a build to a temporary prefix, moves the prefix elsewhere, and
# uses it from an out-of-tree project through find_package and through pkg-config.
set -euo pipefail
(($# == 1)) || {
  echo "usage: install_test.sh BUILD_DIR" >&2
  exit 2
}
build=$(cd "$1" && pwd)
# shellcheck source=tests/consumer/lib.sh
source "$(dirname "$0")/lib.sh"

run "install" cmake --install "$build" --prefix "$work/first"
# Nothing in the tree may remember where it was installed to.
mv "$work/first" "$work/prefix"
libdir=$(dirname "$(find "$work/prefix" -name libcarrel.so)")
for file in include/carrel/{carrel.h,carrel.hpp,control.hpp,arena.hpp,jemalloc_compat.h} \
  share/man/man3/carrel.3; do
  [[ -f $work/prefix/$file ]] || fail "$file was not installed"
done
for file in libcarrel.so libcarrel.so.0 libcarrel.a libcarrel-prefixed.a libcarrel-secure.so \
  libcarrel-secure.a; do
  [[ -e $libdir/$file ]] || fail "$file was not installed"
done
compgen -G "$libdir/libcarrel.so.*-gdb.py" >/dev/null || fail "gdb's script was not installed"
if [[ -x $build/bin/carrel ]]; then
  # The command finds what it preloads from where it lies.
  run "carrel profile" "$work/prefix/bin/carrel" profile -o "$work/profile" -- /bin/sh -c 'echo ran'
  with_hook "$libdir" "$work/prefix/bin/carrel"
fi
with_cmake "$work/prefix"
with_pkg_config "$work/prefix" "$libdir"
echo "installed carrel works from find_package and pkg-config"
