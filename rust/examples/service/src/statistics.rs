//! What the allocator says of itself: carrel all its numbers, others the process's resident memory,
//! which is asked from the system.

#[cfg(feature = "snmalloc")]
pub const ALLOCATOR: &str = "snmalloc";
#[cfg(not(feature = "snmalloc"))]
pub const ALLOCATOR: &str = carrel_select::NAME;

#[cfg(any(feature = "carrel", feature = "carrel-secure"))]
pub fn json() -> String {
    carrel::stats_text(carrel::Format::Json)
}

#[cfg(any(feature = "carrel", feature = "carrel-secure"))]
pub fn prometheus() -> String {
    carrel::stats_text(carrel::Format::Prometheus)
}

#[cfg(not(any(feature = "carrel", feature = "carrel-secure")))]
pub fn json() -> String {
    serde_json::json!({"allocator": ALLOCATOR, "resident_bytes": resident_bytes()}).to_string()
}

#[cfg(not(any(feature = "carrel", feature = "carrel-secure")))]
pub fn prometheus() -> String {
    format!(
        "# HELP process_resident_memory_bytes Resident memory of the process, of any kind.\n\
         # TYPE process_resident_memory_bytes gauge\n\
         process_resident_memory_bytes{{allocator=\"{ALLOCATOR}\"}} {}\n",
        resident_bytes()
    )
}

/// 0 where /proc does not say.
#[cfg(not(any(feature = "carrel", feature = "carrel-secure")))]
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
