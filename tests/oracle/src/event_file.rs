//! One `NAME.ndjson` of a folder: a stream where its rows have `ts_ms`, a table where they have not.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::shape::Shape;

/// The field that makes a file a stream.
const TIME_FIELD: &str = "ts_ms";

/// A file of events or of a table's rows.
#[derive(Debug)]
pub struct EventFile {
    /// Its name, that of the stream or table.
    pub name: String,
    /// Its rows in order of arrival, as NDJSON, each as it stands in the file.
    pub body: Vec<u8>,
    /// How many rows.
    pub rows: usize,
    shape: Shape,
    /// How far a row is behind the greatest time before it, at most. `None` of a table.
    disorder_ms: Option<i64>,
}

impl EventFile {
    /// Of a file's text. Rows with a `seq` arrive in its order, wherever they stand.
    pub fn new(name: &str, text: &str) -> Result<Self> {
        let mut rows = Vec::new();
        let (mut shape, mut timed) = (Shape::default(), 0);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let row: Value = serde_json::from_str(line).with_context(|| format!("`{line}` is no JSON"))?;
            if !row.is_object() {
                bail!("`{line}` is no object");
            }
            shape.see(&row);
            let time = row.get(TIME_FIELD).and_then(Value::as_i64);
            timed += usize::from(time.is_some());
            rows.push((row["seq"].as_i64(), time.unwrap_or_default(), line));
        }
        if timed > 0 && timed < rows.len() {
            bail!("{} of {} rows have no `{TIME_FIELD}` that is an integer", rows.len() - timed, rows.len());
        }
        if rows.iter().all(|(place, ..)| place.is_some()) {
            rows.sort_by_key(|(place, ..)| *place);
        }
        let disorder_ms = (timed > 0).then(|| disorder_ms(rows.iter().map(|(_, time, _)| *time)));
        // The lines themselves: a number that is parsed and written again may be another one in its last digit.
        let body = rows.iter().flat_map(|(.., line)| [line.as_bytes(), b"\n"].concat()).collect();
        Ok(Self { name: name.to_owned(), body, rows: rows.len(), shape, disorder_ms })
    }

    /// Whether this is a table.
    pub fn is_table(&self) -> bool {
        self.disorder_ms.is_none()
    }

    /// How far a row is behind the greatest time before it, at most.
    pub fn disorder_ms(&self) -> i64 {
        self.disorder_ms.unwrap_or_default()
    }

    /// What the stream is declared with, but for its partitions. `names_into` says which objects are asked for by the paths of their members.
    pub fn definition(&self, names_into: &dyn Fn(&str) -> bool) -> Value {
        let mut fields = self.shape.fields(names_into);
        for field in &mut fields {
            if field["name"] == TIME_FIELD {
                field["nullable"] = json!(false);
            }
        }
        json!({"fields": fields, "time": {"field": TIME_FIELD, "unit": "ms"}})
    }
}

fn disorder_ms(times: impl Iterator<Item = i64>) -> i64 {
    let (mut greatest, mut disorder) = (i64::MIN, 0);
    for time in times {
        disorder = disorder.max(greatest.saturating_sub(time));
        greatest = greatest.max(time);
    }
    disorder
}

#[cfg(test)]
mod tests {
    use super::EventFile;

    #[test]
    fn disorder_is_of_the_order_of_arrival() {
        let file =
            EventFile::new("a", "{\"seq\":1,\"ts_ms\":5}\n{\"seq\":0,\"ts_ms\":9}\n{\"seq\":2,\"ts_ms\":7}\n").expect("a file");
        assert_eq!((file.is_table(), file.disorder_ms()), (false, 4));
        assert!(file.body.starts_with(b"{\"seq\":0,"), "{}", String::from_utf8_lossy(&file.body));
    }

    #[test]
    fn a_file_without_times_is_a_table_and_one_with_some_is_refused() {
        assert!(EventFile::new("a", "{\"k\":1}\n").expect("a table").is_table());
        let error = EventFile::new("a", "{\"ts_ms\":1}\n{\"ts_ms\":null}\n").expect_err("half a stream");
        assert!(error.to_string().contains("1 of 2 rows"), "{error}");
    }
}
