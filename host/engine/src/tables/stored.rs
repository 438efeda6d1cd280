//! What the log keeps of a table: `table/{tenant}/{name}`, and a count of versions that outlives it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidemill_event::{TableName, TenantName};

/// Keys of all tables begin with this.
pub(super) const TABLES: &str = "table/";

/// The document of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredTable {
    /// What it is kept up to date from; `None`: it is put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<StoredFrom>,
    /// Ascending by number, at least one: the last one is the table, those before it are kept because a replay may look them up.
    pub(super) versions: Vec<StoredVersion>,
}

/// The stream of a kept table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredFrom {
    pub(super) stream: String,
    pub(super) key: Vec<String>,
    /// The field that takes keys away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) delete: Option<String>,
}

/// One version; of a kept table, one that is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredVersion {
    /// Counts the versions of this name, from 1, through deletion and making anew.
    pub(super) number: u64,
    /// `sha256:…` of its bytes.
    pub(super) digest: String,
    pub(super) rows: u64,
    pub(super) size_bytes: u64,
    /// As stream definitions write them.
    pub(super) fields: Value,
    pub(super) key: Vec<String>,
    /// When it came, µs.
    pub(super) put_at: i64,
    /// Of a kept table: the first row of each partition that is not in it, and the latest event time of those that are, µs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) cut: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) newest: Vec<i64>,
}

impl StoredTable {
    pub(super) fn newest(&self) -> Option<&StoredVersion> {
        self.versions.last()
    }

    pub(super) fn version(&self, number: u64) -> Option<&StoredVersion> {
        self.versions.iter().find(|version| version.number == number)
    }

    pub(super) fn prefix(tenant: &TenantName) -> String {
        format!("{TABLES}{tenant}/")
    }

    pub(super) fn key(tenant: &TenantName, name: &TableName) -> String {
        format!("{TABLES}{tenant}/{name}")
    }

    /// The document that counts the versions of a name: a commit that names a number never means another table's rows.
    pub(super) fn count_key(tenant: &TenantName, name: &TableName) -> String {
        format!("table-versions/{tenant}/{name}")
    }
}

/// Whose table a key is of.
pub(super) fn owner(key: &str) -> Option<(TenantName, TableName)> {
    let (tenant, name) = key.strip_prefix(TABLES)?.split_once('/')?;
    Some((tenant.parse().ok()?, name.parse().ok()?))
}
