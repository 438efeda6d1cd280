//! `origin`: columns that say where a row came from, for evidence and for whoever looks later.

use std::sync::Arc;

use arrow_array::builder::StringDictionaryBuilder;
use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, Int64Array};
use tidemill_event::{Breaker, Field, FieldType};

use crate::batch::field_of;
use crate::{FlowBatch, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// Adds columns with the stream, the partition and the offset of the event that each row was made of.
pub struct Origin {
    step: StepId,
    stream: Option<Arc<str>>,
    partition: Option<Arc<str>>,
    offset: Option<Arc<str>>,
}

impl Origin {
    /// The names of the columns that are wanted.
    pub fn new(step: StepId, stream: Option<Arc<str>>, partition: Option<Arc<str>>, offset: Option<Arc<str>>) -> Self {
        Self { step, stream, partition, offset }
    }
}

impl Operator for Origin {
    fn step(&self) -> StepId {
        self.step
    }

    /// # Panics
    /// If the driver did not say where the batch's rows came from.
    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let mut streams = StringDictionaryBuilder::<UInt32Type>::new();
        let (mut partitions, mut offsets) = (Vec::with_capacity(input.len()), Vec::with_capacity(input.len()));
        for origin in &input.origin {
            let place = output.place(*origin);
            streams.append_value(&place.stream);
            partitions.push(i64::from(place.partition.0));
            offsets.push(i64::try_from(place.offset.0).unwrap_or(i64::MAX));
        }
        let wanted: [(&Option<Arc<str>>, FieldType, ArrayRef); 3] = [
            (&self.stream, FieldType::String, Arc::new(streams.finish())),
            (&self.partition, FieldType::Int64, Arc::new(Int64Array::from(partitions))),
            (&self.offset, FieldType::Int64, Arc::new(Int64Array::from(offsets))),
        ];
        let column = |(name, ty, column): (&Option<Arc<str>>, FieldType, ArrayRef)| {
            Some((field_of(&Field::new(name.as_deref()?, ty, false), &column), column))
        };
        let added = wanted.into_iter().filter_map(column).collect();
        input.with_columns(added)
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        None
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        None
    }

    fn due(&self) -> Option<Watermark> {
        None
    }
}
