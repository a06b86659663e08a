#!/usr/bin/env python3
"""compiler_shape: a program of rustc's shape takes carrel as rustc takes its allocator.

rustc is a small executable that links its driver as a dynamic library, the standard library as
another, and names the allocator's crate in a macro of the driver's: this builds such a program in
small, with `extern crate carrel_sys` (feature override) in that macro, and looks whose memory the
libraries get. It is not rustc; docs/RUSTC.md says what that leaves open.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cargo

DRIVER = """
use std::ffi::{c_char, c_int, c_void, CStr};

#[macro_export]
macro_rules! override_c_allocator_in_binary {
    () => { extern crate carrel_sys as _; };
}

#[repr(C)]
struct Place { file: *const c_char, base: *mut c_void, name: *const c_char, at: *mut c_void }

extern "C" {
    fn malloc(size: usize) -> *mut c_void;
    fn free(block: *mut c_void);
    fn posix_memalign(block: *mut *mut c_void, alignment: usize, size: usize) -> c_int;
    fn dladdr(address: *const c_void, place: *mut Place) -> c_int;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

fn file_of(address: *const c_void) -> String {
    unsafe {
        let mut place = std::mem::zeroed::<Place>();
        assert_ne!(dladdr(address, &mut place), 0);
        CStr::from_ptr(place.file).to_string_lossy().into_owned()
    }
}

/// The file of each function, and blocks of this library, of C's malloc and of a thread.
pub fn main(owns: unsafe extern "C" fn(*const c_void) -> c_int) {
    let size_of = unsafe { dlsym(std::ptr::null_mut(), c"carrel_usable_size".as_ptr()) };
    assert!(size_of.is_null(), "only the names of libc are meant to be seen by libraries");
    for (name, address) in [("malloc", malloc as *const c_void), ("free", free as *const c_void),
                            ("posix_memalign", posix_memalign as *const c_void)] {
        println!("{name} {}", file_of(address));
    }
    let text = std::hint::black_box(String::from("from the driver, through the standard library"));
    let plain = unsafe { malloc(100) };
    let thread = std::thread::spawn(|| vec![1u8; 300]).join().unwrap();
    for block in [text.as_ptr().cast(), plain.cast_const(), thread.as_ptr().cast()] {
        println!("owned {}", unsafe { owns(block) });
    }
    unsafe { free(plain) };
}
"""

MAIN = """
driver::override_c_allocator_in_binary!();

extern "C" {
    fn carrel_sys_owns(block: *const std::ffi::c_void) -> std::ffi::c_int;
}

fn main() {
    driver::main(carrel_sys_owns)
}
"""


def find_archive() -> tuple[Path, list[str]]:
    """carrel-sys with the feature override, and the folders of what it links."""
    done = cargo.run(["cargo", "build", "--locked", "-q", "-p", "carrel-sys", "--features",
                      "carrel-sys/override", "--message-format", "json"])
    archive, folders = None, []
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and \
                message["target"]["name"] == "carrel_sys":
            archive = next(name for name in message["filenames"] if name.endswith(".rlib"))
        if message.get("reason") == "build-script-executed":
            folders += [path.removeprefix("native=") for path in message["linked_paths"]]
    cargo.check(archive is not None, "cargo names no rlib of carrel-sys")
    return Path(archive), folders


def main() -> int:
    archive, folders = find_archive()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "driver.rs").write_text(DRIVER, encoding="utf-8")
        (place / "main.rs").write_text(MAIN, encoding="utf-8")
        common = ["rustc", "--edition", "2021", "-C", "prefer-dynamic", "-C", "rpath", "--out-dir",
                  name]
        cargo.run([*common, "--crate-type", "dylib", str(place / "driver.rs")])
        search = [word for folder in folders for word in ("-L", f"native={folder}")]
        cargo.run([*common, "-L", name, *search, "--extern", f"carrel_sys={archive}", "--extern",
                   "driver", str(place / "main.rs")])
        done = subprocess.run([str(place / "main")], capture_output=True, text=True, check=False,
                              env={**os.environ, "LD_LIBRARY_PATH": name})
        cargo.check(done.returncode == 0, f"the program failed: {done.stdout}{done.stderr}")
        lines = done.stdout.splitlines()
        cargo.check(lines.count("owned 1") == 3, f"blocks of another heap: {lines}")
        for line in lines[:3]:
            function, file = line.split(" ", 1)
            cargo.check(Path(file).name == "main", f"{function} is {file}'s, not the program's")
        needed = cargo.run(["readelf", "-dW", str(place / "main")]).stdout
        cargo.check("libdriver.so" in needed and "libstd-" in needed,
                    f"not rustc's shape: {needed}")
    print("compiler_shape: the driver, the standard library and C's malloc are on carrel")
    return 0


if __name__ == "__main__":
    sys.exit(main())
