//! The events that are decoded, each kind as the definition it fits, a body of lines, and the Arrow schema for `arrow-json`.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use tidemill_event::{StreamDefinition, definition_json};

/// One row of the table.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What the goal asks: so many times faster than arrow-json.
    pub(crate) goal: f64,
    pub(crate) make: fn(usize) -> Vec<u8>,
    pub(crate) definition: &'static str,
}

pub(crate) const CASES: [Case; 6] = [
    Case { name: "nine fields, in schema order", goal: 3.5, make: |rows| shop(rows, Order::Schema), definition: SHOP },
    Case { name: "… in another order", goal: 2.5, make: |rows| shop(rows, Order::Other), definition: SHOP },
    Case { name: "… in a new order each event", goal: 2.5, make: |rows| shop(rows, Order::New), definition: SHOP },
    Case { name: "… with three unknown fields, kept", goal: 2.5, make: |rows| shop(rows, Order::Unknown), definition: SHOP },
    Case { name: "… as Python spaces them", goal: 3.5, make: |rows| shop(rows, Order::Spaced), definition: SHOP },
    Case { name: "ten fields (the load generator's)", goal: 3.5, make: load, definition: LOAD },
];

const SHOP: &str = r#"{"fields": [{"name": "id", "type": "int64"}, {"name": "ts", "type": "timestamp", "unit": "ms"},
    {"name": "user", "type": "string"}, {"name": "country", "type": "string"}, {"name": "status", "type": "string"},
    {"name": "path", "type": "string"}, {"name": "amount", "type": "float64"}, {"name": "items", "type": "int64"},
    {"name": "mobile", "type": "bool"}], "time": {"field": "ts"}}"#;

const LOAD: &str = r#"{"fields": [{"name": "n", "type": "int64", "nullable": false},
    {"name": "ts", "type": "timestamp", "unit": "ms", "nullable": false}, {"name": "key", "type": "string", "nullable": false},
    {"name": "country", "type": "string", "nullable": false}, {"name": "status", "type": "string", "nullable": false},
    {"name": "page", "type": "string", "nullable": false}, {"name": "amount", "type": "float64", "nullable": false},
    {"name": "items", "type": "int64", "nullable": false}, {"name": "score", "type": "float64", "nullable": false},
    {"name": "mobile", "type": "bool", "nullable": false}], "time": {"field": "ts"}, "key": ["key"], "partitions": 4}"#;

impl Case {
    pub(crate) fn definition(&self) -> Arc<StreamDefinition> {
        Arc::new(definition_json::parse(self.definition.as_bytes()).expect("a definition"))
    }

    /// The definition's fields for arrow-json: plain texts, and a time as the number it is sent as.
    pub(crate) fn arrow_schema(&self) -> SchemaRef {
        let plain = |ty: &DataType| match ty {
            DataType::Timestamp(_, _) => DataType::Int64,
            DataType::Dictionary(_, values) => (**values).clone(),
            ty => ty.clone(),
        };
        let fields = self.definition().schema.fields.iter().map(|field| field.arrow()).collect::<Vec<_>>();
        Arc::new(Schema::new(
            fields.iter().map(|field| Field::new(field.name(), plain(field.data_type()), true)).collect::<Vec<_>>(),
        ))
    }
}

/// How the nine fields are written.
#[derive(Clone, Copy)]
enum Order {
    Schema,
    /// Another one, the same in every event.
    Other,
    /// Another one in every event.
    New,
    /// As the schema, with fields it does not have in between.
    Unknown,
    /// As the schema, with a space behind each `:` and `,`.
    Spaced,
}

/// Numbers without a pattern, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Events of about 175 bytes; users repeat within some thousands, countries, states and paths within dozens.
fn shop(rows: usize, order: Order) -> Vec<u8> {
    let countries = ["de", "fr", "us", "jp", "br", "in", "ng", "se"];
    let states = ["ok", "declined", "pending", "review"];
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut places: Vec<usize> = match order {
        Order::Other => vec![4, 6, 0, 8, 2, 5, 1, 7, 3],
        Order::Unknown => vec![0, 9, 1, 2, 3, 10, 4, 5, 6, 7, 8, 11],
        Order::Schema | Order::New | Order::Spaced => (0..9).collect(),
    };
    let mut out = Vec::new();
    for row in 0..rows {
        let seed = random.next();
        let pick = |bits: u32, length: usize| (seed >> bits) as usize % length;
        let members = [
            format!("\"id\":{}", 1_000_000 + row),
            format!("\"ts\":{}", 1_517_365_101_235u64 + row as u64 * 37),
            format!("\"user\":\"user-{:05}\"", pick(3, 5_000)),
            format!("\"country\":\"{}\"", countries[pick(11, 8)]),
            format!("\"status\":\"{}\"", states[pick(17, 4)]),
            format!("\"path\":\"/shop/{:02}/article/overview/of-the-week/\"", pick(23, 40)),
            format!("\"amount\":{}.{:02}", pick(31, 900), pick(37, 100)),
            format!("\"items\":{}", pick(43, 12)),
            format!("\"mobile\":{}", pick(51, 2) == 0),
            format!("\"session\":\"{:016x}\"", seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            format!("\"retries\":{}", pick(7, 3)),
            format!("\"client\":{{\"os\":\"{}\",\"build\":{}}}", ["linux", "windows", "android"][pick(29, 3)], pick(33, 4_000)),
        ];
        if let Order::New = order {
            for end in (1..places.len()).rev() {
                places.swap(end, random.next() as usize % (end + 1));
            }
        }
        for (index, place) in places.iter().enumerate() {
            out.extend_from_slice(match (index, order) {
                (0, _) => b"{",
                (_, Order::Spaced) => b", ",
                _ => b",",
            });
            let member = match order {
                Order::Spaced => members[*place].replacen(':', ": ", 1),
                _ => members[*place].clone(),
            };
            out.extend_from_slice(member.as_bytes());
        }
        out.extend_from_slice(b"}\n");
    }
    out
}

/// The events that the load generator of the whole-host benches sends (`tests/src/bin/load/events.rs`), about 153 bytes.
fn load(rows: usize) -> Vec<u8> {
    let line = |row: usize| {
        let n = row as u64;
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let of = |shift: u32, count: u64| (mixed >> shift & 0xffff) % count;
        let country = ["de", "fr", "us", "jp", "br", "in", "ng", "se"][of(9, 8) as usize];
        let status = ["ok", "ok", "ok", "declined", "pending"][of(17, 5) as usize];
        format!(
            "{{\"n\":{n},\"ts\":{},\"key\":\"user-{:04}\",\"country\":\"{country}\",\"status\":\"{status}\",\"page\":\"/shop/{:02}\",\"amount\":{}.{:02},\"items\":{},\"score\":0.{:03},\"mobile\":{}}}\n",
            1_764_000_000_000 + n,
            of(13, 4_999),
            of(21, 40),
            of(25, 2_000),
            of(29, 100),
            of(33, 12),
            of(37, 1_000),
            of(43, 2) == 0,
        )
    };
    (5_000_000..5_000_000 + rows).flat_map(|row| line(row).into_bytes()).collect()
}
