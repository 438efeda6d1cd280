//! Every form of events in: tables, CloudEvents, packed bodies. What is taken reads back alike, whichever way it came.

use serde_json::{Value, json};
use tidemill_tests::Host;

/// A host with the stream `pay`.
fn declared() -> Host {
    let host = Host::start();
    let definition = json!({
        "fields": [
            {"name": "ts", "type": "timestamp", "unit": "ms", "nullable": false}, {"name": "ip", "type": "string"},
            {"name": "amount", "type": "decimal(12,2)"}, {"name": "n", "type": "int64"}, {"name": "user.name", "type": "string"},
            {"name": "ok", "type": "bool"}, {"name": "more", "type": "json"}
        ],
        "time": {"field": "ts"}
    });
    host.put("/v1/streams/pay", &definition).expect(201);
    host
}

/// The rows of a stream without the host's fields and without nulls.
fn rows(host: &Host, stream: &str) -> Vec<Value> {
    let mut rows = host.rows(stream);
    for row in &mut rows {
        let row = row.as_object_mut().expect("an object");
        row.retain(|name, value| !name.starts_with('_') && !value.is_null());
    }
    rows
}

#[test]
fn a_table_becomes_rows() {
    let host = declared();
    let table = concat!(
        "ts,ip,amount,n,user.name,ok,more,extra\r\n",
        "1,10.0.0.1,1.50,7,Ann,TRUE,\"{\"\"a\"\": [1]}\",x\r\n",
        "2,\"\",,,\"Line one\nline \"\"two\"\"\",false,,\r\n",
        "3,a,1.505,,,,,\r\n",
        "4,a,,7.0,,,,\r\n",
        ",a,,,,,,\r\n",
        "5,a\r\n",
        "\r\n",
        "6,007,12,-3,,,plain,1e3"
    );
    for (index, stream) in ["small", "large"].into_iter().enumerate() {
        // A small body goes into the shared builder, a long one gets a decoder of its own: they must not differ.
        let body = format!("{table}{}", "\r\n".repeat(index * 20_000));
        let answer = host.send_as("pay", "text/csv; charset=utf-8", body.as_bytes()).expect(200).json();
        assert_eq!((&answer["accepted"], &answer["rejected_total"]), (&json!(3), &json!(4)), "{stream}: {answer}");
        let rejected: Vec<(u64, &str)> = answer["rejected"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|row| (row["index"].as_u64().expect("an index"), row["field"].as_str().unwrap_or("-")))
            .collect();
        assert_eq!(rejected, [(2, "amount"), (3, "n"), (4, "ts"), (5, "-")], "{answer}");
    }
    let expected = [
        json!({"ts": 1, "ip": "10.0.0.1", "amount": "1.50", "n": 7, "user": {"name": "Ann"}, "ok": true, "more": {"a": [1]}, "extra": "x"}),
        json!({"ts": 2, "ip": "", "user": {"name": "Line one\nline \"two\""}, "ok": false}),
        json!({"ts": 6, "ip": "007", "amount": "12.00", "n": -3, "user": {"name": null}, "more": "plain", "extra": 1000.0}),
    ];
    let found = rows(&host, "pay");
    assert_eq!(found[..3], expected, "{found:?}");
    assert_eq!(found[3..], expected, "{found:?}");
    let kept = host.rows("pay.rejected");
    assert_eq!(kept[0]["event"]["amount"], json!(1.505), "kept as it was read: {}", kept[0]);
    for (body, error) in [("", "empty"), ("ts,,ip\n1,2,3", "column 2"), ("ts,ts\n", "twice")] {
        let answer = host.send_as("pay", "text/csv", body.as_bytes()).expect(400);
        assert!(answer.body.contains(error), "{body:?}: {}", answer.body);
    }
    host.send_as("pay", "text/csv; header=absent", b"1,2").expect(415);
}

#[test]
fn a_table_is_inferred() {
    let host = Host::start();
    host.put("/v1/streams/found", &json!({"schema": "infer"})).expect(201);
    host.send_as("found", "text/csv", b"city,people,share,open\nWien,1900000,0.5,true\nGraz,,1,false\n").expect(200);
    let fields = host.get("/v1/streams/found").json()["fields"].clone();
    let types: Vec<&str> = fields.as_array().expect("fields").iter().filter_map(|field| field["type"].as_str()).collect();
    assert_eq!(types, ["string", "int64", "float64", "bool"], "{fields}");
    host.send_as("found", "text/csv", b"people,city\n1.5,Linz\nmany,7\n").expect(200);
    let expected = [
        json!({"city": "Wien", "people": 1900000, "share": 0.5, "open": true}),
        json!({"city": "Graz", "share": 1.0, "open": false}),
        json!({"city": "Linz", "people": 1.5}),
        json!({"city": "7", "people": "many"}),
    ];
    assert_eq!(rows(&host, "found"), expected);
}

#[test]
fn cloud_events_come_three_ways_and_read_back_alike() {
    let host = Host::start();
    let definition = json!({
        "fields": [
            {"name": "id", "type": "string", "nullable": false}, {"name": "type", "type": "string"},
            {"name": "time", "type": "timestamp"}, {"name": "data.amount", "type": "int64"}
        ],
        "time": {"field": "time", "missing": "arrival"}
    });
    host.put("/v1/streams/orders", &definition).expect(201);
    let event = json!({
        "specversion": "1.0", "id": "1", "source": "/shop", "type": "paid", "time": "2026-01-31T12:00:00.000000Z",
        "datacontenttype": "application/json", "data": {"amount": 5, "currency": "EUR"}, "traceparent": "00-ab"
    });
    host.send_as("orders", "application/cloudevents+json", event.to_string().as_bytes()).expect(200);
    let batch = json!([event]).to_string();
    host.send_as("orders", "application/cloudevents-batch+json; charset=utf-8", batch.as_bytes()).expect(200);
    let binary = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shop"),
        ("ce-type", "paid"),
        ("ce-time", "2026-01-31T12:00:00Z"),
        ("ce-traceparent", "00-ab"),
    ];
    host.send_with("orders", &binary, br#"{"amount": 5, "currency": "EUR"}"#).expect(200);
    assert_eq!(rows(&host, "orders"), [event.clone(), event.clone(), event.clone()]);

    let answer = host.send_as("orders", "application/cloudevents-batch+json", br#"[{"id": "1"}]"#).expect(422);
    assert_eq!(answer.json()["rejected"][0]["field"], "specversion", "{}", answer.body);
    host.send_as("orders", "application/cloudevents+json", batch.as_bytes()).expect(400);
    host.send_as("orders", "application/cloudevents-batch+json", event.to_string().as_bytes()).expect(400);
    host.send_with("orders", &binary, b"{\"amount\": ").expect(422);
    host.send_with("orders", &binary[..3], b"{}").expect(422);
    assert_eq!(rows(&host, "orders").len(), 3);
}

/// A zstd frame of blocks that are one byte, repeated: 128 KiB out of every 4 bytes.
fn zstd_bomb(blocks: usize) -> Vec<u8> {
    // Magic number; no single segment, no checksum, no content size; a window of 128 KiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for block in 0..blocks {
        let header = 0x20000_u32 << 3 | 1 << 1 | u32::from(block + 1 == blocks);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b'\n');
    }
    frame
}

/// A body as zstd frames of one raw block each.
fn zstd_raw(body: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    for part in body.chunks(60_000) {
        frames.extend_from_slice(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]);
        frames.extend_from_slice(&((part.len() as u32) << 3 | 1).to_le_bytes()[..3]);
        frames.extend_from_slice(part);
    }
    frames
}

/// A body as gzip members of one stored block each.
fn gzip_stored(body: &[u8]) -> Vec<u8> {
    let mut members = Vec::new();
    for part in body.chunks(60_000) {
        members.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1]);
        members.extend_from_slice(&(part.len() as u16).to_le_bytes());
        members.extend_from_slice(&(!(part.len() as u16)).to_le_bytes());
        members.extend_from_slice(part);
        members.extend_from_slice(&crc32(part).to_le_bytes());
        members.extend_from_slice(&(part.len() as u32).to_le_bytes());
    }
    members
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn packed_bodies_are_unpacked_whatever_their_form() {
    let host = declared();
    let lines: String = (0..20_000).map(|n| format!("{{\"ts\":{n},\"n\":{n}}}\n")).collect();
    let ndjson = "application/x-ndjson";
    let send = |content_type: &str, encoding: &str, body: &[u8]| {
        host.send_with("pay", &[("content-type", content_type), ("content-encoding", encoding)], body)
    };
    assert_eq!(send(ndjson, "gzip", &gzip_stored(lines.as_bytes())).expect(200).json()["accepted"], 20_000);
    assert_eq!(send(ndjson, "zstd", &zstd_raw(lines.as_bytes())).expect(200).json()["accepted"], 20_000);
    assert_eq!(send("text/csv", "zstd", &zstd_raw(b"ts,n\n1,2\n")).expect(200).json()["accepted"], 1);
    assert_eq!(send("application/json", "gzip", &gzip_stored(b"[{\"ts\":1}]")).expect(200).json()["accepted"], 1);
    assert_eq!(host.rows("pay").len(), 40_002);

    send(ndjson, "br", b"x").expect(415);
    let gzip = gzip_stored(b"{\"ts\":1}\n{\"ts\":2}\n");
    let cut = send(ndjson, "gzip", &gzip[..gzip.len() - 9]).expect(400);
    assert!(cut.body.contains("ends too early"), "{}", cut.body);
    send("application/json", "zstd", b"[{\"ts\":1}]").expect(400);
    let mut damaged = gzip;
    let end = damaged.len() - 6;
    damaged[end] ^= 1;
    send(ndjson, "gzip", &damaged).expect(400);
}

#[test]
fn bombs_are_refused_before_they_are_large() {
    let host = declared();
    let send = |body: &[u8]| {
        let headers = [("content-type", "application/x-ndjson"), ("content-encoding", "zstd")];
        host.send_with("pay", &headers, body).expect(413)
    };
    // 1 GiB out of 32 KiB.
    let bomb = send(&zstd_bomb(8 << 10));
    assert!(bomb.body.contains("times its size"), "{}", bomb.body);
    // A window of 16 MiB; then skippable frames, which hold nothing.
    let window = send(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x70, 0x09, 0x00, 0x00, b'x']);
    assert!(window.body.contains("window"), "{}", window.body);
    let mut skippable = Vec::new();
    while skippable.len() < 4 << 20 {
        skippable.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18, 0, 4, 0, 0]);
        skippable.extend_from_slice(&[0; 1024]);
    }
    let silent = send(&skippable);
    assert!(silent.body.contains("hold nothing"), "{}", silent.body);
    assert!(host.rows("pay").is_empty());
}

#[test]
fn arrow_streams_are_taken_by_column() {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray, types::Int32Type,
    };

    let host = declared();
    let colours: DictionaryArray<Int32Type> = ["red", "blue", "red"].into_iter().collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("ts", Arc::new(TimestampMillisecondArray::from(vec![Some(1), None, Some(3)]))),
        ("ip", Arc::new(colours)),
        ("n", Arc::new(Int32Array::from(vec![7, 8, 9]))),
        ("note", Arc::new(StringArray::from(vec![None, None, Some("kept")]))),
    ];
    let rows_sent = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .expect("a batch");
    let mut body = Vec::new();
    let mut writer = arrow_ipc::writer::StreamWriter::try_new(&mut body, &rows_sent.schema()).expect("a writer");
    writer.write(&rows_sent).expect("written");
    writer.finish().expect("finished");
    drop(writer);
    let arrow = "application/vnd.apache.arrow.stream";
    let answer = host.send_as("pay", arrow, &body).expect(200).json();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["field"]), (&json!(2), &json!("ts")), "{answer}");
    let expected = [
        json!({"ts": 1, "ip": "red", "n": 7, "user": {"name": null}}),
        json!({"ts": 3, "ip": "red", "n": 9, "user": {"name": null}, "note": "kept"}),
    ];
    assert_eq!(rows(&host, "pay"), expected);
    host.put("/v1/streams/found", &json!({"schema": "infer"})).expect(201);
    host.send_as("found", arrow, &body).expect(200);
    assert_eq!(host.rows("found").len(), 3);
    host.send_as("pay", arrow, &body[..body.len() / 2]).expect(400);
    host.send_as("pay", arrow, b"{}").expect(400);
}

#[test]
fn schemas_change_by_version() {
    let host = Host::start();
    let put = |definition: &Value| host.put("/v1/streams/s", definition);
    let field = |name: &str, ty: &str, nullable: bool| json!({"name": name, "type": ty, "nullable": nullable});
    put(&json!({"fields": [field("a", "int64", true), field("b", "string", true)]})).expect(201);
    host.send("s", &json!({"a": 1, "b": "old"})).expect(200);
    put(&json!({"fields": [field("a", "float64", true), field("c", "string", true)], "retention": {"age": "7d"}})).expect(200);
    host.send("s", &json!({"a": 1.5, "c": "new", "b": "unknown"})).expect(200);
    let refused = put(&json!({"fields": [field("a", "float64", true), field("c", "string", false)]})).expect(409);
    assert!(refused.body.contains("`c`") && refused.body.contains("`forward` or `none`"), "{}", refused.body);
    let stream = host.get("/v1/streams/s").json();
    assert_eq!((&stream["version"], &stream["retention"]["age"]), (&json!(2), &json!("7d")), "{stream}");
    assert_eq!(stream["versions"].as_array().map(Vec::len), Some(2), "{stream}");
    // What was read may be sent back; the mode changes first, then what it takes.
    let mut back = stream.clone();
    back["compatibility"] = json!("none");
    put(&back).expect(200);
    put(&json!({"fields": [field("a", "string", true), field("c", "string", false)], "compatibility": "none"})).expect(200);
    host.send("s", &json!({"a": "x", "c": "newest"})).expect(200);
    let expected = [json!({"a": 1, "b": "old"}), json!({"a": 1.5, "c": "new", "b": "unknown"}), json!({"a": "x", "c": "newest"})];
    assert_eq!(rows(&host, "s"), expected, "every row reads back as it was written");
}

#[test]
fn what_is_read_as_arrow_can_be_sent_as_arrow() {
    let host = declared();
    let events = [
        json!({"ts": 1, "ip": "10.0.0.1", "amount": "1.50", "n": 7, "user": {"name": "Ann", "age": 30}, "ok": true, "more": {"a": [1, null]}, "extra": {"b": "x"}}),
        json!({"ts": 2, "ip": "10.0.0.1", "more": "a text", "note": "kept"}),
        json!({"ts": 3, "ip": "b", "user": {"name": null}, "more": [{}]}),
    ];
    host.send("pay", &json!(events)).expect(200);
    let arrow = "application/vnd.apache.arrow.stream";
    let url = format!("{}/v1/streams/pay/events", host.url());
    let read = ureq::get(&url).header("accept", arrow).call().expect("an answer").body_mut().read_to_vec().expect("a body");
    let mut copy = host.get("/v1/streams/pay").json();
    let fields = copy["fields"].take();
    host.put("/v1/streams/copy", &json!({"fields": fields, "time": {"field": "ts"}})).expect(201);
    host.put("/v1/streams/found", &json!({"schema": "infer", "time": {"field": "ts"}, "fields": [fields[0]]})).expect(201);
    for stream in ["copy", "found"] {
        assert_eq!(host.send_as(stream, arrow, &read).expect(200).json()["accepted"], 3);
        assert_eq!(rows(&host, stream), rows(&host, "pay"), "{stream}");
        let found = host.get(&format!("/v1/streams/{stream}")).json()["fields"].take();
        let types = |fields: &Value| -> Vec<(Value, Value, Value)> {
            let each = |field: &Value| (field["name"].clone(), field["type"].clone(), field["unit"].clone());
            fields.as_array().expect("a list").iter().map(each).collect()
        };
        assert_eq!(types(&found), types(&fields), "{stream}");
    }
}
