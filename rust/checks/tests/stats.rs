//! The heap's numbers against what the program knows to be true. A program of its own: what other
//! tests allocate meanwhile would show.

use carrel::{Carrel, Format};

#[global_allocator]
static GLOBAL: Carrel = Carrel;

#[test]
fn numbers_follow_the_program() {
    let before = carrel::stats();
    let blocks: Vec<Vec<u8>> = (0..1000).map(|_| vec![1u8; 5000]).collect();
    let large = vec![2u8; 30 << 20];
    let during = carrel::stats();
    let grown = during.live_bytes - before.live_bytes;
    assert!((35_000_000..48_000_000).contains(&grown), "grown by {grown}");
    assert!(during.live_blocks - before.live_blocks >= 1001);
    assert!(during.large_bytes - before.large_bytes >= 30 << 20);
    assert!(during.resident_bytes >= 30 << 20, "{during:?}");
    assert!(during.mapped_bytes >= during.active_bytes);
    assert!(during.threads >= 1 && during.shards >= 1);
    drop(blocks);
    drop(large);
    carrel::purge();
    let after = carrel::stats();
    assert!(after.live_bytes < before.live_bytes + 1_000_000, "{after:?}");
    assert!(after.purged_bytes > before.purged_bytes, "{after:?}");

    let json = serde_json::to_value(after).unwrap();
    assert_eq!(json["live_blocks"], after.live_blocks);
    let all: serde_json::Value = serde_json::from_str(&carrel::stats_text(Format::Json)).unwrap();
    assert!(all["schema_version"].is_number(), "{all}");
    assert!(carrel::stats_text(Format::Prometheus).contains("# TYPE"));
    assert!(carrel::stats_text(Format::Text).len() > 100);
}
