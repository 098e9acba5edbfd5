//! Lengths that lie make nobody allocate: neither in a payload nor in an outbox row. One test, in a process of its own,
//! for it looks at the address space of the whole process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

#[path = "golden/example.rs"]
#[allow(dead_code, reason = "shared with the tests of golden payloads")]
mod example;

use schemas::{catalogue::ENTRIES, messages::*, outbox, parked::ParkedCommand, wire};

/// What reading small payloads may add to the address space; the smallest lie would ask for 16 times as much.
const ROOM: u64 = 64 << 20;

/// Most address space that this process ever had, in bytes: room asked for counts, whether it is used or not.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_length_that_lies_makes_nobody_allocate() {
    // 2^30, 2^40, 2^62 and 2^63 - 1 as Avro writes them, and negative counts, after which Avro reads a size
    let lies: [&[u8]; 6] = [
        &[0x80, 0x80, 0x80, 0x80, 0x08],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x40],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0x01],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ];
    let before = peak();
    for entry in ENTRIES {
        let golden = example::golden_bytes(entry);
        for at in 5..golden.len() {
            for lie in lies {
                let payload = [&golden[..at], lie, &golden[at + 1..]].concat();
                let (entry, body) = wire::open(&payload).unwrap();
                let _ = wire::decode_value(entry, body);
                let _ = OrderCommand::decode(&payload);
                let _ = InventoryCommand::decode(&payload);
                let _ = PaymentCommand::decode(&payload);
                let _ = OrderEvent::decode(&payload);
                let _ = ParkedCommand::decode(&payload);
            }
        }
    }
    for at in 0..200 {
        let mut row = vec![0u8; 200];
        row[at..(at + 4).min(200)].fill(0xff);
        assert!(outbox::unpack(outbox::FORMAT, &row).is_err());
    }
    let grown = peak().saturating_sub(before);
    assert!(grown < ROOM, "reading lies took {} MiB of address space", grown >> 20);
}
