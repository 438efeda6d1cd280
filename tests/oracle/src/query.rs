//! One query of `queries.json`: fields of a window, or a pipeline in the host's own grammar.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// A query with what it says of its answer.
#[derive(Debug, Clone)]
pub struct Query {
    /// Its name; the answer is `expected/ID.ndjson`.
    pub id: String,
    /// What is asked.
    pub form: Form,
    /// How the input is out of order, if the query is about that.
    pub out_of_order: Option<OutOfOrder>,
    /// How many (row, window) pairs must have come too late.
    pub dropped_late: Option<u64>,
    /// How many rows the answer has.
    pub rows: Option<u64>,
}

/// What is asked.
#[derive(Debug, Clone)]
pub enum Form {
    /// Aggregates over windows of one stream.
    Window(WindowQuery),
    /// A pipeline without a name and without targets.
    Pipeline(Map<String, Value>),
}

/// Aggregates over windows of one stream.
#[derive(Debug, Clone)]
pub struct WindowQuery {
    /// Of which stream.
    pub stream: String,
    /// Field, operation, value: all must hold.
    pub filter: Vec<(String, String, Value)>,
    /// The fields to group by.
    pub key: Vec<String>,
    /// Of which rows a result is.
    pub window: Window,
    /// Function and field; `count` has none.
    pub aggregates: Vec<(String, Option<String>)>,
}

/// Which rows belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// `[offset + k·size, offset + (k+1)·size)`.
    Tumbling {
        /// How long.
        size_ms: i64,
        /// Where windows begin, beside the epoch.
        offset_ms: i64,
    },
    /// `[offset + k·slide, offset + k·slide + size)`.
    Hopping {
        /// How long.
        size_ms: i64,
        /// How far apart they begin.
        slide_ms: i64,
        /// Where windows begin, beside the epoch.
        offset_ms: i64,
    },
    /// Rows with no gap of more than this between them.
    Session {
        /// The longest step inside a session.
        gap_ms: i64,
    },
    /// So many rows in order of arrival.
    Count {
        /// How many.
        size: i64,
    },
}

/// How the input is out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfOrder {
    /// How far the watermark is behind the greatest time.
    pub lag_ms: i64,
    /// How long windows take rows after they were answered.
    pub allowed_lateness_ms: i64,
}

impl Query {
    /// Reads one; an error if it says something that is not understood, other than in words.
    pub fn parse(value: &Value) -> Result<Self> {
        let mut members = Members::of(value, "a query")?;
        let id = members.text("id")?;
        Self::parse_rest(id.clone(), members).with_context(|| format!("query `{id}`"))
    }

    /// Whether the query is about a stream or table of this name.
    pub fn asks_for(&self, name: &str) -> bool {
        match &self.form {
            Form::Window(window) => window.stream == name,
            Form::Pipeline(pipeline) => pipeline.values().any(|value| names(value, name)),
        }
    }

    fn parse_rest(id: String, mut members: Members) -> Result<Self> {
        let out_of_order = members.take("out_of_order").map(|value| out_of_order(&value)).transpose()?;
        let (rows, dropped_late) = (members.natural("rows")?, members.natural("dropped_late")?);
        let form = match members.take("pipeline") {
            Some(Value::Object(pipeline)) => Form::Pipeline(pipeline),
            Some(other) => bail!("`pipeline` is no object: {other}"),
            None => Form::Window(window_query(&mut members)?),
        };
        // Descriptions in words are nobody's business; anything else would change what is asked.
        members.nothing_but_texts()?;
        Ok(Self { id, form, out_of_order, dropped_late, rows })
    }
}

fn names(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(values) => values.iter().any(|value| names(value, name)),
        Value::Object(members) => members.values().any(|value| names(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn window_query(members: &mut Members) -> Result<WindowQuery> {
    let stream = members.text("stream")?;
    let filter = members.list("where")?.iter().map(condition).collect::<Result<_>>()?;
    let key = members.list("key")?.iter().map(|field| as_text(field, "a field of `key`")).collect::<Result<_>>()?;
    let window = members.take("window").context("neither `window` nor `pipeline`")?;
    let aggregates = members.list("aggregates")?.iter().map(aggregate).collect::<Result<_>>()?;
    Ok(WindowQuery { stream, filter, key, window: self::window(&window)?, aggregates })
}

fn window(value: &Value) -> Result<Window> {
    let mut members = Members::of(value, "`window`")?;
    let kind = members.text("type")?;
    let window = match kind.as_str() {
        "tumbling" => Window::Tumbling { size_ms: members.positive("size_ms")?, offset_ms: members.offset()? },
        "hopping" | "sliding" => Window::Hopping {
            size_ms: members.positive("size_ms")?,
            slide_ms: members.positive("slide_ms")?,
            offset_ms: members.offset()?,
        },
        "session" => Window::Session { gap_ms: members.positive("gap_ms")? },
        "count" => Window::Count { size: members.positive("size")? },
        other => bail!("there is no window `{other}`: tumbling, hopping, session, count"),
    };
    members.nothing()?;
    Ok(window)
}

fn out_of_order(value: &Value) -> Result<OutOfOrder> {
    let mut members = Members::of(value, "`out_of_order`")?;
    let lag_ms = members.take("lag_ms").and_then(|lag| lag.as_i64()).context("`out_of_order` without `lag_ms`")?;
    let allowed_lateness_ms = members.take("allowed_lateness_ms").map_or(Some(0), |lateness| lateness.as_i64());
    members.nothing()?;
    Ok(OutOfOrder { lag_ms, allowed_lateness_ms: allowed_lateness_ms.context("`allowed_lateness_ms` is no integer")? })
}

fn condition(value: &Value) -> Result<(String, String, Value)> {
    match value.as_array().map(Vec::as_slice) {
        Some([field, operation, value]) => {
            Ok((as_text(field, "the field of a condition")?, as_text(operation, "the operation")?, value.clone()))
        }
        Some([field, operation]) => Ok((as_text(field, "the field")?, as_text(operation, "the operation")?, Value::Null)),
        _ => bail!("a condition is [field, operation, value], not {value}"),
    }
}

fn aggregate(value: &Value) -> Result<(String, Option<String>)> {
    match value.as_array().map(Vec::as_slice) {
        Some([function]) => Ok((as_text(function, "the aggregate")?, None)),
        Some([function, field]) => Ok((as_text(function, "the aggregate")?, Some(as_text(field, "its field")?))),
        _ => bail!("an aggregate is [function] or [function, field], not {value}"),
    }
}

fn as_text(value: &Value, what: &str) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("{what} is no text: {value}"))
}

/// The members of an object, taken one by one, so that what nobody took is found.
struct Members(Map<String, Value>);

impl Members {
    fn of(value: &Value, what: &str) -> Result<Self> {
        value.as_object().cloned().map(Self).with_context(|| format!("{what} is no object: {value}"))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<String> {
        let value = self.take(name).with_context(|| format!("no `{name}`"))?;
        as_text(&value, name)
    }

    fn list(&mut self, name: &str) -> Result<Vec<Value>> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => bail!("`{name}` is no list: {other}"),
        }
    }

    fn natural(&mut self, name: &str) -> Result<Option<u64>> {
        let natural = |value: Value| value.as_u64().with_context(|| format!("`{name}` is no count: {value}"));
        self.take(name).map(natural).transpose()
    }

    fn positive(&mut self, name: &str) -> Result<i64> {
        let value = self.take(name).and_then(|value| value.as_i64()).filter(|value| *value > 0);
        value.with_context(|| format!("the window needs `{name}`, an integer above 0"))
    }

    fn offset(&mut self) -> Result<i64> {
        self.take("offset_ms").map_or(Ok(0), |offset| offset.as_i64().context("`offset_ms` is no integer"))
    }

    fn nothing(&self) -> Result<()> {
        match self.0.keys().next() {
            Some(name) => bail!("`{name}` is not understood"),
            None => Ok(()),
        }
    }

    fn nothing_but_texts(mut self) -> Result<()> {
        self.0.retain(|_, value| !value.is_string());
        self.nothing()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Form, Query, Window};

    fn query(rest: Value) -> anyhow::Result<Query> {
        let mut whole = json!({"id": "q", "what": "in words", "stream": "s", "key": ["k"], "aggregates": [["count"]]});
        for (name, value) in rest.as_object().expect("members") {
            whole[name] = value.clone();
        }
        Query::parse(&whole)
    }

    #[test]
    fn a_window_with_all_it_may_have() {
        let parsed = query(json!({
            "window": {"type": "tumbling", "size_ms": 10, "offset_ms": 3},
            "where": [["a", ">", 60]], "out_of_order": {"lag_ms": 5, "allowed_lateness_ms": 0}, "dropped_late": 7
        }));
        let parsed = parsed.expect("a query");
        let Form::Window(window) = parsed.form else { panic!("a window") };
        assert_eq!(window.window, Window::Tumbling { size_ms: 10, offset_ms: 3 });
        assert_eq!(parsed.dropped_late, Some(7));
    }

    #[track_caller]
    fn refused(rest: Value, expected: &str) {
        let error = format!("{:#}", query(rest).expect_err("refused"));
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        refused(json!({}), "query `q`: neither `window` nor `pipeline`");
        refused(json!({"window": {"type": "moving", "size_ms": 1}}), "no window `moving`");
        refused(json!({"window": {"type": "session", "gap_ms": 1, "max_ms": 2}}), "`max_ms` is not understood");
        refused(json!({"window": {"type": "count", "size": 1}, "having": [["n", ">", 1]]}), "`having` is not understood");
        refused(json!({"window": {"type": "hopping", "size_ms": 1}}), "needs `slide_ms`");
    }
}
