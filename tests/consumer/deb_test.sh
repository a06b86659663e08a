#!/usr/bin/env bash
# deb_test.sh BUILD_DIR: makes the Debian packages, unpacks them and uses them from there. As root,
# on a machine that has no carrel package, it also installs them with dpkg, uses them as a user
# would (preload by name, find_package and pkg-config without any path, the carrel command) and
# removes them again.
set -euo pipefail
(($# == 1)) || {
  echo "usage: deb_test.sh BUILD_DIR" >&2
  exit 2
}
build=$(cd "$1" && pwd)
# shellcheck source=tests/consumer/lib.sh
source "$(dirname "$0")/lib.sh"

run "cpack" cpack -G DEB --config "$build/CPackConfig.cmake" -B "$work/package"
deb=$(find "$work/package" -maxdepth 1 -name 'carrel_*.deb')
[[ -f $deb ]] || fail "cpack made no .deb of the library"
tools=$(find "$work/package" -maxdepth 1 -name 'carrel-tools_*.deb')
[[ -n $tools || ! -x $build/bin/carrel ]] || fail "cpack made no .deb of the carrel command"
run "package information" dpkg-deb --info "$deb"
[[ $(dpkg-deb --field "$deb" Package) == carrel ]] || fail "the package is not called carrel"
dpkg-deb --field "$deb" Depends | grep -q '^libc6 (>= [0-9.]*)$' ||
  fail "the package must depend on libc6 and nothing else"

run "unpack" dpkg-deb -x "$deb" "$work/root"
! compgen -G "$work/root/usr/lib/*-gdb.py" >/dev/null ||
  fail "the package has gdb's script, but no debug information for it"
with_cmake "$work/root/usr"
rm -rf "$work"/cmake-*
with_pkg_config "$work/root/usr" "$work/root/usr/lib"

# with_command ROOT: the carrel command under ROOT does its work with what lies there.
with_command() {
  local root=$1
  local command=$root/usr/bin/carrel
  [[ $("$command" --version) == "carrel $(dpkg-deb --field "$deb" Version)" ]] ||
    fail "carrel --version is not the package's"
  run "carrel doctor" "$command" doctor --alloc carrel -- /bin/true | tee "$work/doctor"
  grep -q "^malloc *$root/usr/lib/libcarrel.so" "$work/doctor" ||
    fail "carrel doctor did not find the package's library"
  run "carrel record" "$command" record -o "$work/t.crl" -- /bin/sh -c 'echo recorded'
  run "carrel replay" "$command" replay --runs 1 "$work/t.crl" --alloc glibc,carrel
  run "carrel compare" "$command" compare --runs 2 --alloc glibc,carrel -- /bin/true
  run "carrel profile" "$command" profile -o "$work/profile" -- /bin/sh -c 'echo profiled'
  run "carrel report" "$command" report "$work/profile" -o "$work/r.html"
  for file in man/man1/carrel.1 bash-completion/completions/carrel \
    zsh/vendor-completions/_carrel fish/vendor_completions.d/carrel.fish; do
    compgen -G "$root/usr/share/$file*" >/dev/null || fail "the package lacks share/$file"
  done
}
if [[ -n $tools ]]; then
  run "package information" dpkg-deb --info "$tools"
  dpkg-deb --field "$tools" Depends | grep -q "carrel (= $(dpkg-deb --field "$deb" Version))" ||
    fail "carrel-tools must depend on the library of its version"
  run "unpack" dpkg-deb -x "$tools" "$work/root"
  with_command "$work/root"
  with_hook "$work/root/usr/lib" "$work/root/usr/bin/carrel"
fi

# dpkg COMMAND...: waits while another package manager holds the lock.
dpkg_patiently() {
  local _
  for _ in $(seq 60); do
    if dpkg "$@" 2>"$work/dpkg.err"; then return 0; fi
    grep -q 'lock' "$work/dpkg.err" || break
    sleep 1
  done
  cat "$work/dpkg.err" >&2
  return 1
}

if ((EUID != 0)); then
  echo "not root: the package was unpacked and used, not installed"
elif dpkg-query -W -f '${db:Status-Abbrev}' carrel 2>/dev/null | grep -q '^.[^n]'; then
  echo "a carrel package is installed here: the new one was unpacked and used, not installed"
else
  trap 'dpkg_patiently --purge carrel-tools carrel >/dev/null || true; rm -rf "$work"' EXIT
  run "dpkg -i" dpkg_patiently -i "$deb"
  ldconfig -p | grep -q 'libcarrel\.so\.0 ' || fail "ldconfig does not know libcarrel.so.0"
  cc "$here/project/prove.c" -o "$work/plain" -lcarrel
  run "linked with -lcarrel" "$work/plain" shared
  c++ -std=c++20 "$here/project/prove_cxx.cc" -o "$work/plain_cxx" -lcarrel-prefixed
  run "a C++ program, preloaded by name" env LD_PRELOAD=libcarrel.so.0 "$work/plain_cxx" shared
  run "configure without a path" cmake -S "$here/project" -B "$work/system"
  run "build" cmake --build "$work/system"
  run "C, shared" "$work/system/c_shared" shared
  pkg-config --exists carrel carrel-prefixed || fail "pkg-config does not find the package"
  if [[ -n $tools ]]; then
    run "dpkg -i" dpkg_patiently -i "$tools"
    with_command ""
    run "dpkg --purge" dpkg_patiently --purge carrel-tools
    [[ ! -e /usr/bin/carrel && ! -e /usr/libexec/carrel ]] ||
      fail "the removed package left files behind"
  fi
  run "dpkg --purge" dpkg_patiently --purge carrel
  [[ ! -e /usr/lib/libcarrel.so.0 && ! -e /usr/include/carrel ]] ||
    fail "the removed package left files behind"
  trap 'rm -rf "$work"' EXIT
fi
echo "the package works"
