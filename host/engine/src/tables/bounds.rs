//! Every bound of tables, and what happens when it is met.

/// Rows of a table. Beyond: refused.
pub(crate) const ROWS_MAX: usize = 10_000_000;
/// Bytes of a table in memory, as columns. Beyond: refused.
pub(crate) const COLUMNS_BYTES_MAX: usize = 1 << 30;
/// Bytes on disk of all tables of a tenant, versions that are only kept for a replay not counted. Beyond: refused.
pub(crate) const TENANT_BYTES_MAX: u64 = 2 << 30;
/// Tables of a tenant. Beyond: refused.
pub(crate) const TABLES_MAX: usize = 1_000;
/// Columns of a table's key. Beyond: refused.
pub(crate) const KEY_COLUMNS_MAX: usize = 16;
/// The longest row, in bytes. Beyond: that row is at fault.
pub(crate) const LINE_BYTES_MAX: usize = 1 << 20;
/// Faults of rows that are told. Beyond: counted.
pub(crate) const FAULTS_LISTED_MAX: usize = 100;
/// Rows that are decoded before they become columns.
pub(crate) const BATCH_ROWS: usize = 64 << 10;
