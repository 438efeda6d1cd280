//! Keyed state: a struct of fields the host keeps per key. It comes in with the batch and goes back with the answer.

use crate::abi::bindings::Column as Place;
use crate::call::Call;
use crate::column::{Bits, Bytes, Column, Jsons, Nullable, Texts, Wide, Word, Words};
use crate::field::StateField;
use crate::output::{Buffer, OutputValue};
use crate::{Decimal, Json, Timestamp};

/// What a component remembers per key. Made by `#[derive(State)]`; `()` is no state.
pub trait State: Sized {
    /// Its fields, in order.
    const FIELDS: &'static [StateField];

    /// One state per key of the call.
    fn load(call: &Call<'_>) -> Vec<Self>;

    /// Writes the new states, in the same order.
    fn store(states: &[Self], buffer: &mut Buffer, places: &mut Vec<Place>);
}

impl State for () {
    const FIELDS: &'static [StateField] = &[];

    fn load(_call: &Call<'_>) -> Vec<Self> {
        vec![()]
    }

    fn store(_states: &[Self], _buffer: &mut Buffer, _places: &mut Vec<Place>) {}
}

/// A type a state field may have.
pub trait StateValue: OutputValue + Sized {
    /// Reads the values of all keys.
    fn load(call: &Call<'_>, place: &Place) -> impl Iterator<Item = Self>;
}

macro_rules! state_values {
    ($([$($generics:tt)*] $ty:ty => $column:ty, |$value:ident| $own:expr;)*) => {
        $(impl<$($generics)*> StateValue for $ty {
            fn load(call: &Call<'_>, place: &Place) -> impl Iterator<Item = Self> {
                let column = <$column>::bind(call, place, call.keys);
                (0..call.keys).map(move |key| {
                    let $value = column.get(key);
                    $own
                })
            }
        }

        impl<$($generics)*> StateValue for Option<$ty> {
            fn load(call: &Call<'_>, place: &Place) -> impl Iterator<Item = Self> {
                let column = Nullable::bind(call, place, call.keys, <$column>::bind(call, place, call.keys));
                (0..call.keys).map(move |key| column.get(key).map(|$value| $own))
            }
        })*
    };
}

state_values! {
    [] bool => Bits<'_>, |value| value;
    [] i64 => Words<'_, i64>, |value| value;
    [] f64 => Words<'_, f64>, |value| value;
    [] Timestamp => Words<'_, Timestamp>, |value| value;
    [const PRECISION: u8, const SCALE: u8] Decimal<PRECISION, SCALE> => Wide<'_, PRECISION, SCALE>, |value| value;
    [] String => Texts<'_>, |value| value.to_owned();
    [] Vec<u8> => Bytes<'_>, |value| value.to_vec();
    [] Json<'static> => Jsons<'_>, |value| Json(value.0.into_owned().into());
    [] Vec<i64> => Bytes<'_>, |value| words(value);
    [] Vec<f64> => Bytes<'_>, |value| words(value);
    [] Vec<Timestamp> => Bytes<'_>, |value| words(value);
}

/// A list from a `bytes` field: eight little-endian bytes each.
fn words<T: Word>(bytes: &[u8]) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|word| T::from_word(u64::from_le_bytes(*word))).collect()
}
