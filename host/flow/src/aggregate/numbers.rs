//! Numbers of a column with the groups they belong to: nulls are left out here, once.

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float64Type};
use arrow_array::{Array, ArrayRef};
use arrow_cast::cast;
use arrow_schema::DataType;

/// Calls `take` with the group and the value of every row that has one.
#[inline]
pub(crate) fn each<T: ArrowPrimitiveType>(groups: &[u32], column: &dyn Array, mut take: impl FnMut(u32, T::Native)) {
    let column = column.as_primitive::<T>();
    debug_assert_eq!(groups.len(), column.len());
    if column.null_count() == 0 {
        groups.iter().zip(column.values().iter()).for_each(|(group, value)| take(*group, *value));
    } else {
        let values = column.values();
        let valid = column.nulls().expect("it has nulls");
        valid.valid_indices().for_each(|row| take(groups[row], values[row]));
    }
}

/// A column of int64 or float64 as doubles.
pub(crate) fn doubles(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => column.clone(),
        _ => cast(column, &DataType::Float64).expect("numbers cast to doubles"),
    }
}

/// [`each`] over int64 or float64 as doubles.
pub(crate) fn each_double(groups: &[u32], column: &ArrayRef, take: impl FnMut(u32, f64)) {
    each::<Float64Type>(groups, doubles(column).as_ref(), take);
}
