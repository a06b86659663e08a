//! The feature `override`: C and C++ code that is linked or loaded into a Rust program shares
//! carrel's heap with it. Proved by where the dynamic linker finds the names, and by whose blocks
//! libc and a C++ library hand out.

use std::ffi::{c_void, CStr, CString};
use std::path::Path;
use std::process::Command;
use std::{env, fs, mem};

use carrel::Carrel;

#[global_allocator]
static GLOBAL: Carrel = Carrel;

/// The file that holds what an address belongs to.
fn file_of(address: *const c_void) -> String {
    // SAFETY: dladdr fills the structure if it returns nonzero.
    unsafe {
        let mut place: libc::Dl_info = mem::zeroed();
        assert_ne!(libc::dladdr(address, &mut place), 0, "dladdr knows no such address");
        CStr::from_ptr(place.dli_fname).to_string_lossy().into_owned()
    }
}

fn this_program() -> String {
    let file = file_of(this_program as *const c_void);
    assert_eq!(fs::canonicalize(&file).unwrap(), env::current_exe().unwrap());
    file
}

#[test]
fn every_name_resolves_into_this_program() {
    let program = this_program();
    for name in [
        "malloc",
        "free",
        "calloc",
        "realloc",
        "reallocarray",
        "memalign",
        "posix_memalign",
        "aligned_alloc",
        "valloc",
        "pvalloc",
        "malloc_usable_size",
        "malloc_trim",
    ] {
        let text = CString::new(name).unwrap();
        // SAFETY: looks a name up.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, text.as_ptr()) };
        assert!(!found.is_null(), "{name} is nowhere");
        assert_eq!(file_of(found), program, "{name}");
    }
}

/// C++ code linked into the program finds carrel's operator new. One that is loaded comes here by
/// way of malloc: the linker exports only what some library on its command line asks for.
#[test]
fn operator_new_is_linked_in() {
    extern "C" {
        fn _Znwm(size: usize) -> *mut c_void;
        fn _ZdlPvm(block: *mut c_void, size: usize);
        fn _ZnamSt11align_val_t(size: usize, alignment: usize) -> *mut c_void;
        fn _ZdaPvSt11align_val_t(block: *mut c_void, alignment: usize);
    }
    assert_eq!(file_of(_Znwm as *const c_void), this_program());
    // SAFETY: each block is freed once by the operator that belongs to it.
    unsafe {
        let plain = _Znwm(100);
        let aligned = _ZnamSt11align_val_t(100, 4096);
        assert_eq!(carrel::owns(plain.cast()), Some(true));
        assert_eq!(carrel::owns(aligned.cast()), Some(true));
        assert_eq!(aligned as usize % 4096, 0);
        _ZdlPvm(plain, 100);
        _ZdaPvSt11align_val_t(aligned, 4096);
    }
}

#[test]
fn libc_allocates_on_carrel() {
    // SAFETY: blocks of the process's one heap, each freed once, two of them crosswise.
    unsafe {
        let copy = libc::strdup(c"copied by libc".as_ptr());
        assert_eq!(carrel::owns(copy.cast()), Some(true));
        carrel_sys::carrel_free(copy.cast());
        libc::free(carrel_sys::carrel_malloc(100));
    }
}

const PLUGIN: &str = r#"
#include <string>
#include <vector>
extern "C" void* plugin_make(std::size_t count) {
  auto* strings = new std::vector<std::string>;
  for (std::size_t i = 0; i < count; ++i) strings->emplace_back(40 + i, 'x');
  return strings;
}
extern "C" const void* plugin_text(void* made) {
  return static_cast<std::vector<std::string>*>(made)->back().data();
}
extern "C" void plugin_drop(void* made) { delete static_cast<std::vector<std::string>*>(made); }
"#;

fn build_plugin(folder: &Path) -> CString {
    let source = folder.join("plugin.cc");
    let library = folder.join("plugin.so");
    fs::write(&source, PLUGIN).unwrap();
    let compiler = env::var("CXX").unwrap_or("c++".into());
    let done = Command::new(&compiler)
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .status()
        .unwrap_or_else(|error| panic!("cannot run {compiler}: {error}"));
    assert!(done.success(), "{compiler} failed");
    CString::new(library.into_os_string().into_encoded_bytes()).unwrap()
}

#[test]
fn a_cxx_library_allocates_on_carrel() {
    let folder = env::temp_dir().join(format!("carrel-override-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let library = build_plugin(&folder);
    // SAFETY: the functions have the signatures that PLUGIN gives them.
    unsafe {
        let handle = libc::dlopen(library.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null(), "{:?}", CStr::from_ptr(libc::dlerror()));
        let find = |name: &CStr| {
            let found = libc::dlsym(handle, name.as_ptr());
            assert!(!found.is_null(), "{name:?}");
            found
        };
        let make: extern "C" fn(usize) -> *mut c_void = mem::transmute(find(c"plugin_make"));
        let text: extern "C" fn(*mut c_void) -> *const u8 = mem::transmute(find(c"plugin_text"));
        let give: extern "C" fn(*mut c_void) = mem::transmute(find(c"plugin_drop"));
        let made = make(1000);
        assert_eq!(carrel::owns(made.cast()), Some(true), "operator new in the library");
        assert_eq!(carrel::owns(text(made)), Some(true), "std::string in libstdc++");
        give(made);
        libc::dlclose(handle);
    }
    fs::remove_dir_all(&folder).unwrap();
}
