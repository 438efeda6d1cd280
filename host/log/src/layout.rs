//! A schema version as the log needs it: its Arrow schema, and that schema's physical forms.
//!
//! A string column may be `Utf8` or a dictionary, batch by batch, so one version has several Arrow schemas. They are kept, a
//! one-row frame would otherwise pay more for its schema than for its row.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field as ArrowField, Schema as ArrowSchema, SchemaRef};
use parking_lot::{Mutex, RwLock};
use tidemill_event::{FieldType, SchemaVersion, StreamDefinition, dictionary_type};

/// How many physical forms of one version are kept; more are made anew each time.
const FORMS_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) version: SchemaVersion,
    pub(crate) definition: Arc<StreamDefinition>,
    /// The logical schema: no dictionaries.
    pub(crate) schema: SchemaRef,
    /// Columns that may be dictionaries: declared strings.
    strings: Vec<bool>,
    forms: Mutex<Vec<(Vec<usize>, SchemaRef)>>,
}

impl Layout {
    pub(crate) fn new(version: SchemaVersion, definition: StreamDefinition) -> Self {
        let schema = Arc::new(definition.schema.arrow());
        let fields = &definition.schema.fields;
        let strings =
            (0..schema.fields().len()).map(|index| fields.get(index).is_some_and(|field| field.ty == FieldType::String));
        let strings = strings.collect();
        Self { version, definition: Arc::new(definition), schema, strings, forms: Mutex::new(Vec::new()) }
    }

    /// Whether column `index` may be a dictionary.
    pub(crate) fn is_string(&self, index: usize) -> bool {
        self.strings.get(index).copied().unwrap_or(false)
    }

    /// The schema in which the columns named (ascending) are dictionaries.
    pub(crate) fn physical(&self, dictionaries: &[usize]) -> SchemaRef {
        if dictionaries.is_empty() {
            return Arc::clone(&self.schema);
        }
        let mut forms = self.forms.lock();
        if let Some((_, schema)) = forms.iter().find(|(columns, _)| columns == dictionaries) {
            return Arc::clone(schema);
        }
        let fields: Vec<ArrowField> = self
            .schema
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .enumerate()
            .map(|(index, field)| if dictionaries.contains(&index) { field.with_data_type(dictionary_type()) } else { field })
            .collect();
        let schema = Arc::new(ArrowSchema::new(fields));
        if forms.len() < FORMS_MAX {
            forms.push((dictionaries.to_vec(), Arc::clone(&schema)));
        }
        schema
    }

    /// The batch with this version's own schema, metadata included, if it has its columns. The message names the first that
    /// differs.
    pub(crate) fn fit(&self, rows: RecordBatch) -> Result<RecordBatch, String> {
        let (expected, found) = (self.schema.fields(), rows.columns());
        let mut dictionaries = Vec::new();
        if expected.len() != found.len() {
            return Err(format!("{} columns, expected {}", found.len(), expected.len()));
        }
        for (index, (field, column)) in expected.iter().zip(found).enumerate() {
            if self.is_string(index) && is_dictionary(column.data_type()) {
                dictionaries.push(index);
            } else if column.data_type() != field.data_type() {
                return Err(format!("column `{}` is {}, expected {}", field.name(), column.data_type(), field.data_type()));
            }
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(format!("column `{}` has nulls and may not", field.name()));
            }
        }
        let schema = self.physical(&dictionaries);
        if Arc::ptr_eq(&schema, rows.schema_ref()) {
            return Ok(rows);
        }
        RecordBatch::try_new(schema, rows.columns().to_vec()).map_err(|error| error.to_string())
    }
}

fn is_dictionary(ty: &DataType) -> bool {
    matches!(ty, DataType::Dictionary(key, value) if **key == DataType::UInt32 && **value == DataType::Utf8)
}

/// The versions of one stream, from 1, shared by the stream and its partitions.
#[derive(Debug, Default)]
pub(crate) struct Versions(RwLock<Vec<Arc<Layout>>>);

impl Versions {
    pub(crate) fn newest(&self) -> Arc<Layout> {
        Arc::clone(self.0.read().last().expect("a stream has a version from its first moment"))
    }

    pub(crate) fn at(&self, version: SchemaVersion) -> Option<Arc<Layout>> {
        self.0.read().get((version.0 as usize).checked_sub(1)?).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Layout>> {
        self.0.read().clone()
    }

    pub(crate) fn push(&self, definition: StreamDefinition) {
        let mut versions = self.0.write();
        let version = SchemaVersion(versions.len() as u32 + 1);
        versions.push(Arc::new(Layout::new(version, definition)));
    }

    /// Changes the newest version in what is no schema.
    pub(crate) fn replace_newest(&self, definition: StreamDefinition) {
        if let Some(newest) = self.0.write().last_mut() {
            *newest = Arc::new(Layout::new(newest.version, definition));
        }
    }
}
