//! Windows, joins and rankings over real streams and over streams made of chance, asked of a real host: every row of every answer, also
//! when the host is killed while it works them out.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tidemill_oracle::random::{self, Chance};
use tidemill_oracle::{EventFile, Form, Nexmark, Query, Streams, Verdict, Window, definition};
use tidemill_tests::{Cycles, Host, eventually};

/// How often the host is killed, unless `TIDEMILL_CRASH_CYCLES` says.
const KILLS: u32 = 10;

fn real() -> Streams {
    let streams = Streams::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data/streams")).expect("the data");
    assert_eq!(streams.queries.len(), 14);
    streams
}

/// # Panics
/// If any case failed, with all that did.
fn all_passed(verdicts: &[Verdict]) {
    assert!(!verdicts.is_empty(), "nothing was asked");
    let failed: Vec<String> = verdicts
        .iter()
        .filter_map(|verdict| verdict.outcome.as_ref().err().map(|why| format!("FAILED {}: {why}", verdict.id)))
        .collect();
    assert!(failed.is_empty(), "{} of {} failed\n{}", failed.len(), verdicts.len(), failed.join("\n"));
}

#[test]
fn real_streams_give_every_expected_row() {
    let host = Host::start();
    all_passed(&real().run(&host, |_| ()));
}

#[test]
fn nexmark_gives_every_expected_row() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a folder above");
    let nexmark = Nexmark::open(&repository.join("tests/data/nexmark"), &repository.join("examples/nexmark")).expect("the data");
    assert_eq!(nexmark.queries.len(), 14);
    all_passed(&nexmark.run(&Host::start(), |_| ()).expect("a host that takes the events"));
}

#[test]
fn random_queries_answer_as_the_model() {
    for seed in 1..=4 {
        let folder = tempfile::tempdir().expect("a folder");
        random::write_windows(folder.path(), seed, 600, 60).expect("a folder of chance");
        let host = Host::start();
        let verdicts = Streams::open(folder.path()).expect("the data").run(&host, |_| ());
        all_passed(&verdicts);
    }
}

#[test]
fn random_pipelines_answer_as_the_model() {
    for seed in 1..=3 {
        let folder = tempfile::tempdir().expect("a folder");
        random::write_pipelines(folder.path(), seed, 250, 50).expect("a folder of chance");
        let host = Host::start();
        all_passed(&Streams::open(folder.path()).expect("the data").run(&host, |_| ()));
    }
}

#[test]
fn answers_survive_kills() {
    let streams = real();
    let mut host = Host::start();
    streams.declare(&host).expect("declared");
    streams.send(&host).expect("sent");
    let mut chance = Chance::new(9);
    let queries: Vec<&Query> = streams.queries.iter().map(|(_, query)| query.as_ref().expect("a query")).collect();
    let kills = Cycles::wanted(KILLS);
    let mut applied = 0;
    for kill in 1..=kills {
        // All of them are under way at once, more with every life of the host.
        let until = queries.len() * kill as usize / kills as usize;
        for query in &queries[applied..until] {
            streams.apply(&host, query).expect("applied");
        }
        applied = until;
        std::thread::sleep(Duration::from_millis(chance.below(250)));
        host.kill();
        host.launch();
    }
    let verdicts: Vec<Verdict> = queries
        .iter()
        .map(|query| {
            let judged = streams.wait(&host, query).and_then(|status| streams.judge(&host, query, &status));
            Verdict { id: query.id.clone(), outcome: judged.map_err(|error| format!("{error:#}")) }
        })
        .collect();
    all_passed(&verdicts);
}

#[test]
fn answers_do_not_hang_on_the_number_of_partitions() {
    // With the stream's key the query's, a key's rows stay in their order. What is late is another matter: that hangs on the watermark
    // of a partition.
    let queries = real().queries.into_iter().filter_map(|(_, query)| query.ok());
    let verdicts: Vec<Verdict> = queries
        .filter_map(|query| match &query.form {
            Form::Window(window) if !window.key.is_empty() && query.out_of_order.is_none() => Some((window.clone(), query)),
            Form::Window(_) | Form::Pipeline(_) => None,
        })
        .map(|(window, query)| {
            let mut streams = real().placed(3, &window.key);
            streams.files.retain(|name, _| *name == window.stream);
            let host = Host::start();
            let asked = streams.declare(&host).and_then(|()| streams.send(&host)).and_then(|()| streams.ask(&host, &query));
            Verdict { id: query.id, outcome: asked.map_err(|error| format!("{error:#}")) }
        })
        .collect();
    assert_eq!(verdicts.len(), 6);
    all_passed(&verdicts);
}

/// Asks some queries of a folder over streams of three partitions without a key: rows go round robin, so that each partition has a part of
/// every key, and a watermark of its own.
fn over_partitions(streams: Streams, is_asked: impl Fn(&Query) -> bool) {
    let streams = streams.placed(3, &[]);
    let host = Host::start();
    streams.declare(&host).expect("declared");
    streams.send(&host).expect("sent");
    let queries = streams.queries.iter().filter_map(|(_, query)| query.as_ref().ok()).filter(|query| is_asked(query));
    let verdict = |query: &Query| {
        let outcome = streams.ask(&host, query).map_err(|error| format!("{error:#}"));
        Verdict { id: query.id.clone(), outcome }
    };
    all_passed(&queries.map(verdict).collect::<Vec<_>>());
}

#[test]
fn rows_of_a_key_may_lie_in_several_partitions() {
    // But for what hangs on the order of arrival, or on which rows are late.
    over_partitions(real(), |query| match &query.form {
        Form::Window(window) => {
            let is_ordered = window.aggregates.iter().any(|(function, _)| function == "first" || function == "last");
            let is_counted = matches!(window.window, Window::Count { .. });
            query.out_of_order.is_none() && !is_ordered && !is_counted
        }
        Form::Pipeline(_) => true,
    });
    let folder = tempfile::tempdir().expect("a folder");
    random::write_pipelines(folder.path(), 31, 250, 50).expect("a folder of chance");
    over_partitions(Streams::open(folder.path()).expect("the data"), |query| {
        let Form::Pipeline(pipeline) = &query.form else { return false };
        let first = &pipeline["steps"][0];
        let is_joined = first.get("join").is_some_and(|join| join.get("as_of").is_none());
        is_joined || first["window"].get("top").is_some() || first.get("where").is_some() || first.get("lookup").is_some()
    });
}

/// A live pipeline over a stream of readings, its windows ten seconds long.
fn live(host: &Host, time: &str) {
    let fields = json!([{"name": "ts_ms", "type": "int64", "nullable": false}, {"name": "k", "type": "string"}]);
    let definition = json!({"fields": fields, "time": {"field": "ts_ms", "unit": "ms"}});
    host.put("/v1/streams/readings", &definition).expect(201);
    let text = format!(
        "pipeline: counts\nfrom: {{stream: readings, out_of_orderness: 2s}}\n{time}steps:\n  - window: {{tumbling: 10s, by: [k], \
         select: {{n: count(*)}}}}\nto:\n  - stream: counts\n"
    );
    host.apply("counts", &text).expect(201);
}

/// The results as `window start in s: key n`, in order of their keys.
fn counts(rows: &[Value]) -> Vec<String> {
    let mut told: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {} {}", row["window_start"].as_str().unwrap_or("-"), row["k"].as_str().unwrap_or("-"), row["n"]))
        .collect();
    told.sort();
    told
}

#[test]
fn a_live_window_closes_when_the_watermark_passes() {
    let host = Host::start();
    live(&host, "time: {bound: off}\n");
    let events = |rows: &[(&str, i64)]| -> Value { rows.iter().map(|(k, s)| json!({"k": k, "ts_ms": s * 1_000})).collect() };
    host.send("readings", &events(&[("a", 1), ("b", 3), ("a", 9)])).expect(200);
    // 11 s make the watermark 9 s: the window is open, and takes a row that is behind.
    host.send("readings", &events(&[("a", 11), ("b", 9)])).expect(200);
    host.send("readings", &events(&[("a", 12)])).expect(200);
    let first = host.wait_rows("counts", 2);
    assert_eq!(counts(&first), ["1970-01-01T00:00:00.000000Z a 2", "1970-01-01T00:00:00.000000Z b 2"]);
    // Too late now: the row goes to where late rows go, and changes nothing.
    host.send("readings", &events(&[("b", 5)])).expect(200);
    let late = host.wait_rows("counts.late", 1);
    assert!(late[0].to_string().contains("\"b\""), "{late:?}");
    host.send("readings", &events(&[("a", 22)])).expect(200);
    let all = host.wait_rows("counts", 3);
    assert_eq!(counts(&all)[2], "1970-01-01T00:00:10.000000Z a 2");
    let status = host.get("/v1/pipelines/counts/status").expect(200).json();
    assert_eq!(status["dropped_late"], 1, "{status}");
}

#[test]
fn a_window_does_not_hang_when_data_stops() {
    let host = Host::start();
    live(&host, "time: {bound: 1s}\n");
    host.send("readings", &json!([{"k": "a", "ts_ms": 1_000}, {"k": "a", "ts_ms": 9_500}])).expect(200);
    let rows = host.wait_rows("counts", 1);
    assert_eq!(counts(&rows), ["1970-01-01T00:00:00.000000Z a 2"]);
    host.wait_rows("counts", 1);
}

/// More than the journal takes in one entry: 64 MiB.
#[test]
fn a_window_of_a_million_keys_leaves_and_a_kill_between_does_not_show() {
    const KEYS: usize = 1_100_000;
    let mut host = Host::start();
    let stream = json!({
        "fields": [{"name": "k", "type": "string"}, {"name": "ts_ms", "type": "int64"}],
        "time": {"field": "ts_ms", "unit": "ms"}, "key": ["k"], "unknown": "drop"
    });
    host.put("/v1/streams/visits", &stream).expect(201);
    let line = |n: usize| format!("{{\"k\":\"a visitor with a name of {n:09}\",\"ts_ms\":{}}}\n", n % 1000);
    for from in (0..KEYS).step_by(50_000) {
        let body: String = (from..from + 50_000).map(line).collect();
        host.send_as("visits", "application/x-ndjson", body.as_bytes()).expect(200);
    }
    let steps = "- window: {tumbling: 10s, by: [k], select: {n: count(*), last: max(ts_ms)}}";
    host.apply("wide", &format!("run: once\nfrom: visits\nsteps:\n{steps}\nto: [{{stream: wide-out}}]\n")).expect(201);
    let written = |host: &Host| host.get("/v1/streams/wide-out").json()["offsets"][0]["end"].as_u64().unwrap_or(0);
    eventually("the first part", Duration::from_secs(120), || written(&host) > 0);
    let parts = written(&host);
    host.kill();
    host.launch();
    let status = || host.get("/v1/pipelines/wide/status").expect(200).json();
    eventually("the end", Duration::from_secs(120), || status()["state"] == "finished");
    assert_eq!(written(&host), KEYS as u64, "{parts} were there at the kill: {}", status());
    assert_eq!(status()["rows_out"], KEYS as u64);
}

/// Sends the rows of all streams in pieces of chance, in turn; now and then the host is killed between two of them.
fn send_in_pieces(host: &mut Host, streams: &Streams, chance: &mut Chance) {
    let of = |file: &EventFile| file.body.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut left: Vec<(&String, Vec<Vec<u8>>)> =
        streams.files.iter().filter(|(_, file)| !file.is_table()).map(|(name, file)| (name, of(file))).collect();
    while !left.is_empty() {
        let at = chance.below(left.len() as u64) as usize;
        let (name, lines) = &mut left[at];
        let piece: Vec<u8> = lines.drain(..lines.len().min(1 + chance.below(60) as usize)).flatten().collect();
        host.send_as(name, "application/x-ndjson", &piece).expect(200);
        if lines.is_empty() {
            left.remove(at);
        }
        if chance.below(5) == 0 {
            std::thread::sleep(Duration::from_millis(chance.below(60)));
            host.kill();
            host.launch();
        }
    }
}

/// Asks the queries of a folder of pipelines that are live while its events come in pieces and the host is killed. Time is left to the
/// events: neither silence nor a clock moves it.
fn live_under_kills(streams: &Streams, seed: u64, partitions: u32, is_asked: impl Fn(&Query) -> bool) {
    let mut host = Host::start();
    streams.declare(&host).expect("declared");
    let queries: Vec<&Query> =
        streams.queries.iter().filter_map(|(_, query)| query.as_ref().ok()).filter(|query| is_asked(query)).collect();
    for query in &queries {
        let (name, result) = (streams.pipeline(query), streams.result(query));
        let document = definition(query, &name, &result, &|stream| streams.files[stream].disorder_ms());
        let mut document = document.expect("a pipeline");
        document["run"] = json!("live");
        document["time"] = json!({"bound": "off"});
        document["from"].as_array_mut().expect("sources").iter_mut().for_each(|source| source["idle"] = json!("off"));
        host.put(&format!("/v1/pipelines/{name}"), &document).expect(201);
    }
    send_in_pieces(&mut host, streams, &mut Chance::new(seed));
    // A row from far ahead ends whatever waits for time, but for what it began itself.
    for name in streams.files.values().filter(|file| !file.is_table()).map(|file| &file.name) {
        // One for each partition: rows without a key go in turn.
        for _ in 0..partitions {
            host.send(name, &json!({"seq": 1_000_000, "ts_ms": 4_000_000_000_000_i64})).expect(200);
        }
    }
    let verdict = |query: &&Query| {
        let mut outcome = Ok(());
        for _ in 0..400 {
            let status = host.get(&format!("/v1/pipelines/{}/status", streams.pipeline(query))).expect(200).json();
            outcome = streams.judge(&host, query, &status).map_err(|error| format!("{error:#}"));
            if outcome.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Verdict { id: query.id.clone(), outcome }
    };
    all_passed(&queries.iter().map(verdict).collect::<Vec<_>>());
}

#[test]
fn live_windows_survive_kills() {
    let folder = tempfile::tempdir().expect("a folder");
    random::write_windows(folder.path(), 21, 600, 30).expect("a folder of chance");
    // Where rows are counted, the one from far ahead would be one of them.
    live_under_kills(
        &Streams::open(folder.path()).expect("the data"),
        3,
        1,
        |query| !matches!(&query.form, Form::Window(window) if matches!(window.window, Window::Count { .. })),
    );
}

#[test]
fn live_joins_survive_kills() {
    let folder = tempfile::tempdir().expect("a folder");
    random::write_pipelines(folder.path(), 22, 250, 40).expect("a folder of chance");
    // What goes on at once would let the row from far ahead go on, too.
    live_under_kills(&Streams::open(folder.path()).expect("the data"), 4, 1, |query| {
        let Form::Pipeline(pipeline) = &query.form else { return false };
        let first = &pipeline["steps"][0];
        ["join", "window", "over", "where"].iter().any(|step| first.get(step).is_some())
    });
}

/// Rows of every key in every partition, so that they are placed anew between two stages, and kills in all of them.
#[test]
fn live_stages_survive_kills() {
    let folder = tempfile::tempdir().expect("a folder");
    random::write_windows(folder.path(), 23, 600, 30).expect("a folder of chance");
    let streams = Streams::open(folder.path()).expect("the data").placed(3, &[]);
    // But for what hangs on the order of arrival, or on which rows are late.
    live_under_kills(&streams, 5, 3, |query| match &query.form {
        Form::Window(window) => {
            let is_ordered = window.aggregates.iter().any(|(function, _)| function == "first" || function == "last");
            query.out_of_order.is_none() && !is_ordered && !matches!(window.window, Window::Count { .. })
        }
        Form::Pipeline(_) => false,
    });
    let folder = tempfile::tempdir().expect("a folder");
    random::write_pipelines(folder.path(), 24, 250, 40).expect("a folder of chance");
    let streams = Streams::open(folder.path()).expect("the data").placed(3, &[]);
    live_under_kills(&streams, 6, 3, |query| {
        let Form::Pipeline(pipeline) = &query.form else { return false };
        pipeline["steps"][0].get("join").is_some_and(|join| join.get("as_of").is_none())
    });
}

#[test]
fn pieces_of_a_stream_give_what_the_whole_gives() {
    let folder = tempfile::tempdir().expect("a folder");
    random::write_windows(folder.path(), 77, 500, 25).expect("a folder of chance");
    let streams = Streams::open(folder.path()).expect("the data");
    let mut host = Host::start();
    streams.declare(&host).expect("declared");
    send_in_pieces(&mut host, &streams, &mut Chance::new(5));
    let verdicts: Vec<Verdict> = streams
        .queries
        .iter()
        .map(|(id, query)| {
            let query = query.as_ref().expect("a query");
            Verdict { id: id.clone(), outcome: streams.ask(&host, query).map_err(|error| format!("{error:#}")) }
        })
        .collect();
    all_passed(&verdicts);
}

/// A window of an hour speaks while it is open, and goes on behind a kill: what it says takes back what it said, to the last bit.
#[test]
fn an_open_window_speaks_and_a_kill_takes_nothing_back() {
    let mut host = Host::start();
    let stream = json!({
        "fields": [{"name": "ts", "type": "int64"}, {"name": "shop", "type": "string"}, {"name": "amount", "type": "int64"}],
        "time": {"field": "ts", "unit": "ms"}
    });
    host.put("/v1/streams/sales", &stream).expect(201);
    let text = "\
pipeline: turnover
from: sales
time: {bound: off}
steps:
  - window: {tumbling: 1h, by: [shop], select: {n: count(*), total: sum(amount)}, early: 50ms, lateness: 1h, late: each, panes: retracting}
to:
  - stream: turnover
";
    host.apply("turnover", text).expect(201);
    let sale = |ts: i64, shop: &str, amount: i64| json!({"ts": ts, "shop": shop, "amount": amount});
    let told = |row: &Value| {
        let of = |member: &str| row[member].to_string().replace('"', "");
        [of("shop"), of("total"), of("pane"), of("pane_no"), of("retracted")].join(" ")
    };
    host.send("sales", &json!([sale(1, "berlin", 30), sale(2, "paris", 4), sale(3, "berlin", 11)])).expect(200);
    let rows = host.wait_rows("turnover", 2);
    assert_eq!(rows.iter().map(told).collect::<Vec<_>>(), ["berlin 41 early 0 false", "paris 4 early 0 false"]);
    host.kill();
    host.launch();
    host.send("sales", &json!([sale(4, "berlin", 1)])).expect(200);
    let rows = host.wait_rows("turnover", 4);
    assert_eq!(rows[2..].iter().map(told).collect::<Vec<_>>(), ["berlin 41 early 0 true", "berlin 42 early 1 false"]);
    // The hour is over; what is new by then is told with it. Then a row comes late.
    host.send("sales", &json!([sale(3_600_001, "rome", 5)])).expect(200);
    let rows = host.wait_rows("turnover", 9);
    let mut told_now: Vec<String> = rows[4..].iter().map(told).collect();
    told_now.sort();
    assert_eq!(
        told_now,
        [
            "berlin 42 early 1 true",
            "berlin 42 on_time 2 false",
            "paris 4 early 0 true",
            "paris 4 on_time 1 false",
            "rome 5 early 0 false"
        ]
    );
    host.kill();
    host.launch();
    host.send("sales", &json!([sale(5, "paris", 6)])).expect(200);
    let rows = host.wait_rows("turnover", 11);
    assert_eq!(rows[9..].iter().map(told).collect::<Vec<_>>(), ["paris 4 on_time 1 true", "paris 10 late 2 false"]);
    let status = host.get("/v1/pipelines/turnover/status").expect(200).json();
    assert_eq!((&status["divergences"], &status["late"]), (&json!([]), &json!(0)), "{status}");
}
