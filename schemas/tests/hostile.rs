//! What a topic may hold although nobody of ours wrote it: cut, changed, stretched payloads, lengths that lie. Each is
//! read or refused with a name; nothing panics, and what is read can be written and reads back the same.
//!
//! Each run draws its own cases. A failure prints the smallest case; `PROPTEST_RNG_SEED` repeats a run, and
//! `PROPTEST_CASES` makes it longer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

#[path = "golden/example.rs"]
#[allow(dead_code, reason = "shared with the tests of golden payloads")]
mod example;
#[path = "golden/readers.rs"]
#[allow(dead_code, reason = "shared with the tests of golden payloads")]
mod readers;

use proptest::prelude::*;
use readers::{READERS, Reader};
use schemas::{
    catalogue::{ENTRIES, SchemaId},
    messages::*,
    parked::ParkedCommand,
    wire::{self, MAX_PAYLOAD, WireError},
};

/// Integers as Avro writes them that no length, count, union or enum of ours has.
const LIES: [i64; 9] =
    [-1, i64::MIN, i64::MAX, 1 << 62, -(1 << 62), 1 << 31, -(1 << 31), 1 << 20, MAX_PAYLOAD as i64];

/// Zigzag, seven bits a byte.
fn varint(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

fn reader_of(record: &str) -> Reader {
    READERS.iter().find(|(name, ..)| *name == record).unwrap().2
}

/// Through every door of ours that a payload may come to.
fn read_everywhere(payload: &[u8]) {
    let _ = OrderCommand::decode(payload);
    let _ = InventoryCommand::decode(payload);
    let _ = PaymentCommand::decode(payload);
    let _ = OrderEvent::decode(payload);
    let _ = InventoryEvent::decode(payload);
    let _ = PaymentEvent::decode(payload);
    let _ = ParkedCommand::decode(payload);
    if let Ok((entry, body)) = wire::open(payload) {
        let _ = wire::decode_value(entry, body);
    }
}

#[test]
fn every_cut_and_every_byte_too_many_is_refused() {
    for entry in ENTRIES {
        let golden = example::golden_bytes(entry);
        let reader = reader_of(entry.record);
        for length in 0..golden.len() {
            let refused = reader(&golden[..length]).expect_err(entry.record);
            let is_named = matches!(refused, WireError::Short(_)) == (length < 5);
            assert!(is_named, "{} cut to {length} bytes: {refused}", entry.record);
        }
        for more in [0, 2, 0xff] {
            let longer = [&golden[..], &[more]].concat();
            assert!(matches!(reader(&longer), Err(WireError::Body { .. })), "{}", entry.record);
        }
    }
}

#[test]
fn a_foreign_beginning_is_refused_by_its_name() {
    for entry in ENTRIES {
        let mut payload = example::golden_bytes(entry);
        payload[0] = 7;
        assert_eq!(reader_of(entry.record)(&payload), Err(WireError::Magic(7)));
        for id in [0, 1, entry.id.0 + 50, u32::MAX] {
            payload = [&[0][..], &id.to_be_bytes(), &payload[5..]].concat();
            assert_eq!(reader_of(entry.record)(&payload), Err(WireError::UnknownSchema(SchemaId(id))));
        }
    }
}

/// One thing done to a payload's bytes.
#[derive(Debug, Clone)]
enum Harm {
    Change(u8),
    Cut,
    Insert(Vec<u8>),
    Lie(i64),
    Repeat(usize),
    Schema(u32),
}

fn harm() -> impl Strategy<Value = Harm> {
    let ids: Vec<u32> = ENTRIES.iter().map(|entry| entry.id.0).collect();
    prop_oneof![
        4 => any::<u8>().prop_map(Harm::Change),
        1 => Just(Harm::Cut),
        2 => prop::collection::vec(any::<u8>(), 1..20).prop_map(Harm::Insert),
        4 => prop::sample::select(&LIES[..]).prop_map(Harm::Lie),
        1 => (1usize..2_000).prop_map(Harm::Repeat),
        1 => prop::sample::select(ids).prop_map(Harm::Schema),
    ]
}

fn hurt(payload: &mut Vec<u8>, at: usize, harm: &Harm) {
    let at = at % payload.len().max(1);
    match harm {
        Harm::Change(byte) => payload.iter_mut().skip(at).take(1).for_each(|old| *old = *byte),
        Harm::Cut => payload.truncate(at),
        Harm::Insert(bytes) => drop(payload.splice(at..at, bytes.iter().copied())),
        Harm::Lie(value) => drop(payload.splice(at..(at + 1).min(payload.len()), varint(*value))),
        Harm::Repeat(times) => {
            let tail = payload[at..].to_vec();
            payload.extend(tail.repeat(*times).into_iter().take(MAX_PAYLOAD + 10));
        }
        Harm::Schema(id) => {
            drop(payload.splice(1.min(payload.len())..5.min(payload.len()), id.to_be_bytes()))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 8, ..ProptestConfig::default() })]

    #[test]
    fn a_harmed_record_is_refused_or_reads_back_as_it_was_read(
        entry in prop::sample::select(ENTRIES.iter().collect::<Vec<_>>()),
        harms in prop::collection::vec((any::<usize>(), harm()), 1..5),
    ) {
        let mut payload = example::golden_bytes(entry);
        for (at, harm) in &harms {
            hurt(&mut payload, *at, harm);
        }
        read_everywhere(&payload);
        if let Ok((found, _)) = wire::open(&payload) {
            let reader = reader_of(found.record);
            match reader(&payload) {
                Ok(written) => prop_assert_eq!(reader(&written), Ok(written)),
                Err(WireError::Encode { .. }) => prop_assert!(false, "read, and cannot be written"),
                Err(_) => {}
            }
        }
    }

    #[test]
    fn random_bytes_are_read_or_refused(
        id in prop::sample::select(ENTRIES.iter().map(|entry| entry.id.0).collect::<Vec<_>>()),
        body in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        read_everywhere(&body);
        read_everywhere(&[&[0][..], &id.to_be_bytes(), &body].concat());
    }
}
