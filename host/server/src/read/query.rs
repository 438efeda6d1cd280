//! What a reader asks for: `?from=&until=&partition=&limit=&follow=&consumer=` (contract §4), checked against the stream.

use serde::Deserialize;
use tidemill_event::{ConsumerName, EventTime, Offset, PartitionId};
use tidemill_log::Stream;
use utoipa::IntoParams;

use crate::problem::{Kind, Problem};

/// The query as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadParameters {
    /// `earliest` (default), `latest`, an offset, or an RFC 3339 time. Inclusive.
    pub(crate) from: Option<String>,
    /// `latest`, an offset, or an RFC 3339 time. Exclusive; the end as it is now if left out.
    pub(crate) until: Option<String>,
    /// Only this partition. Needed with an offset where there are several.
    pub(crate) partition: Option<u32>,
    /// At most that many rows.
    pub(crate) limit: Option<u64>,
    /// `true`: stay, and send rows as they come.
    pub(crate) follow: Option<bool>,
    /// Begin where this consumer's commits ended; `from` counts where it has none. Reading commits nothing.
    pub(crate) consumer: Option<String>,
}

/// Where reading begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first row kept.
    Earliest,
    /// What is on disk when the request comes.
    Latest,
    /// An offset of the one partition that is read.
    Offset(Offset),
    /// Rows by their event time.
    Time(EventTime),
}

/// A checked request to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) from: Place,
    /// `None`: the end; with `follow`, none.
    pub(crate) until: Option<Place>,
    /// Which partitions, ascending.
    pub(crate) partitions: Vec<PartitionId>,
    pub(crate) limit: Option<u64>,
    pub(crate) follow: bool,
    /// Whose commits say where to begin.
    pub(crate) consumer: Option<ConsumerName>,
}

impl Query {
    /// Checks a query against a stream with that many partitions.
    pub(crate) fn parse(query: &str, stream: &Stream) -> Result<Self, Problem> {
        Self::check(parameters(query)?, stream.partitions().len() as u32)
    }

    /// The same for parameters that came another way.
    pub(crate) fn check(parameters: ReadParameters, partitions: u32) -> Result<Self, Problem> {
        let from = parameters.from.as_deref().map_or(Ok(Place::Earliest), |text| place("from", text))?;
        let until = parameters.until.as_deref().map(|text| place("until", text)).transpose()?;
        let follow = parameters.follow.unwrap_or(false);
        if follow && until.is_some() {
            return Err(wrong("`until` names an end and `follow=true` asks for none", "leave one of them out"));
        }
        if until == Some(Place::Earliest) {
            return Err(wrong("`until=earliest` asks for nothing", "give an offset, an RFC 3339 time or `latest`"));
        }
        let chosen = match parameters.partition {
            Some(partition) if partition < partitions => vec![PartitionId(partition)],
            Some(partition) => {
                return Err(wrong(
                    format!("there is no partition {partition}: the stream has {partitions}, counted from 0"),
                    "give a number below that, or leave `partition` out to read all",
                ));
            }
            None => (0..partitions).map(PartitionId).collect(),
        };
        let by_offset = |place: Place| matches!(place, Place::Offset(_));
        if chosen.len() > 1 && (by_offset(from) || until.is_some_and(by_offset)) {
            return Err(wrong(
                format!("an offset is a place in one partition, and the stream has {partitions}"),
                "add `partition`, or give a time instead of an offset",
            ));
        }
        let consumer = parameters.consumer.as_deref().map(|name| {
            let parsed = name.parse::<ConsumerName>();
            parsed.map_err(|error| wrong(format!("the consumer's name: {error}"), "choose a name of that form"))
        });
        let consumer = consumer.transpose()?;
        Ok(Self { from, until, partitions: chosen, limit: parameters.limit, follow, consumer })
    }
}

fn parameters(query: &str) -> Result<ReadParameters, Problem> {
    let known = "the parameters are `from`, `until`, `partition`, `limit`, `follow`, `consumer`, each at most once";
    let uri: http::Uri = format!("/?{query}").parse().map_err(|_| wrong("the query cannot be read", known))?;
    crate::parameters::parameters(&uri, known)
}

fn place(name: &str, text: &str) -> Result<Place, Problem> {
    match text {
        "earliest" => return Ok(Place::Earliest),
        "latest" => return Ok(Place::Latest),
        _ => {}
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.parse() {
            Ok(offset) => Ok(Place::Offset(Offset(offset))),
            Err(_) => Err(wrong(format!("`{name}={text}` is beyond every offset"), "give a smaller one")),
        };
    }
    // A `+` in a query means a space, and few people write `%2B` in a time zone.
    match EventTime::parse_rfc3339(&text.replace(' ', "+")) {
        Some(time) => Ok(Place::Time(time)),
        None => Err(wrong(
            format!("`{name}={text}` is no place in a stream"),
            "give `earliest`, `latest`, an offset (digits), or an RFC 3339 time such as 2026-01-31T12:00:00Z",
        )),
    }
}

fn wrong(detail: impl Into<String>, remedy: &str) -> Problem {
    Problem::new(Kind::BadParameter, detail, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, partitions: u32) -> Result<Query, Kind> {
        parameters(query).and_then(|parameters| Query::check(parameters, partitions)).map_err(|problem| problem.kind())
    }

    #[test]
    fn queries() {
        let all = check("", 2).expect("everything");
        assert_eq!((all.from, all.until, all.follow, all.limit), (Place::Earliest, None, false, None));
        assert_eq!(all.partitions, [PartitionId(0), PartitionId(1)]);
        assert_eq!(check("from=7&partition=1", 2).expect("an offset").from, Place::Offset(Offset(7)));
        assert_eq!(check("from=7", 1).expect("the only partition").from, Place::Offset(Offset(7)));
        assert_eq!(check("from=1970-01-01T00:00:01Z", 2).expect("a time").from, Place::Time(EventTime(1_000_000)));
        assert_eq!(check("from=1970-01-01T01:00:01+01:00", 2).expect("a zone").from, Place::Time(EventTime(1_000_000)));
        assert_eq!(check("from=latest&follow=true&limit=3", 2).expect("live").limit, Some(3));
        let named = check("consumer=billing&from=latest", 2).expect("a consumer").consumer;
        assert_eq!(named.as_ref().map(ConsumerName::as_str), Some("billing"));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for query in [
            "from=7",
            "until=7",
            "partition=2",
            "partition=-1",
            "from=yesterday",
            "from=",
            "from=99999999999999999999999",
            "follow=yes",
            "limit=-1",
            "limit=x",
            "offset=3",
            "from=1&from=2&partition=0",
            "consumer=Billing",
            "consumer=",
            "follow=true&until=latest",
            "until=earliest",
        ] {
            assert_eq!(check(query, 2).expect_err(query), Kind::BadParameter, "{query}");
        }
    }
}
