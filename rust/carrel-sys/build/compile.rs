//! Compiles carrel's sources with the flags of the project's own build (cmake/carrel_flags.cmake in
//! the repository, where each flag has its reason). Run by the build script only.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Choice;

/// Sources that define names of libc or of the C++ runtime, apart from operator new.
const OVERRIDES: [&str; 2] = ["api/malloc.cc", "api/malloc_info.cc"];
const OPERATOR_NEW: &str = "api/new.cc";

const FLAGS: [&str; 12] = [
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-fno-builtin-malloc",
    "-fno-builtin-calloc",
    "-fno-builtin-realloc",
    "-fno-builtin-free",
    "-fno-stack-protector",
    "-fno-plt",
    "-ffunction-sections",
    "-fdata-sections",
];

pub fn compile(choice: &Choice) -> Result<(), String> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let root = find_sources(&here)?;
    let (include, src) = (root.join("include"), root.join("src"));
    println!("cargo:rerun-if-changed={}", include.display());
    println!("cargo:rerun-if-changed={}", src.display());
    println!("cargo:rerun-if-changed={}", here.join("cxx").display());

    let mut sources = list_sources(&src)?;
    sources.retain(|name| name != OPERATOR_NEW);
    if !choice.overrides {
        sources.retain(|name| !OVERRIDES.contains(&name.as_str()));
    }
    let unit = out.join("carrel_unit.cc");
    write_unit(&unit, &sources, &here.join("cxx/carrel_sys.cc"))?;

    let mut build = cc::Build::new();
    build
        .cpp(true)
        .cpp_link_stdlib(None) // the core uses nothing of it at run time
        .std("c++20")
        .include(&include)
        .include(&src)
        .include(src.join("config/presets").join(choice.preset()))
        .define("NDEBUG", None)
        .warnings(false)
        .opt_level(2); // also in debug builds, where the program itself is meant
    for flag in FLAGS {
        build.flag(flag);
    }
    build.flag_if_supported("-fno-gnu-unique");
    if choice.late_loading {
        build.define("CARREL_TLS_MODEL", "\"local-dynamic\"");
        build.define("CARREL_SYS_PIN_LIBRARY", None);
    } else {
        build.flag("-ftls-model=initial-exec");
    }
    if choice.overrides {
        compile_operator_new(&build, &src);
    }
    build.flag("-fno-exceptions").file(&unit);
    build.compile("carrel_sys");

    if env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") {
        println!("cargo:rustc-link-lib=pthread"); // a part of libc since glibc 2.34
    }
    println!("cargo:include={}", include.display());
    Ok(())
}

/// operator new throws std::bad_alloc and is compiled for that; nothing else is.
fn compile_operator_new(build: &cc::Build, src: &Path) {
    let mut throwing = build.clone();
    throwing.flag("-fexceptions").file(src.join(OPERATOR_NEW));
    throwing.compile("carrel_sys_new");
}

/// The folder that holds include/ and src/.
fn find_sources(here: &Path) -> Result<PathBuf, String> {
    let header = "include/carrel/carrel.h";
    let vendored = here.join("vendor");
    if vendored.join(header).exists() {
        return Ok(vendored);
    }
    let repository = here.join("../..");
    if repository.join(header).exists() {
        return repository
            .canonicalize()
            .map_err(|error| format!("cannot resolve {}: {error}", repository.display()));
    }
    Err("neither vendor/ nor the repository around this crate holds carrel's sources; \
         set CARREL_LIB_DIR to use an installed library"
        .into())
}

/// Every source of the Linux build, relative to src/: the same rule as in the CMake build.
fn list_sources(src: &Path) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for folder in folders_of(src)? {
        collect(src, &folder, &mut names)?;
    }
    collect(src, "os/linux", &mut names)?;
    names.sort();
    if names.is_empty() {
        return Err(format!("no sources under {}", src.display()));
    }
    Ok(names)
}

fn folders_of(src: &Path) -> Result<Vec<String>, String> {
    let mut folders = Vec::new();
    for entry in read_dir(src)? {
        if entry.is_dir() {
            folders.push(file_name(&entry));
        }
    }
    Ok(folders)
}

fn collect(src: &Path, folder: &str, names: &mut Vec<String>) -> Result<(), String> {
    for entry in read_dir(&src.join(folder))? {
        if entry.extension().is_some_and(|extension| extension == "cc") {
            names.push(format!("{folder}/{}", file_name(&entry)));
        }
    }
    Ok(())
}

fn read_dir(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let listed = fs::read_dir(folder)
        .map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    Ok(listed.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// One file that includes all others. Their helper macros end with them.
fn write_unit(unit: &Path, sources: &[String], glue: &Path) -> Result<(), String> {
    let mut text = String::from("// Written by carrel-sys' build script: the whole core.\n");
    for source in sources {
        text.push_str(&format!("#include \"{source}\"\n#undef CARREL_EXPORT\n"));
    }
    text.push_str(&format!("#include \"{}\"\n", glue.display()));
    // Written only when it changes: the compiler's caches look at times.
    if fs::read_to_string(unit).map_or(true, |old| old != text) {
        fs::write(unit, text).map_err(|error| format!("{}: {error}", unit.display()))?;
    }
    Ok(())
}
