//! The Rust types an event's fields may have, and how each is read from its column.

use crate::abi::bindings::Column as Place;
use crate::call::Call;
use crate::column::{Bits, Bytes, Column, Jsons, Nullable, Texts, Wide, Words};
use crate::field::FieldType;
use crate::{Decimal, Json, Timestamp};

/// A type an event's field may have.
pub trait Value: FieldType {
    /// The column of such fields, borrowed from a batch.
    type Column<'a>: Column<Value = Self::View<'a>>;
    /// The value of one row, borrowed from a batch.
    type View<'a>;

    /// Finds the column in the batch's buffer.
    fn bind<'a>(call: &Call<'a>, place: &Place, rows: usize) -> Self::Column<'a>;
}

macro_rules! values {
    ($($ty:ty => $column:ty, $view:ty;)*) => {
        $(impl Value for $ty {
            type Column<'a> = $column;
            type View<'a> = $view;

            fn bind<'a>(call: &Call<'a>, place: &Place, rows: usize) -> $column {
                <$column>::bind(call, place, rows)
            }
        })*
    };
}

values! {
    bool => Bits<'a>, bool;
    i64 => Words<'a, i64>, i64;
    f64 => Words<'a, f64>, f64;
    Timestamp => Words<'a, Timestamp>, Timestamp;
    &str => Texts<'a>, &'a str;
    &[u8] => Bytes<'a>, &'a [u8];
}

impl Value for Json<'_> {
    type Column<'a> = Jsons<'a>;
    type View<'a> = Json<'a>;

    fn bind<'a>(call: &Call<'a>, place: &Place, rows: usize) -> Jsons<'a> {
        Jsons::bind(call, place, rows)
    }
}

impl<const PRECISION: u8, const SCALE: u8> Value for Decimal<PRECISION, SCALE> {
    type Column<'a> = Wide<'a, PRECISION, SCALE>;
    type View<'a> = Self;

    fn bind<'a>(call: &Call<'a>, place: &Place, rows: usize) -> Wide<'a, PRECISION, SCALE> {
        Wide::bind(call, place, rows)
    }
}

impl<T: Value> Value for Option<T> {
    type Column<'a> = Nullable<'a, T::Column<'a>>;
    type View<'a> = Option<T::View<'a>>;

    fn bind<'a>(call: &Call<'a>, place: &Place, rows: usize) -> Self::Column<'a> {
        Nullable::bind(call, place, rows, T::bind(call, place, rows))
    }
}
