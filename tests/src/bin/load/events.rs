//! The events that are sent: ten fields, about 150 bytes, users that repeat within thousands, other texts within dozens.

use std::io;

use tidemill_tests::Connection;

use crate::measured::Measured;

/// Rows in a body of many.
pub(crate) const BATCH_ROWS: u64 = 1_000;

/// Declares the stream that the events fit.
pub(crate) fn declare(host: &Measured<'_>, stream: &str, partitions: u32) -> io::Result<()> {
    let fields = [
        ("n", "int64"),
        ("ts", "timestamp"),
        ("key", "string"),
        ("country", "string"),
        ("status", "string"),
        ("page", "string"),
        ("amount", "float64"),
        ("items", "int64"),
        ("score", "float64"),
        ("mobile", "bool"),
    ];
    let fields: Vec<serde_json::Value> = fields
        .iter()
        .map(|(name, kind)| match *kind {
            "timestamp" => serde_json::json!({"name": name, "type": kind, "unit": "ms", "nullable": false}),
            kind => serde_json::json!({"name": name, "type": kind, "nullable": false}),
        })
        .collect();
    let definition = serde_json::json!({"fields": fields, "time": {"field": "ts"}, "key": ["key"], "partitions": partitions});
    host.must("PUT", &format!("/v1/streams/{stream}"), "application/json", definition.to_string().as_bytes()).map(drop)
}

/// Event number `n`, at `ts_ms`, as a line.
pub(crate) fn row_at(n: u64, ts_ms: u64) -> String {
    // Any mixing will do: the same number gives the same event.
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let of = |shift: u32, count: u64| (mixed >> shift & 0xffff) % count;
    let country = ["de", "fr", "us", "jp", "br", "in", "ng", "se"][of(9, 8) as usize];
    let status = ["ok", "ok", "ok", "declined", "pending"][of(17, 5) as usize];
    format!(
        "{{\"n\":{n},\"ts\":{ts_ms},\"key\":\"user-{:04}\",\"country\":\"{country}\",\"status\":\"{status}\",\"page\":\"/shop/{:02}\",\"amount\":{}.{:02},\"items\":{},\"score\":0.{:03},\"mobile\":{}}}\n",
        of(13, 4_999),
        of(21, 40),
        of(25, 2_000),
        of(29, 100),
        of(33, 12),
        of(37, 1_000),
        of(43, 2) == 0,
    )
}

/// Event number `n`, a millisecond behind the one before.
pub(crate) fn row(n: u64) -> String {
    row_at(n, 1_764_000_000_000 + n)
}

/// Body number `number` of many: NDJSON.
pub(crate) fn batch(number: u64) -> Vec<u8> {
    (number * BATCH_ROWS..(number + 1) * BATCH_ROWS).flat_map(|n| row(n).into_bytes()).collect()
}

/// Bodies made before anything is measured: the generator's work must not stand in the host's way on the same processors.
pub(crate) fn batches(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(batch).collect()
}

/// Sends a body to where events go; anything but 200 is an error.
pub(crate) fn post(connection: &mut Connection, path: &str, content_type: &str, body: &[u8]) -> io::Result<()> {
    match connection.post(path, content_type, body)? {
        (200, _) => Ok(()),
        (status, answer) => Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(answer)))),
    }
}

/// Where events of `stream` go.
pub(crate) fn door(stream: &str) -> String {
    format!("/v1/streams/{stream}/events")
}
