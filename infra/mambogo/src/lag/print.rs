//! Rows as a table for people.

use super::Row;
use std::fmt::Write;

const HEADINGS: [&str; 12] = [
    "GROUP",
    "TOPIC",
    "PART",
    "START",
    "END",
    "LANE",
    "COMMITTED",
    "BEHIND",
    "OLDEST",
    "OUTBOX",
    "BYTES",
    "PARKED",
];
/// Columns that hold words; the others hold numbers, set to the right.
const WORDS: usize = 2;

/// The rows as a table, columns aligned; `-` where there is nothing to say.
pub(crate) fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; 12]> =
        std::iter::once(HEADINGS.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let mut widths = [0; 12];
    for line in &cells {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for line in &cells {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            // writing to a string does not fail
            let _ = if column < WORDS {
                write!(text, "{cell:<width$}  ")
            } else {
                write!(text, "{cell:>width$}  ")
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn cells(row: &Row) -> [String; 12] {
    fn or_dash(value: Option<impl ToString>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    let waiting = row.waiting.as_ref();
    let outbox = waiting.map(|waiting| match waiting.outbox_rows {
        0 => "0".to_owned(),
        rows => format!("{rows} ({:.1}s)", waiting.outbox_seconds),
    });
    [
        row.group.to_owned(),
        row.topic.to_owned(),
        row.partition.to_string(),
        row.log_start.to_string(),
        row.log_end.to_string(),
        or_dash(row.lane),
        or_dash(row.committed),
        row.behind.to_string(),
        or_dash(row.oldest_seconds.map(|seconds| format!("{seconds:.1}s"))),
        or_dash(outbox),
        or_dash(waiting.map(|waiting| waiting.outbox_bytes)),
        or_dash(waiting.map(|waiting| waiting.parked)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Waiting;
    use super::*;

    #[test]
    fn a_table_is_aligned_and_json_keeps_every_field() {
        let lane = Row {
            group: "orders",
            topic: "order.commands",
            partition: 0,
            log_start: 0,
            log_end: 12_345,
            lane: Some(12_300),
            committed: Some(12_000),
            behind: 45,
            oldest_seconds: Some(0.26),
            waiting: Some(Waiting { outbox_rows: 2, outbox_bytes: 4_096, outbox_seconds: 1.04, parked: 1 }),
        };
        let view = Row {
            group: "status",
            topic: "order.events",
            partition: 11,
            lane: None,
            committed: None,
            waiting: None,
            oldest_seconds: None,
            ..lane.clone()
        };
        let rows = [lane, view];
        assert_eq!(
            table(&rows),
            "\
GROUP   TOPIC           PART  START    END   LANE  COMMITTED  BEHIND  OLDEST    OUTBOX  BYTES  PARKED
orders  order.commands     0      0  12345  12300      12000      45    0.3s  2 (1.0s)   4096       1
status  order.events      11      0  12345      -          -      45       -         -      -       -
"
        );
        let json: serde_json::Value = serde_json::to_value(&rows).unwrap();
        assert_eq!(json[0]["waiting"]["outboxBytes"], 4_096);
        assert_eq!(json[0]["oldestSeconds"], 0.26);
        assert_eq!(json[1]["lane"], serde_json::Value::Null);
    }
}
