//! How a component declares what it reads, makes and remembers: names and types, nothing else.

/// What a field holds. Its number is that of the WIT enum `field-kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `bool`.
    Boolean = 0,
    /// `i64`.
    Integer = 1,
    /// `f64`.
    Number = 2,
    /// [`Decimal`](crate::Decimal).
    Decimal = 3,
    /// `&str`, `String`.
    Text = 4,
    /// `&[u8]`, `Vec<u8>`, and lists kept in state.
    Binary = 5,
    /// [`Timestamp`](crate::Timestamp).
    Timestamp = 6,
    /// [`Json`](crate::Json).
    Json = 7,
}

/// A column a component reads or makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name in the stream; a dotted name is the path of a nested value.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// All digits of a decimal; else 0.
    pub precision: u8,
    /// A decimal's digits behind the point; else 0.
    pub scale: u8,
    /// Whether it may be null.
    pub nullable: bool,
}

impl Field {
    /// The field of that name whose values are `T`s.
    pub const fn of<T: FieldType>(name: &'static str) -> Self {
        Self { name, kind: T::KIND, precision: T::PRECISION, scale: T::SCALE, nullable: T::NULLABLE }
    }
}

/// A field of keyed state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateField {
    /// Its name and type.
    pub field: Field,
    /// The value for a key never seen before, as JSON text; `None` is null.
    pub first: Option<&'static str>,
}

/// A Rust type that stands for a field's type.
pub trait FieldType {
    /// What the field holds.
    const KIND: Kind;
    /// All digits of a decimal; else 0.
    const PRECISION: u8 = 0;
    /// A decimal's digits behind the point; else 0.
    const SCALE: u8 = 0;
    /// Whether the field may be null: `Option<T>`.
    const NULLABLE: bool = false;
    /// In state: the value for a key never seen before unless `#[state(first = ..)]` says another, as JSON text.
    const FIRST: Option<&'static str>;
}

impl<T: FieldType> FieldType for Option<T> {
    const KIND: Kind = T::KIND;
    const PRECISION: u8 = T::PRECISION;
    const SCALE: u8 = T::SCALE;
    const NULLABLE: bool = true;
    const FIRST: Option<&'static str> = None;
}

/// One line per type: what kind of field it is and its first value in state.
macro_rules! field_types {
    ($($ty:ty => $kind:ident, $first:literal;)*) => {
        $(impl FieldType for $ty {
            const KIND: Kind = Kind::$kind;
            const FIRST: Option<&'static str> = Some($first);
        })*
    };
}

field_types! {
    bool => Boolean, "false";
    i64 => Integer, "0";
    f64 => Number, "0";
    &str => Text, "\"\"";
    String => Text, "\"\"";
    &[u8] => Binary, "\"\"";
    Vec<u8> => Binary, "\"\"";
    Vec<i64> => Binary, "\"\"";
    Vec<f64> => Binary, "\"\"";
    Vec<crate::Timestamp> => Binary, "\"\"";
    crate::Timestamp => Timestamp, "\"1970-01-01T00:00:00Z\"";
    crate::Json<'_> => Json, "null";
}

impl<const PRECISION: u8, const SCALE: u8> FieldType for crate::Decimal<PRECISION, SCALE> {
    const KIND: Kind = Kind::Decimal;
    const PRECISION: u8 = PRECISION;
    const SCALE: u8 = SCALE;
    const FIRST: Option<&'static str> = Some("0");
}
