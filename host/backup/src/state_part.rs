//! A part of the state: some records of the store, with a checksum.
//!
//! ```text
//! magic "TMSTATE1" | records u32 | record … | crc32c of everything before, u32          little-endian
//! record: length of key u32 | length of value u32 | key | value
//! ```

use tidemill_state::StateRecord;

const MAGIC: &[u8; 8] = b"TMSTATE1";
/// A part is closed when it has this many bytes.
const PART_BYTES: usize = 1 << 20;

/// Gathers records until they are a part.
pub(crate) struct StatePart {
    bytes: Vec<u8>,
    records: u32,
}

impl StatePart {
    pub(crate) fn new() -> Self {
        Self { bytes: [&MAGIC[..], &[0; 4]].concat(), records: 0 }
    }

    pub(crate) fn add(&mut self, record: &StateRecord) {
        for text in [&record.key, &record.value] {
            self.bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        }
        self.bytes.extend_from_slice(&record.key);
        self.bytes.extend_from_slice(&record.value);
        self.records += 1;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= PART_BYTES
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// Its bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes[8..12].copy_from_slice(&self.records.to_le_bytes());
        let checksum = crc32c::crc32c(&self.bytes);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        self.bytes
    }
}

/// The records of a part. The error says what is wrong with it.
pub(crate) fn decode(part: &[u8]) -> Result<Vec<StateRecord>, &'static str> {
    let (rest, checksum) = part.split_last_chunk::<4>().ok_or("it is too short")?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*checksum) {
        return Err("its checksum does not hold");
    }
    let rest = rest.strip_prefix(MAGIC).ok_or("it does not begin as one")?;
    let (count, mut rest) = number(rest).ok_or("it is too short")?;
    let mut records = Vec::new();
    for _ in 0..count {
        let (record, behind) = record(rest).ok_or("a record is longer than the part")?;
        records.push(record);
        rest = behind;
    }
    if rest.is_empty() { Ok(records) } else { Err("it has bytes behind its last record") }
}

fn record(bytes: &[u8]) -> Option<(StateRecord, &[u8])> {
    let (key, bytes) = number(bytes)?;
    let (value, bytes) = number(bytes)?;
    let (key, bytes) = bytes.split_at_checked(key as usize)?;
    let (value, bytes) = bytes.split_at_checked(value as usize)?;
    Some((StateRecord { key: key.to_vec(), value: value.to_vec() }, bytes))
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_damage_does_not() {
        let records: Vec<StateRecord> = (0..50u8).map(|n| StateRecord { key: vec![n; n.into()], value: vec![n; 3] }).collect();
        let mut part = StatePart::new();
        records.iter().for_each(|record| part.add(record));
        let bytes = part.finish();
        assert_eq!(decode(&bytes).as_deref(), Ok(&records[..]));
        assert_eq!(decode(&StatePart::new().finish()).as_deref(), Ok(&[][..]));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(decode(&damaged).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn lengths_that_lie_are_refused_though_the_checksum_holds() {
        for (at, what) in
            [(8, "a record is longer than the part"), (12, "a record is longer than the part"), (0, "it does not begin as one")]
        {
            let mut part = StatePart::new();
            part.add(&StateRecord { key: vec![1, 2], value: vec![3] });
            let mut bytes = part.finish();
            bytes[at] = 200;
            let end = bytes.len() - 4;
            let checksum = crc32c::crc32c(&bytes[..end]);
            bytes[end..].copy_from_slice(&checksum.to_le_bytes());
            assert_eq!(decode(&bytes), Err(what));
        }
    }
}
