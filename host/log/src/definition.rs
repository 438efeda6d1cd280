//! A stream's definition as stored bytes (`docs/formats/log.md`, "Definition").

use std::sync::Arc;
use std::time::Duration;

use tidemill_event::{
    CompatibilityMode, Field, FieldType, MissingTime, Retention, StreamDefinition, StreamSchema, TimeField, TimeUnit,
    UnknownFields,
};

use crate::wire::{Malformed, Put, Take};

pub(crate) fn encode(definition: &StreamDefinition, out: &mut Vec<u8>) {
    let schema = &definition.schema;
    out.put_u32(schema.fields.len() as u32);
    for field in &schema.fields {
        out.put_str(&field.name);
        encode_type(field.ty, out);
        out.put_u8(u8::from(field.nullable));
        out.put_u8(u8::from(field.inferred));
    }
    out.put_u8(match schema.unknown {
        UnknownFields::Keep => 0,
        UnknownFields::Drop => 1,
        UnknownFields::Reject => 2,
    });
    out.put_u8(u8::from(schema.infer));
    out.put_u8(u8::from(definition.time.is_some()));
    if let Some(time) = &definition.time {
        out.put_str(&time.field);
        out.put_u8(unit_code(time.unit));
        out.put_u8(match time.missing {
            MissingTime::Reject => 0,
            MissingTime::Arrival => 1,
        });
    }
    out.put_u32(definition.key.len() as u32);
    for name in &definition.key {
        out.put_str(name);
    }
    out.put_u32(definition.partitions);
    let Retention { age, bytes } = definition.retention;
    out.put_u8(u8::from(age.is_some()));
    if let Some(age) = age {
        out.put_u64(u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
    }
    out.put_u8(u8::from(bytes.is_some()));
    if let Some(bytes) = bytes {
        out.put_u64(bytes);
    }
    out.put_u8(match definition.compatibility {
        CompatibilityMode::Backward => 0,
        CompatibilityMode::Forward => 1,
        CompatibilityMode::Full => 2,
        CompatibilityMode::None => 3,
    });
}

pub(crate) fn decode(take: &mut Take<'_>) -> Result<StreamDefinition, Malformed> {
    let mut fields = Vec::new();
    for _ in 0..take.u32()? {
        let name: Arc<str> = take.str()?.into();
        let ty = decode_type(take)?;
        fields.push(Field { name, ty, nullable: take.flag()?, inferred: take.flag()? });
    }
    let unknown = match take.u8()? {
        0 => UnknownFields::Keep,
        1 => UnknownFields::Drop,
        2 => UnknownFields::Reject,
        _ => return Err(Malformed),
    };
    let schema = StreamSchema { fields, unknown, infer: take.flag()? };
    let time = if take.flag()? {
        let field = take.str()?.into();
        let unit = decode_unit(take.u8()?)?;
        let missing = if take.flag()? { MissingTime::Arrival } else { MissingTime::Reject };
        Some(TimeField { field, unit, missing })
    } else {
        None
    };
    let mut key = Vec::new();
    for _ in 0..take.u32()? {
        key.push(take.str()?.into());
    }
    let partitions = take.u32()?;
    let age = if take.flag()? { Some(Duration::from_micros(take.u64()?)) } else { None };
    let bytes = if take.flag()? { Some(take.u64()?) } else { None };
    let compatibility = match take.u8()? {
        0 => CompatibilityMode::Backward,
        1 => CompatibilityMode::Forward,
        2 => CompatibilityMode::Full,
        3 => CompatibilityMode::None,
        _ => return Err(Malformed),
    };
    Ok(StreamDefinition { schema, time, key, partitions, retention: Retention { age, bytes }, compatibility })
}

fn encode_type(ty: FieldType, out: &mut Vec<u8>) {
    match ty {
        FieldType::Bool => out.put_u8(1),
        FieldType::Int64 => out.put_u8(2),
        FieldType::Float64 => out.put_u8(3),
        FieldType::Decimal { precision, scale } => out.extend_from_slice(&[4, precision, scale]),
        FieldType::String => out.put_u8(5),
        FieldType::Bytes => out.put_u8(6),
        FieldType::Timestamp(unit) => out.extend_from_slice(&[7, unit_code(unit)]),
        FieldType::Json => out.put_u8(8),
    }
}

fn decode_type(take: &mut Take<'_>) -> Result<FieldType, Malformed> {
    Ok(match take.u8()? {
        1 => FieldType::Bool,
        2 => FieldType::Int64,
        3 => FieldType::Float64,
        4 => {
            let (precision, scale) = (take.u8()?, take.u8()?);
            if !(1..=38).contains(&precision) || scale > precision {
                return Err(Malformed);
            }
            FieldType::Decimal { precision, scale }
        }
        5 => FieldType::String,
        6 => FieldType::Bytes,
        7 => FieldType::Timestamp(decode_unit(take.u8()?)?),
        8 => FieldType::Json,
        _ => return Err(Malformed),
    })
}

fn unit_code(unit: Option<TimeUnit>) -> u8 {
    match unit {
        None => 0,
        Some(TimeUnit::Seconds) => 1,
        Some(TimeUnit::Millis) => 2,
        Some(TimeUnit::Micros) => 3,
    }
}

fn decode_unit(code: u8) -> Result<Option<TimeUnit>, Malformed> {
    Ok(match code {
        0 => None,
        1 => Some(TimeUnit::Seconds),
        2 => Some(TimeUnit::Millis),
        3 => Some(TimeUnit::Micros),
        _ => return Err(Malformed),
    })
}
