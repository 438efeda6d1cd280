//! Where each of many texts is: a hash table that holds short ones itself, so that a look-up touches one place in memory.

use ahash::RandomState;

use super::chunk::{CHUNK_BYTES, Chunk};

/// A text as the table compares it: all of a short one, of a longer one its hash, its last bytes and its length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    low: u64,
    high: u64,
    length: u32,
}

impl Key {
    /// The key of the first `length` bytes (at most 16) of a chunk.
    #[inline(always)]
    pub(crate) fn short(chunk: Chunk, length: usize) -> Self {
        let [low, high] = chunk.first(length);
        Self { low, high, length: length as u32 }
    }

    #[inline(always)]
    fn is_short(&self) -> bool {
        self.length <= CHUNK_BYTES as u32
    }
}

/// One text of the table, or none: its key, and its place + 1 (0 if there is none).
#[derive(Debug, Clone, Copy)]
struct Slot {
    low: u64,
    high: u64,
    length: u32,
    place: u32,
}

/// No text is so long.
const EMPTY: Slot = Slot { low: 0, high: 0, length: u32::MAX, place: 0 };

impl Slot {
    #[inline(always)]
    fn key(&self) -> Key {
        Key { low: self.low, high: self.high, length: self.length }
    }
}

/// Which text has which place: open addressing with linear probing, at most a quarter full, so that nearly
/// every text is found at the first look: which one is not could never be predicted.
///
/// By hand because the general table compares through a call, and keeps the texts elsewhere.
#[derive(Debug)]
pub(crate) struct Places {
    /// A power of two of them.
    slots: Vec<Slot>,
    count: u32,
    /// The slot of the newest place.
    newest: usize,
    secrets: [u64; 2],
}

impl Places {
    const SLOTS_MIN: usize = 16;

    /// An empty table with secrets of its own, so that nobody can choose texts that collide.
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        let secrets = [random.hash_one(1u64), random.hash_one(2u64)];
        Self { slots: vec![EMPTY; Self::SLOTS_MIN], count: 0, newest: 0, secrets }
    }

    /// The key of a text.
    #[inline(always)]
    pub(crate) fn key(&self, text: &[u8]) -> Key {
        if text.len() <= CHUNK_BYTES { Key::short(Chunk::padded(text), text.len()) } else { self.long_key(text) }
    }

    #[inline]
    fn long_key(&self, text: &[u8]) -> Key {
        let mut hash = self.secrets[0] ^ text.len() as u64;
        let (chunks, _) = text.as_chunks::<CHUNK_BYTES>();
        for chunk in chunks {
            let [low, high] = Chunk::padded(chunk).words();
            hash = folded(low ^ hash, high ^ self.secrets[1]);
        }
        // The last bytes once more, whatever part of them a chunk had.
        let [low, high] = Chunk::padded(&text[text.len() - CHUNK_BYTES..]).words();
        hash = folded(low ^ hash, high ^ self.secrets[1]);
        Key { low: hash, high, length: text.len() as u32 }
    }

    #[inline(always)]
    fn hash(&self, key: &Key) -> u64 {
        if key.is_short() {
            folded(key.low ^ self.secrets[0], key.high ^ self.secrets[1] ^ u64::from(key.length))
        } else {
            key.low
        }
    }

    /// The place with this key, else the slot where it would be. `is` is asked whether a long text really is the one at a place.
    #[inline(always)]
    pub(crate) fn find(&self, key: &Key, is: impl Fn(usize) -> bool) -> Result<u32, usize> {
        let slots = self.slots.as_slice();
        let mask = slots.len() - 1;
        let mut at = self.hash(key) as usize & mask;
        loop {
            let slot = &slots[at];
            let is_equal = (slot.low ^ key.low) | (slot.high ^ key.high) | u64::from(slot.length ^ key.length) == 0;
            if is_equal && (key.is_short() || is(slot.place as usize - 1)) {
                return Ok(slot.place - 1);
            }
            if slot.place == 0 {
                return Err(at);
            }
            at = (at + 1) & mask;
        }
    }

    /// Gives the next place to a text, by the slot that [`Places::find`] answered.
    pub(crate) fn add(&mut self, at: usize, key: Key) -> u32 {
        let place = self.count;
        self.count += 1;
        self.slots[at] = Slot { low: key.low, high: key.high, length: key.length, place: self.count };
        self.newest = at;
        if self.count as usize * 4 > self.slots.len() {
            self.grow();
        }
        place
    }

    #[cold]
    fn grow(&mut self) {
        let length = self.slots.len() * 4;
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; length]);
        for slot in old.iter().filter(|slot| slot.place > 0) {
            let mut at = self.hash(&slot.key()) as usize & (length - 1);
            while self.slots[at].place > 0 {
                at = (at + 1) & (length - 1);
            }
            self.slots[at] = *slot;
            if slot.place == self.count {
                self.newest = at;
            }
        }
    }

    /// Takes the newest place out again; once. Nothing came behind it, so no other is found through its slot.
    pub(crate) fn take_newest(&mut self) {
        self.slots[self.newest] = EMPTY;
        self.count -= 1;
    }

    /// Forgets all places. A table that is far too large for them is let go, so that small batches do not sweep it.
    pub(crate) fn clear(&mut self) {
        if self.count == 0 {
            return;
        }
        if self.slots.len() > 32 * (self.count as usize).max(Self::SLOTS_MIN) {
            self.reset();
        } else {
            self.slots.fill(EMPTY);
            self.count = 0;
        }
    }

    /// Forgets all places and lets the room for them go.
    pub(crate) fn reset(&mut self) {
        self.slots = vec![EMPTY; Self::SLOTS_MIN];
        self.count = 0;
    }
}

/// Both halves of a product, mixed: each bit depends on all bits of both.
#[inline(always)]
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

/// Whether two texts of one length, longer than 16 bytes, are equal: in line, most are shorter than a call is worth.
#[inline(always)]
pub(crate) fn same_long(one: &[u8], other: &[u8]) -> bool {
    let length = one.len();
    if length > 64 || length != other.len() {
        return one == other;
    }
    let mut at = 0;
    while at + CHUNK_BYTES < length {
        if Chunk::first_of(&one[at..]) != Chunk::first_of(&other[at..]) {
            return false;
        }
        at += CHUNK_BYTES;
    }
    Chunk::first_of(&one[length - CHUNK_BYTES..]) == Chunk::first_of(&other[length - CHUNK_BYTES..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts in order of appearance, looked up as a dictionary does.
    #[derive(Default)]
    struct Known(Vec<Vec<u8>>);

    impl Known {
        fn place(&mut self, places: &mut Places, text: &[u8]) -> u32 {
            let key = places.key(text);
            match places.find(&key, |place| same_long(&self.0[place], text)) {
                Ok(place) => place,
                Err(at) => {
                    self.0.push(text.to_vec());
                    places.add(at, key)
                }
            }
        }
    }

    #[test]
    fn texts_of_every_length_keep_their_places() {
        let mut texts: Vec<Vec<u8>> = (0..100).map(|length| vec![b'a'; length]).collect();
        // Zeros behind a short text are no part of it.
        texts.extend((1..20).map(|length| vec![0; length]));
        // They differ in one byte only, wherever it is.
        texts.extend((0..70).map(|place| (0..70).map(|at| if at == place { b'b' } else { b'a' }).collect()));
        let (mut places, mut known) = (Places::new(), Known::default());
        for round in 0..3 {
            for (place, text) in texts.iter().enumerate() {
                assert_eq!(known.place(&mut places, text), place as u32, "round {round}: {text:?}");
            }
        }
        places.clear();
        known.0.clear();
        assert_eq!(known.place(&mut places, b"again"), 0);
    }

    #[test]
    fn the_newest_place_can_be_taken_back_even_when_the_table_has_just_grown() {
        let (mut places, mut known) = (Places::new(), Known::default());
        for number in 0..2_000u32 {
            let text = format!("text {number}").into_bytes();
            assert_eq!(known.place(&mut places, &text), number);
            places.take_newest();
            known.0.pop();
            let key = places.key(&text);
            assert!(places.find(&key, |_| true).is_err());
            assert_eq!(known.place(&mut places, &text), number);
        }
        for number in 0..2_000u32 {
            assert_eq!(known.place(&mut places, format!("text {number}").as_bytes()), number);
        }
    }
}
