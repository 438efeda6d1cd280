//! The columns between two steps, and which of them are still the source's own.

use std::sync::Arc;

use tidemill_event::{Field, StreamSchema, UnknownFields};
use tidemill_expr::{Scope, ScopeColumn};
use tidemill_flow::extended_fields;

/// What a column of `origin` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaceColumn {
    Stream,
    Partition,
    Offset,
}

/// Columns at one place of a pipeline.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    pub(crate) fields: Vec<Field>,
    /// Whether rows still carry the fields their stream's schema does not name.
    pub(crate) unknown: bool,
    /// Columns that hold a source field unchanged: (name here, name there). Partitioning by the field is partitioning by the column.
    untouched: Vec<(Arc<str>, Arc<str>)>,
    /// Columns that say where the event of a row stands.
    places: Vec<(Arc<str>, PlaceColumn)>,
    /// `as` of the source, good until a step replaces the row.
    alias: Option<String>,
}

impl Columns {
    /// What the source has.
    pub(crate) fn of_source(schema: &StreamSchema, alias: Option<String>) -> Self {
        Self {
            fields: schema.fields.clone(),
            unknown: schema.unknown == UnknownFields::Keep,
            untouched: schema.fields.iter().map(|field| (field.name.clone(), field.name.clone())).collect(),
            places: Vec::new(),
            alias,
        }
    }

    /// What comes out of a join; `untouched` says which of them still tell in which task a row is.
    pub(crate) fn of_join(fields: Vec<Field>, untouched: Vec<(Arc<str>, Arc<str>)>) -> Self {
        Self { fields, unknown: false, untouched, places: Vec::new(), alias: None }
    }

    /// The same columns where rows are placed by some of them: each is its own source now.
    pub(crate) fn placed_anew(mut self) -> Self {
        self.untouched = self.fields.iter().map(|field| (field.name.clone(), field.name.clone())).collect();
        self
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| &*field.name == name)
    }

    /// A column by its name, with the source's in front or not.
    pub(crate) fn resolve(&self, name: &str) -> Option<&Field> {
        let bare = || name.strip_prefix(self.alias.as_deref()?)?.strip_prefix('.');
        self.field(name).or_else(|| self.field(bare()?))
    }

    /// Whether it is the source's name.
    pub(crate) fn is_alias(&self, name: &str) -> bool {
        self.alias.as_deref() == Some(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| &*field.name)
    }

    /// The source field that a column holds unchanged.
    pub(crate) fn source_of(&self, name: &str) -> Option<&Arc<str>> {
        self.untouched.iter().find(|(here, _)| &**here == name).map(|(_, there)| there)
    }

    /// What expressions may name.
    pub(crate) fn scope(&self) -> Scope {
        let column = |field: &Field| ScopeColumn { qualifier: self.alias.clone(), field: field.clone() };
        Scope::new(self.fields.iter().map(column).collect())
    }

    /// Only these columns from here on; `from` names the column each one is a plain copy of.
    pub(crate) fn replaced(&self, made: &[(Field, Option<Arc<str>>)]) -> Self {
        Self {
            fields: made.iter().map(|(field, _)| field.clone()).collect(),
            unknown: false,
            untouched: self.copies(made),
            places: self.copied_places(made),
            alias: None,
        }
    }

    /// These columns beside the others, in place of those of the same name.
    pub(crate) fn extended(&self, made: &[(Field, Option<Arc<str>>)]) -> Self {
        let added: Vec<Field> = made.iter().map(|(field, _)| field.clone()).collect();
        let mut untouched: Vec<_> =
            self.untouched.iter().filter(|(here, _)| added.iter().all(|field| field.name != *here)).cloned().collect();
        untouched.extend(self.copies(made));
        let mut places: Vec<_> =
            self.places.iter().filter(|(here, _)| added.iter().all(|field| field.name != *here)).cloned().collect();
        places.extend(self.copied_places(made));
        let (unknown, alias) = (self.unknown, self.alias.clone());
        Self { fields: extended_fields(&self.fields, &added), unknown, untouched, places, alias }
    }

    /// These of its columns say where the event of a row stands.
    pub(crate) fn with_places(self, places: Vec<(Arc<str>, PlaceColumn)>) -> Self {
        Self { places, ..self }
    }

    /// The column that says this of where the event of a row stands.
    pub(crate) fn place(&self, of: PlaceColumn) -> Option<&Arc<str>> {
        self.places.iter().find(|(_, says)| *says == of).map(|(name, _)| name)
    }

    fn copied_places(&self, made: &[(Field, Option<Arc<str>>)]) -> Vec<(Arc<str>, PlaceColumn)> {
        let says = |from: &str| self.places.iter().find(|(here, _)| **here == *from).map(|(_, says)| *says);
        made.iter().filter_map(|(field, from)| Some((field.name.clone(), says(from.as_deref()?)?))).collect()
    }

    fn copies(&self, made: &[(Field, Option<Arc<str>>)]) -> Vec<(Arc<str>, Arc<str>)> {
        made.iter().filter_map(|(field, from)| Some((field.name.clone(), self.source_of(from.as_deref()?)?.clone()))).collect()
    }
}
