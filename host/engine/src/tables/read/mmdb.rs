//! MaxMind DB files (GeoIP): what is known of networks. Each network becomes a row: the column `network`, and the record's members,
//! maps as dotted columns (`country.iso_code`).
//!
//! ```text
//! search tree: nodes of two records each, one bit of an address a level │ 16 zeros │ data: maps, shared by many networks │ … metadata
//!     └─ leaf: network, place in the data ─────────────────────────────────────────────► record ─► row
//! ```
//! Format: MaxMind DB File Format Specification 2.0. Read by hand because nothing in it may be believed: a tree may have cycles, pointers
//! may lead in circles, lengths may be anything. A leaf lies at most 128 levels deep, so a walk that goes deeper ends it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Number, Value};
use tidemill_event::{Field, FieldType};

use super::{Gathering, TableRows, Unreadable};
use crate::tables::bounds::ROWS_MAX;

/// The column that the networks are in.
const NETWORK: &str = "network";
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// Maps and lists inside each other. Beyond: the file is refused.
const DEPTH_MAX: usize = 32;
/// Values of one record. Beyond: the file is refused.
const VALUES_MAX: usize = 4_096;
/// Columns that are found. Beyond: the file is refused.
const COLUMNS_MAX: usize = 1_000;
/// Where IPv4 lies in a tree of IPv6, and where it lies in ours.
const MAPPED: u128 = 0xffff_0000_0000;

/// Gathers the networks of a file.
pub(super) fn gather(rows: &TableRows) -> Result<Gathering, Unreadable> {
    let database = Database::open(&rows.body).map_err(Unreadable::Body)?;
    let mut networks: Vec<(u128, u32, usize)> = Vec::new();
    database.walk(&mut |address, prefix, place| {
        networks.push((address, prefix, place));
        match networks.len() > ROWS_MAX {
            false => Ok(()),
            true => Err(Unreadable::TooLarge(format!("the file has more than {ROWS_MAX} networks: a table has at most so many"))),
        }
    })?;
    // Records as JSON, each once: many networks share one.
    let mut records: HashMap<usize, String> = HashMap::new();
    let mut found = Columns::default();
    for (.., place) in &networks {
        if let Entry::Vacant(vacant) = records.entry(*place) {
            let record = database.record(*place).map_err(Unreadable::Body)?;
            found.see(&record);
            vacant.insert(match record {
                Value::Object(members) if !members.is_empty() => Value::Object(members).to_string(),
                _ => "{}".to_owned(),
            });
        }
    }
    let mut fields = match &rows.fields {
        Some(fields) => fields.clone(),
        None => found.fields()?,
    };
    fields.retain(|field| &*field.name != NETWORK);
    fields.insert(0, Field::new(NETWORK, FieldType::String, false));
    let mut gathering = Gathering::of_some_members(fields);
    let mut row = String::new();
    for (at, (address, prefix, place)) in networks.iter().enumerate() {
        let members = records[place].strip_prefix('{').unwrap_or_default();
        row.clear();
        row.push_str("{\"");
        row.push_str(NETWORK);
        row.push_str("\":\"");
        row.push_str(&shown(*address, *prefix));
        row.push_str(if members == "}" { "\"" } else { "\"," });
        row.push_str(members);
        gathering.row(at + 1, |decoder, time| decoder.row(row.as_bytes(), time))?;
    }
    Ok(gathering)
}

/// A network as text. IPv4 lies where IPv6 has mapped addresses.
fn shown(address: u128, prefix: u32) -> String {
    match (address >> 32 == MAPPED >> 32, prefix.checked_sub(96)) {
        (true, Some(prefix)) => format!("{}/{prefix}", Ipv4Addr::from_bits(address as u32)),
        _ => format!("{}/{prefix}", Ipv6Addr::from_bits(address)),
    }
}

/// The parts of a file.
struct Database<'a> {
    tree: &'a [u8],
    data: &'a [u8],
    nodes: usize,
    /// Bits of a record: 24, 28 or 32.
    record_bits: usize,
    is_v6: bool,
}

impl<'a> Database<'a> {
    fn open(file: &'a [u8]) -> Result<Self, String> {
        let foreign = |what: &str| format!("the body is no MaxMind DB file that can be read: {what}");
        let at = memchr::memmem::rfind(file, MARKER).ok_or_else(|| foreign("it has no metadata"))?;
        let metadata = Reader::new(&file[at + MARKER.len()..]).value(0).map_err(|error| foreign(&error))?;
        let number = |name: &str| metadata[name].as_u64().ok_or_else(|| foreign(&format!("its metadata lacks `{name}`")));
        let (nodes, record_bits, version) = (number("node_count")?, number("record_size")?, number("ip_version")?);
        if number("binary_format_major_version")? != 2 || !matches!(record_bits, 24 | 28 | 32) || !matches!(version, 4 | 6) {
            return Err(foreign("it is of another version of the format"));
        }
        let nodes = usize::try_from(nodes).map_err(|_| foreign("its tree is too large"))?;
        let tree =
            nodes.checked_mul(record_bits as usize / 4).filter(|tree| tree + 16 <= at).ok_or_else(|| foreign("it is cut"))?;
        Ok(Self {
            tree: &file[..tree],
            data: &file[tree + 16..at],
            nodes,
            record_bits: record_bits as usize,
            is_v6: version == 6,
        })
    }

    /// The records of a node: below `nodes` another node, `nodes` itself nothing, above it a place in the data.
    fn node(&self, node: usize) -> [usize; 2] {
        let size = self.record_bits / 4;
        let bytes = &self.tree[node * size..][..size];
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        match self.record_bits {
            28 => {
                [usize::from(bytes[3] >> 4) << 24 | number(&bytes[..3]), usize::from(bytes[3] & 0x0f) << 24 | number(&bytes[4..])]
            }
            _ => [number(&bytes[..size / 2]), number(&bytes[size / 2..])],
        }
    }

    /// Tells every network that has a record: first address and prefix, IPv4 as mapped into IPv6, and the record's place.
    fn walk(&self, each: &mut dyn FnMut(u128, u32, usize) -> Result<(), Unreadable>) -> Result<(), Unreadable> {
        let broken = || Unreadable::Body("the file's search tree is broken".to_owned());
        let bits: u32 = if self.is_v6 { 128 } else { 32 };
        if self.nodes == 0 {
            return Ok(());
        }
        let v4_root = self.v4_root();
        // A tree has one node more for each level at most: a walk over more has gone in circles.
        let mut left = self.nodes.saturating_mul(2) + 256;
        let mut open: Vec<(usize, u128, u32)> = vec![(0, 0, 0)];
        while let Some((node, address, depth)) = open.pop() {
            if node == self.nodes {
                continue;
            }
            // Other ways to IPv4 (6to4, Teredo, mapped addresses) are the same records again.
            let is_alias = self.is_v6 && depth > 0 && Some(node) == v4_root && address != 0;
            if is_alias || self.is_v6 && depth == 96 && address == MAPPED {
                continue;
            }
            if node > self.nodes {
                let place = (node - self.nodes).checked_sub(16).filter(|place| *place < self.data.len()).ok_or_else(broken)?;
                match self.is_v6 {
                    false => each(MAPPED | address, depth + 96, place)?,
                    true if depth >= 96 && address <= u128::from(u32::MAX) => each(MAPPED | address, depth, place)?,
                    true => {
                        each(address, depth, place)?;
                        // One record for all of IPv4 and more.
                        if address == 0 {
                            each(MAPPED, 96, place)?;
                        }
                    }
                }
                continue;
            }
            left = left.checked_sub(1).ok_or_else(broken)?;
            if depth == bits {
                return Err(broken());
            }
            let [zero, one] = self.node(node);
            open.push((one, address | 1 << (bits - 1 - depth), depth + 1));
            open.push((zero, address, depth + 1));
        }
        Ok(())
    }

    /// The node behind 96 zeros.
    fn v4_root(&self) -> Option<usize> {
        let mut node = 0;
        for _ in 0..96 {
            if node >= self.nodes {
                return None;
            }
            [node, _] = self.node(node);
        }
        (node < self.nodes).then_some(node)
    }

    fn record(&self, place: usize) -> Result<Value, String> {
        Reader::new(self.data).value(place).map_err(|error| format!("the file's data is broken at byte {place}: {error}"))
    }
}

/// Reads values of a data section.
struct Reader<'a> {
    data: &'a [u8],
    values: usize,
}

impl<'a> Reader<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { data, values: 0 }
    }

    fn value(&mut self, place: usize) -> Result<Value, String> {
        let mut at = place;
        self.read(&mut at, 0)
    }

    fn take(&self, at: &mut usize, count: usize) -> Result<&'a [u8], String> {
        let bytes = self.data.get(*at..).and_then(|rest| rest.get(..count)).ok_or("it ends inside a value")?;
        *at += count;
        Ok(bytes)
    }

    fn number(&self, at: &mut usize, count: usize) -> Result<u128, String> {
        Ok(self.take(at, count)?.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }

    fn read(&mut self, at: &mut usize, depth: usize) -> Result<Value, String> {
        self.values += 1;
        if depth > DEPTH_MAX || self.values > VALUES_MAX {
            return Err("a record is too deep or too large".to_owned());
        }
        let control = self.take(at, 1)?[0];
        let kind = match control >> 5 {
            0 => 7 + u16::from(self.take(at, 1)?[0]),
            kind => u16::from(kind),
        };
        if kind == 1 {
            // Pointers are as long as they say, and count from the beginning of the data.
            let size = usize::from(control >> 3 & 3);
            let high = u128::from(control & 7);
            let low = self.number(at, size + 1)?;
            let target = match size {
                0 => high << 8 | low,
                1 => (high << 16 | low) + 2_048,
                2 => (high << 24 | low) + 526_336,
                _ => low,
            };
            let mut target = usize::try_from(target).map_err(|_| "a pointer leads nowhere")?;
            return self.read(&mut target, depth + 1);
        }
        let size = match control & 31 {
            29 => 29 + self.number(at, 1)?,
            30 => 285 + self.number(at, 2)?,
            31 => 65_821 + self.number(at, 3)?,
            size => u128::from(size),
        } as usize;
        let float = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
        let wide = |bytes: usize| if size <= bytes { Ok(size) } else { Err("a number is too long".to_owned()) };
        Ok(match kind {
            2 => Value::String(String::from_utf8(self.take(at, size)?.to_vec()).map_err(|_| "a text is not UTF-8")?),
            3 if size == 8 => float(f64::from_bits(self.number(at, 8)? as u64)),
            15 if size == 4 => float(f32::from_bits(self.number(at, 4)? as u32).into()),
            4 => Value::String(self.take(at, size)?.iter().map(|byte| format!("{byte:02x}")).collect()),
            5 | 6 | 9 => Value::from(self.number(at, wide(8)?)? as u64),
            8 => Value::from(self.number(at, wide(4)?)? as u32 as i32),
            10 => Value::String(self.number(at, wide(16)?)?.to_string()),
            14 => Value::Bool(size != 0),
            7 => {
                let mut members = Map::new();
                for _ in 0..size {
                    let Value::String(name) = self.read(at, depth + 1)? else { return Err("a name is no text".to_owned()) };
                    let value = self.read(at, depth + 1)?;
                    members.insert(name, value);
                }
                Value::Object(members)
            }
            11 => {
                let mut items = Vec::new();
                for _ in 0..size {
                    items.push(self.read(at, depth + 1)?);
                }
                Value::Array(items)
            }
            _ => return Err(format!("a value has the unknown type {kind}")),
        })
    }
}

/// Columns of the records: the paths of their values.
#[derive(Default)]
struct Columns(BTreeMap<String, FieldType>);

impl Columns {
    fn see(&mut self, record: &Value) {
        if let Value::Object(members) = record {
            members.iter().for_each(|(name, value)| self.add(name.clone(), value));
        }
    }

    fn add(&mut self, path: String, value: &Value) {
        let ty = match value {
            Value::Null => return,
            Value::Object(members) if members.keys().all(|name| is_plain(name)) && !members.is_empty() => {
                return members.iter().for_each(|(name, value)| self.add(format!("{path}.{name}"), value));
            }
            Value::Object(_) | Value::Array(_) => FieldType::Json,
            Value::Bool(_) => FieldType::Bool,
            Value::Number(number) if number.is_i64() => FieldType::Int64,
            Value::Number(_) => FieldType::Float64,
            Value::String(_) => FieldType::String,
        };
        let known = self.0.entry(path).or_insert(ty);
        *known = match (*known, ty) {
            (known, ty) if known == ty => ty,
            (FieldType::Int64, FieldType::Float64) | (FieldType::Float64, FieldType::Int64) => FieldType::Float64,
            _ => FieldType::Json,
        };
    }

    fn fields(mut self) -> Result<Vec<Field>, Unreadable> {
        self.0.retain(|path, _| path.split('.').all(is_plain) && !path.starts_with('_'));
        // What is a value in one record and has members in another is one column.
        let outer: Vec<String> =
            self.0.keys().filter(|path| self.0.keys().any(|other| other.starts_with(&format!("{path}.")))).cloned().collect();
        for path in outer {
            let inner = format!("{path}.");
            self.0.retain(|other, _| !other.starts_with(&inner));
            self.0.insert(path, FieldType::Json);
        }
        if self.0.is_empty() || self.0.len() > COLUMNS_MAX {
            let error = format!("the file's records have {} columns: a table has 1 to {COLUMNS_MAX}", self.0.len());
            return Err(Unreadable::Body(error));
        }
        Ok(self.0.into_iter().map(|(path, ty)| Field::new(&path, ty, true)).collect())
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(|any: char| any == '.' || any.is_control())
}

#[cfg(test)]
mod tests {
    use super::super::{TableFormat, read};
    use super::*;
    use crate::tables::parse_fields;

    /// A value in the form of the data section.
    fn written(value: &Value, out: &mut Vec<u8>) {
        let mut control = |kind: u8, size: usize| {
            let low = if size < 29 { size as u8 } else { 29 };
            match kind {
                1..=7 => out.push(kind << 5 | low),
                _ => out.extend_from_slice(&[low, kind - 7]),
            }
            if size >= 29 {
                out.push((size - 29) as u8);
            }
        };
        match value {
            Value::Bool(flag) => control(14, usize::from(*flag)),
            Value::String(text) => {
                control(2, text.len());
                out.extend_from_slice(text.as_bytes());
            }
            Value::Number(number) => match number.as_u64() {
                Some(number) => {
                    control(9, 8);
                    out.extend_from_slice(&number.to_be_bytes());
                }
                None => {
                    control(3, 8);
                    out.extend_from_slice(&number.as_f64().expect("a double").to_be_bytes());
                }
            },
            Value::Array(items) => {
                control(11, items.len());
                items.iter().for_each(|item| written(item, out));
            }
            Value::Object(members) => {
                control(7, members.len());
                for (name, value) in members {
                    written(&Value::from(name.as_str()), out);
                    written(value, out);
                }
            }
            Value::Null => panic!("the format has no null"),
        }
    }

    /// A file with one record per network; addresses as their bits, most significant first.
    fn file(version: u8, networks: &[(&str, Value)]) -> Vec<u8> {
        let mut data = Vec::new();
        let mut nodes: Vec<[Option<usize>; 2]> = vec![[None; 2]];
        // Leaves are places in the data, told apart from nodes by the top bit until the number of nodes is known.
        const LEAF: usize = 1 << 40;
        for (bits, record) in networks {
            let place = data.len();
            written(record, &mut data);
            let mut node = 0;
            for (at, bit) in bits.bytes().enumerate() {
                let side = usize::from(bit == b'1');
                if at + 1 == bits.len() {
                    nodes[node][side] = Some(LEAF | place);
                } else {
                    let next = nodes[node][side].unwrap_or(nodes.len());
                    if next == nodes.len() {
                        nodes.push([None; 2]);
                    }
                    nodes[node][side] = Some(next);
                    node = next;
                }
            }
        }
        let count = nodes.len();
        let mut bytes = Vec::new();
        for record in nodes.iter().flatten() {
            let record = match record {
                None => count,
                Some(leaf) if leaf & LEAF != 0 => (leaf ^ LEAF) + count + 16,
                Some(node) => *node,
            };
            bytes.extend_from_slice(&(record as u32).to_be_bytes());
        }
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(&data);
        bytes.extend_from_slice(MARKER);
        let metadata =
            serde_json::json!({"node_count": count, "record_size": 32, "ip_version": version, "binary_format_major_version": 2});
        written(&metadata, &mut bytes);
        bytes
    }

    fn upload(body: Vec<u8>, fields: Option<&str>) -> TableRows {
        let fields = fields.map(|fields| parse_fields(&serde_json::from_str(fields).expect("JSON")).expect("fields"));
        TableRows { format: TableFormat::Mmdb, body: body.into(), key: Vec::new(), fields }
    }

    fn bits(address: u32, prefix: usize) -> String {
        format!("{address:032b}")[..prefix].to_owned()
    }

    fn city(code: &str, latitude: f64) -> Value {
        serde_json::json!({"country": {"iso_code": code, "geoname_id": 7}, "location": {"latitude": latitude}, "names": ["a", {"b": true}]})
    }

    #[test]
    fn networks_become_rows_with_their_records_members() {
        let ten = bits(0x0a00_0000, 8);
        let body = file(4, &[(&ten, city("DE", 51.5)), (&bits(0xc000_0200, 24), city("FR", 46.25))]);
        let table = read(&upload(body.clone(), None)).expect("a table");
        let names: Vec<&str> = table.fields.iter().map(|field| &*field.name).collect();
        assert_eq!(names, ["network", "country.geoname_id", "country.iso_code", "location.latitude", "names"]);
        let told = String::from_utf8(table.ndjson(0, 9)).expect("text");
        assert_eq!(
            told,
            "{\"network\":\"10.0.0.0/8\",\"country\":{\"geoname_id\":7,\"iso_code\":\"DE\"},\"location\":{\"latitude\":51.5},\"names\":[\"a\",{\"b\":true}]}\n\
             {\"network\":\"192.0.2.0/24\",\"country\":{\"geoname_id\":7,\"iso_code\":\"FR\"},\"location\":{\"latitude\":46.25},\"names\":[\"a\",{\"b\":true}]}\n"
        );
        // Only what was asked for.
        let some = read(&upload(body, Some(r#"[{"name": "country.iso_code", "type": "string"}]"#))).expect("a table");
        assert_eq!(some.ndjson(0, 1), b"{\"network\":\"10.0.0.0/8\",\"country\":{\"iso_code\":\"DE\"}}\n");
    }

    #[test]
    fn a_file_of_ipv6_has_ipv4_inside() {
        let v4 = format!("{}{}", "0".repeat(96), bits(0x0a00_0000, 8));
        let v6 = format!("{:0128b}", 0x2001_0db8_u128 << 96)[..32].to_owned();
        let table = read(&upload(file(6, &[(&v4, city("DE", 1.5)), (&v6, city("XX", 2.5))]), None)).expect("a table");
        let told = String::from_utf8(table.ndjson(0, 9)).expect("text");
        let networks: Vec<&str> = told.lines().filter_map(|line| line.split('"').nth(3)).collect();
        assert_eq!(networks, ["10.0.0.0/8", "2001:db8::/32"]);
    }

    #[test]
    fn a_broken_file_is_refused_and_nothing_hangs() {
        let ten = bits(0x0a00_0000, 8);
        let whole = file(4, &[(&ten, city("DE", 51.5))]);
        for cut in [0, 10, whole.len() / 2, whole.len() - 1] {
            assert!(matches!(read(&upload(whole[..cut].to_vec(), None)), Err(Unreadable::Body(_))), "{cut}");
        }
        // Every node leads back to the first one.
        let mut circle = whole.clone();
        circle[..64].fill(0);
        assert!(matches!(read(&upload(circle, None)), Err(Unreadable::Body(_))));
        // Whatever a byte says instead, it is a table or a refusal.
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            let _ = read(&upload(damaged, None));
        }
    }
}
