//! Other forms of the same rows: Arrow, and answers that are compressed.

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type, UInt64Type};
use arrow_ipc::reader::StreamReader;
use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use tokio::io::AsyncReadExt;

use crate::server::Server;

const ARROW: (&str, &str) = ("accept", "application/vnd.apache.arrow.stream");

fn server() -> Server {
    let server = Server::start();
    server.keyed(900);
    server
}

fn arrow(server: &Server, query: &str) -> Vec<RecordBatch> {
    let answer = server.request("GET", &format!("/v1/streams/s/events{query}"), &[ARROW], b"");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(ARROW.1)), "{answer:?}");
    let reader = StreamReader::try_new(answer.bytes.as_slice(), None).expect("an Arrow stream");
    let names: Vec<String> = reader.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names[names.len() - 4..], ["_unknown", "_partition", "_offset", "_time"]);
    reader.collect::<Result<_, _>>().expect("record batches")
}

/// (partition, offset, n) of every row.
fn rows(batches: &[RecordBatch]) -> Vec<(u32, u64, i64)> {
    let rows = |batch: &RecordBatch| {
        let column = |name: &str| batch.column_by_name(name).expect("a column");
        let places = column("_partition").as_primitive::<UInt32Type>().values().to_vec();
        let offsets = column("_offset").as_primitive::<UInt64Type>().values().to_vec();
        let numbers = column("n").as_primitive::<Int64Type>().values().to_vec();
        places.into_iter().zip(offsets).zip(numbers).map(|((place, offset), n)| (place, offset, n)).collect::<Vec<_>>()
    };
    batches.iter().flat_map(rows).collect()
}

#[test]
fn arrow_has_the_rows_that_json_has() {
    let server = server();
    let lines = server.get("/v1/streams/s/events").body;
    let of_json = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let number = |name: &str| row[name].as_u64().expect("a number");
        (number("_partition") as u32, number("_offset"), number("n") as i64)
    };
    let of_json: Vec<_> = lines.lines().map(of_json).collect();
    assert_eq!(rows(&arrow(&server, "")), of_json);
    assert_eq!(rows(&arrow(&server, "?partition=1&from=5&limit=7")).len(), 7);
    assert_eq!(rows(&arrow(&server, "?from=latest")), []);
}

#[test]
fn arrow_rows_of_older_versions_have_the_newest_schema() {
    let server = server();
    let wider = r#"{"fields": [{"name": "k", "type": "string"}, {"name": "n", "type": "int64"}, {"name": "city", "type": "string"}], "key": ["k"], "partitions": 3}"#;
    assert_eq!(server.put("/v1/streams/s", wider).status, 200);
    assert_eq!(server.post("s", "application/json", r#"{"k":"key 1","n":900,"city":"Rome"}"#).status, 200);
    let batches = arrow(&server, "");
    assert_eq!(rows(&batches).len(), 901);
    assert!(batches.iter().all(|batch| batch.column_by_name("city").is_some()));
}

#[test]
fn compressed_answers_have_the_same_lines() {
    let server = server();
    let plain = server.get("/v1/streams/s/events");
    assert_eq!(plain.header("content-encoding"), None);
    for encoding in ["gzip", "zstd"] {
        let answer = server.request("GET", "/v1/streams/s/events", &[("accept-encoding", encoding)], b"");
        assert_eq!(answer.header("content-encoding"), Some(encoding));
        assert!(answer.bytes.len() * 3 < plain.bytes.len(), "{} bytes of {}", answer.bytes.len(), plain.bytes.len());
        let mut lines = String::new();
        let read = server.runtime.block_on(async {
            match encoding {
                "gzip" => GzipDecoder::new(answer.bytes.as_slice()).read_to_string(&mut lines).await,
                _ => ZstdDecoder::new(answer.bytes.as_slice()).read_to_string(&mut lines).await,
            }
        });
        read.expect("whole to its end");
        assert_eq!(lines, plain.body);
    }
}

#[test]
fn a_compressed_follower_gets_rows_as_they_come() {
    let server = server();
    let mut follower = server.client();
    let query = "/v1/streams/s/events?from=latest&follow=true";
    follower.send("GET", query, &[("accept-encoding", "gzip")], b"");
    assert_eq!(follower.head().expect("a head").0, 200);
    for n in 0..3 {
        assert_eq!(server.post("s", "application/json", format!("{{\"k\":\"a\",\"n\":{n}}}")).status, 200);
        assert!(!follower.chunk().expect("its row").is_empty());
    }
}
