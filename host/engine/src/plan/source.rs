//! What a pipeline reads: its streams at the versions it is planned for, and the one set of columns they make together.
//!
//! ```text
//!  clicks  0 ─┐         task 0 takes partition 0 of every stream that has one,
//!          1 ─┼─┐       task 1 takes partition 1, …: as many tasks as the widest stream has partitions
//!  views   0 ─┘ │
//!          1 ───┘       same key, same type, as many partitions everywhere: a key's rows of all streams meet in one task
//!                       else, if a step needs rows of one key together: one task takes all partitions, each with a time of its own
//! ```

use std::sync::Arc;
use std::time::Duration;

use tidemill_event::{
    EventTime, Field, FieldType, Offset, PartitionId, SchemaVersion, StreamDefinition, StreamId, StreamSchema, UnknownFields,
    batch,
};
use tidemill_flow::Side;
use tidemill_log::{Partition, ReadError, ReadLimit, Stream, Visibility};

use crate::Fault;
use crate::pipeline::{OnTrim, PipelineDefinition, Source, Start, nearest};
use crate::plan::check::{Catalog, Pinning};
use crate::plan::component::{plain, type_name};

/// One stream that is read.
pub(crate) struct PlannedSource {
    pub(crate) stream: Arc<Stream>,
    /// What it is called in what is kept of the run; see [`PipelineDefinition::input_names`].
    pub(crate) input: Arc<str>,
    /// What expressions have in front of its columns, if that is said.
    alias: Option<Arc<str>>,
    pub(crate) version: SchemaVersion,
    /// As it was at that version.
    pub(crate) definition: Arc<StreamDefinition>,
    pub(crate) start: Start,
    pub(crate) on_trim: OnTrim,
    /// How far behind the newest row of its lane a row may be without being late.
    pub(crate) out_of_orderness: Duration,
    /// A lane of it that is silent so long holds nothing back; `None`: it does for ever.
    pub(crate) idle: Option<Duration>,
}

impl PlannedSource {
    pub(crate) fn name(&self) -> &str {
        self.stream.id().stream.as_str()
    }

    /// What stands in front of its columns behind a join.
    pub(crate) fn alias(&self) -> Arc<str> {
        self.alias.clone().unwrap_or_else(|| self.name().into())
    }

    /// Where a run that begins now begins, for each partition. Blocking: a time is looked for on the disk.
    pub(crate) fn starts(&self) -> Result<Vec<u64>, ReadError> {
        self.places(&self.start)
    }

    /// Where `start` is in each partition.
    pub(crate) fn places(&self, start: &Start) -> Result<Vec<u64>, ReadError> {
        let partitions = self.stream.partitions();
        match start {
            Start::Earliest => Ok(partitions.iter().map(|partition| partition.trim_point().0).collect()),
            Start::Latest => Ok(self.ends()),
            Start::Offsets(offsets) => Ok(offsets.clone()),
            Start::Time(time) => partitions.iter().map(|partition| first_at(partition, *time)).collect(),
        }
    }

    /// Why these offsets are no places of the stream; `None` if they are.
    pub(crate) fn misplaced(&self, offsets: &[u64]) -> Option<String> {
        misplaced(&self.stream, offsets)
    }

    /// The ends now, for each partition.
    pub(crate) fn ends(&self) -> Vec<u64> {
        self.stream.partitions().iter().map(|partition| partition.end(Visibility::Durable).0).collect()
    }
}

/// The first row that is not older than `time`; the end if there is none.
fn first_at(partition: &Partition, time: EventTime) -> Result<u64, ReadError> {
    let end = partition.end(Visibility::Durable);
    let mut from = partition.seek(time);
    while from < end {
        let limit = ReadLimit { rows_max: 65_536, bytes_max: 8 << 20 };
        let Some(block) = partition.read(from, limit, Visibility::Durable)? else { break };
        if let Some(row) = batch::times(&block.rows).values().iter().position(|at| *at >= time.0) {
            return Ok(block.start.plus(row).0);
        }
        from = block.start.plus(block.rows.num_rows());
    }
    Ok(from.0)
}

/// All that is read, as one.
pub(crate) struct Sources {
    /// In the order of the text; never empty.
    pub(crate) list: Vec<PlannedSource>,
    /// The columns together. Rows of every stream and version are brought to it. Of a join, those of the left side.
    pub(crate) schema: StreamSchema,
    /// They are the sides of a join, each with its own columns.
    pub(crate) are_sides: bool,
    /// One task takes all partitions, and why; `None`: a task for each.
    pub(crate) gathered: Option<String>,
}

impl Sources {
    /// The columns that rows of one of them are brought to.
    pub(crate) fn schema_of(&self, number: usize) -> &StreamSchema {
        if self.are_sides { &self.list[number].definition.schema } else { &self.schema }
    }

    /// What events of any of them are read back with, from dead letters.
    pub(crate) fn event_schema(&self) -> StreamSchema {
        if self.are_sides {
            // Of which side one is is not known before it is read.
            return StreamSchema { fields: Vec::new(), unknown: UnknownFields::Keep, infer: false };
        }
        self.schema.clone()
    }

    /// Which side of a join one of them is; the left one where there is none.
    pub(crate) fn side(&self, number: usize) -> Side {
        if self.are_sides && number == 1 { Side::Right } else { Side::Left }
    }

    /// How many tasks take them.
    pub(crate) fn tasks(&self) -> u32 {
        if self.gathered.is_some() { 1 } else { self.partitions() }
    }

    /// How many partitions the widest of them has.
    pub(crate) fn partitions(&self) -> u32 {
        self.list.iter().map(|source| source.stream.partitions().len() as u32).max().unwrap_or(0)
    }

    /// What one task takes: of each stream, by its place in `list`, the partition of its number, or all of them.
    pub(crate) fn of_task(&self, task: PartitionId) -> impl Iterator<Item = (usize, &PlannedSource, &Arc<Partition>)> {
        let takes = move |partition: &&Arc<Partition>| self.gathered.is_some() || partition.key().partition == task;
        let of = move |(at, source): (usize, _)| {
            let source: &PlannedSource = source;
            source.stream.partitions().iter().filter(takes).map(move |partition| (at, source, partition))
        };
        self.list.iter().enumerate().flat_map(of)
    }

    /// What an input is called in what is kept of a run: a partition beside others of its stream has its number with it.
    pub(crate) fn input_name(&self, source: &PlannedSource, partition: PartitionId) -> Arc<str> {
        if self.gathered.is_some() && source.stream.partitions().len() > 1 {
            return format!("{}/{partition}", source.input).into();
        }
        source.input.clone()
    }

    /// The fields by which rows of all streams are placed alike; empty if there are none.
    /// Of a join, those of the left side: the plan sees to it that the right one is placed by columns that must be equal.
    pub(crate) fn key(&self) -> &[Arc<str>] {
        let first = &self.list[0];
        if self.are_sides {
            return &first.definition.key;
        }
        let alike = |other: &PlannedSource| {
            let same_type = |name: &Arc<str>| {
                // The key's bytes are those of its JSON text, so the unit of a timestamp counts.
                let ty = |source: &PlannedSource| source.definition.schema.field(name).map(|field| field.ty);
                ty(first) == ty(other)
            };
            other.stream.partitions().len() == first.stream.partitions().len()
                && other.definition.key == first.definition.key
                && first.definition.key.iter().all(same_type)
        };
        if self.list.iter().all(alike) { &first.definition.key } else { &[] }
    }

    /// `3 partitions of `wide`, which has the key [n]`, for faults.
    pub(crate) fn described(&self) -> String {
        let one = |source: &PlannedSource| {
            let key = match source.definition.key.as_slice() {
                [] => "no key".to_owned(),
                key => format!("the key [{}]", key.join(", ")),
            };
            format!("{} partitions of `{}`, which has {key}", source.stream.partitions().len(), source.name())
        };
        self.list.iter().map(one).collect::<Vec<_>>().join(", and of the ")
    }
}

/// The streams of a definition; `None` with a fault for everything that is wrong with them.
pub(super) fn sources_of(
    definition: &PipelineDefinition,
    catalog: &Catalog<'_>,
    pinning: Pinning<'_>,
    gathered: Option<String>,
    faults: &mut Vec<Fault>,
) -> Option<Sources> {
    let faults_before = faults.len();
    let list: Vec<PlannedSource> = definition
        .sources
        .iter()
        .zip(definition.input_names())
        .filter_map(|(source, input)| {
            source_of(source, input.as_str().into(), catalog, pinning).map_err(|fault| faults.push(fault)).ok()
        })
        .collect();
    let are_sides = definition.is_join();
    let schema = match list.as_slice() {
        [first, ..] if are_sides => first.definition.schema.clone(),
        [one] => one.definition.schema.clone(),
        several => together(several, &definition.sources, faults),
    };
    (faults.len() == faults_before).then_some(Sources { list, schema, are_sides, gathered })
}

fn source_of(source: &Source, input: Arc<str>, catalog: &Catalog<'_>, pinning: Pinning<'_>) -> Result<PlannedSource, Fault> {
    let id = StreamId::new(catalog.tenant.clone(), source.stream.clone());
    let Some(stream) = catalog.log.stream(&id) else { return Err(unknown(source, catalog)) };
    let version = match pinning {
        Pinning::Newest(_) => {
            refuse_start(source, &stream)?;
            stream.version()
        }
        Pinning::As(stored) => stored.source(&input).map_or_else(|| stream.version(), |stored| SchemaVersion(stored.version)),
    };
    let Some(definition) = stream.definition_at(version) else {
        let error = format!("`{}` has no version {}", id.stream, version.0);
        return Err(Fault::new(&source.path, source.line, error, "apply the pipeline again"));
    };
    Ok(PlannedSource {
        stream,
        input,
        alias: source.alias.as_deref().map(Into::into),
        version,
        definition,
        start: source.start.clone(),
        on_trim: source.on_trim,
        out_of_orderness: source.out_of_orderness,
        idle: source.idle,
    })
}

fn refuse_start(source: &Source, stream: &Stream) -> Result<(), Fault> {
    let Start::Offsets(offsets) = &source.start else { return Ok(()) };
    match misplaced(stream, offsets) {
        None => Ok(()),
        Some(error) => Err(Fault::new(
            format!("{}.start", source.path),
            source.line,
            error,
            "write one offset that is there for each partition, `[1200, 990]`, or a time, or `earliest`",
        )),
    }
}

fn misplaced(stream: &Stream, offsets: &[u64]) -> Option<String> {
    let (name, partitions) = (&stream.id().stream, stream.partitions());
    if offsets.len() != partitions.len() {
        return Some(format!("{} offsets for the {} partitions of `{name}`", offsets.len(), partitions.len()));
    }
    partitions.iter().zip(offsets).find_map(|(partition, offset)| {
        let (trim_point, end) = (partition.trim_point(), partition.end(Visibility::Durable));
        let number = partition.key().partition;
        (Offset(*offset) < trim_point || Offset(*offset) > end)
            .then(|| format!("partition {number} of `{name}` has the rows [{trim_point}, {end}), and {offset} is none of them"))
    })
}

fn unknown(source: &Source, catalog: &Catalog<'_>) -> Fault {
    let wanted = source.stream.as_str();
    let there: Vec<String> = catalog
        .log
        .streams()
        .iter()
        .filter(|stream| stream.id().tenant == *catalog.tenant && stream.id().stream.suffix().is_none())
        .map(|stream| stream.id().stream.to_string())
        .collect();
    let remedy = match nearest(wanted, there.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("make it first: `PUT /v1/streams/{wanted}`, or send an event to it"),
    };
    Fault::new(&source.path, source.line, format!("there is no stream `{wanted}`"), remedy)
}

/// The columns of several streams by name, in the order in which they first come up. Types must agree; what one of the streams lacks is
/// null in its rows.
fn together(list: &[PlannedSource], texts: &[Source], faults: &mut Vec<Fault>) -> StreamSchema {
    let mut fields: Vec<(Field, &str)> = Vec::new();
    for source in list {
        for field in &source.definition.schema.fields {
            let Some((there, first)) = fields.iter_mut().find(|(there, _)| there.name == field.name) else {
                fields.push((field.clone(), source.name()));
                continue;
            };
            there.nullable |= field.nullable;
            if plain(there.ty) != plain(field.ty) {
                let (this, other) = (type_name(field.ty), type_name(there.ty));
                let error = format!("`{}` is {this} in `{}` and {other} in `{first}`", field.name, source.name());
                let remedy =
                    format!("bring one to the type of the other in a pipeline of its own: `select: {{{}: …}}`", field.name);
                let place = texts.iter().find(|text| text.stream.as_str() == source.name());
                let (path, line) = place.map_or(("from", 1), |text| (text.path.as_str(), text.line));
                faults.push(Fault::new(path, line, error, remedy));
            } else if there.ty != field.ty {
                there.ty = FieldType::Timestamp(None);
            }
        }
    }
    for (field, _) in &mut fields {
        field.nullable |= list.iter().any(|source| source.definition.schema.field(&field.name).is_none());
    }
    let keeps = list.iter().any(|source| source.definition.schema.unknown == UnknownFields::Keep);
    StreamSchema {
        fields: fields.into_iter().map(|(field, _)| field).collect(),
        unknown: if keeps { UnknownFields::Keep } else { UnknownFields::Drop },
        infer: false,
    }
}
