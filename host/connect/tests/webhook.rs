//! What a receiver of webhooks sees, and what it can do to the sender.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::receiver::Reply;
use support::{Drive, Hook, Marks, Rig};
use tidemill_connect::{
    BatchBounds, BatchKey, BodyFormat, Given, ReaderParts, RefusedRows, Secrets, SinkError, SinkReader, Step, WebhookSettings,
    WebhookSink, WebhookTarget, WebhookUrl,
};
use tidemill_event::{Backoff, Offset, PartitionId};

const BOUNDS: BatchBounds = BatchBounds { rows: 100, bytes: 1 << 20, every: Duration::ZERO };

/// Rows 0 and 1 on their way to a receiver.
fn drive(hook: &Hook, settings: WebhookSettings) -> Drive {
    drive_to(hook.target(settings), 2, BOUNDS)
}

fn drive_to(target: Arc<WebhookTarget>, rows: i64, bounds: BatchBounds) -> Drive {
    drive_with(target, rows, bounds, None)
}

fn drive_with(target: Arc<WebhookTarget>, rows: i64, bounds: BatchBounds, refused: Option<Box<dyn RefusedRows>>) -> Drive {
    let rig = Rig::new();
    rig.append(0, 0..rows);
    let reader = SinkReader::new(ReaderParts {
        partition: rig.stream.partition(PartitionId(0)).expect("a partition").clone(),
        sink: Box::new(WebhookSink::new(target)),
        marks: Box::new(Marks::default()),
        start: Offset(0),
        bounds,
        backoff: Backoff::new(Duration::from_millis(10), Duration::from_secs(1), 7),
        life: "0123456789abcdef".to_owned(),
        refused,
    });
    Drive { reader, now: std::time::Instant::now() }
}

/// The first error of a delivery that fails.
fn failure(hook: &Hook, settings: WebhookSettings) -> String {
    let mut drive = drive(hook, settings);
    assert_eq!(drive.step(true).expect("adds"), Step::Added);
    drive.step(true).expect_err("fails").to_string()
}

/// Keys and signatures were made by another implementation (Python's `hmac`).
const OLD: (&str, &str) = ("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "A/dO7znIdNZ3/gnryBNOq8ITrler9vCyf/IAAshXOjU=");
const NEW: (&str, &str) = ("whsec_ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7", "PwqMbbCEnx1LozUP4FBRspGfQRdYU7B+2kDVWkfk5N4=");

#[test]
fn a_request_is_signed_with_every_secret_there_is() {
    let hook = Hook::new();
    let settings = WebhookSettings {
        secret: Some("ops".to_owned()),
        headers: vec![
            ("authorization".to_owned(), Given::Secret("token".to_owned())),
            ("x-team".to_owned(), Given::Plain("fraud".to_owned())),
        ],
        ..hook.settings()
    };
    std::fs::write(hook.secrets.path().join("ops"), OLD.0).expect("writes");
    std::fs::write(hook.secrets.path().join("token"), "Bearer abc\n").expect("writes");
    assert_eq!(drive(&hook, settings.clone()).finish(), Vec::<String>::new());
    std::fs::write(hook.secrets.path().join("ops"), format!("{}\n{}\n", NEW.0, OLD.0)).expect("writes");
    assert_eq!(drive(&hook, settings).finish(), Vec::<String>::new());
    let attempts = hook.receiver.attempts();
    let header = |at: usize, name: &str| attempts[at].headers.get(name).cloned().unwrap_or_default();
    assert_eq!(attempts[0].body, b"{\"n\":0}\n{\"n\":1}\n");
    assert_eq!(header(0, "webhook-id"), "msg_0123456789abcdef-0-0-2");
    assert_eq!(header(0, "webhook-timestamp"), "1700000000");
    assert_eq!(header(0, "webhook-signature"), format!("v1,{}", OLD.1));
    assert_eq!(header(1, "webhook-signature"), format!("v1,{} v1,{}", NEW.1, OLD.1));
    assert_eq!(header(0, "content-type"), "application/x-ndjson");
    assert_eq!((header(0, "authorization"), header(0, "x-team")), ("Bearer abc".to_owned(), "fraud".to_owned()));
}

#[test]
fn rows_may_come_as_one_array_and_a_batch_keeps_its_size() {
    let hook = Hook::new();
    let target = hook.target(WebhookSettings { format: BodyFormat::Json, ..hook.settings() });
    assert_eq!(drive_to(target, 5, BatchBounds { bytes: 20, ..BOUNDS }).finish(), Vec::<String>::new());
    let bodies: Vec<String> =
        hook.receiver.taken().into_iter().map(|taken| String::from_utf8(taken.body).expect("text")).collect();
    // A line has eight bytes: two fit.
    assert_eq!(bodies, ["[{\"n\":0},{\"n\":1}]", "[{\"n\":2},{\"n\":3}]", "[{\"n\":4}]"]);
}

#[test]
fn nothing_is_sent_to_an_address_that_is_not_public() {
    let hook = Hook::new();
    let port = hook.receiver.url().rsplit(':').next().expect("a port").to_owned();
    for host in
        ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "0x7f000001", "017700000001", "2130706433"]
    {
        let url = Given::Plain(WebhookUrl::parse(&format!("http://{host}:{port}")).expect("a URL"));
        let settings = WebhookSettings { url, ..hook.settings() };
        let target = WebhookTarget::new(settings, hook.secrets(), Arc::new(hook.clock.clone()), false);
        let mut drive = drive_to(Arc::new(target), 1, BOUNDS);
        drive.step(true).expect("adds");
        let error = drive.step(true).expect_err("is refused").to_string();
        // Some look-ups do not know all of these forms, and refuse too.
        assert!(error.contains("not public") || error.contains("no host") || error.contains("lookup"), "{host}: {error}");
        let is_told = error.contains("127.0.0.1") && !host.contains("127.0.0.1");
        assert!(!is_told, "the address it leads to is not told: {error}");
    }
    assert_eq!(hook.receiver.attempts(), []);
}

#[test]
fn redirects_are_not_followed() {
    let (hook, other) = (Hook::new(), Hook::new());
    hook.receiver.script([Reply::Refuse(307, Some(format!("location: {}", other.receiver.url())))]);
    let error = failure(&hook, hook.settings());
    assert!(error.ends_with("/hook answered 307: sorry"), "{error}");
    assert_eq!((hook.receiver.attempts().len(), other.receiver.attempts().len()), (1, 0));
}

#[test]
fn what_took_too_long_comes_again_under_its_id() {
    let hook = Hook::new();
    hook.receiver.script([Reply::TakeSlowly(Duration::from_secs(2))]);
    let errors = drive(&hook, WebhookSettings { timeout: Duration::from_millis(200), ..hook.settings() }).finish();
    assert!(errors.len() == 1 && errors[0].ends_with("/hook: no answer in time"), "{errors:?}");
    let attempts = hook.receiver.attempts();
    assert_eq!((attempts.len(), attempts[0].id()), (2, attempts[1].id()));
    assert_eq!(attempts[0].body, attempts[1].body);
    assert_eq!(hook.receiver.lines().len(), 2);
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let hook = Hook::new();
    hook.receiver.script([Reply::Refuse(503, Some("retry-after: 90".to_owned()))]);
    let mut drive = drive(&hook, hook.settings());
    drive.step(true).expect("adds");
    drive.step(true).expect_err("not now");
    let failed_at = drive.now;
    let Ok(Step::Waiting(until)) = drive.step(true) else { panic!("it waits") };
    assert!(until >= failed_at + Duration::from_secs(90), "{:?}", until - failed_at);
    assert_eq!(drive.finish(), Vec::<String>::new());
}

#[test]
fn a_receiver_that_keeps_failing_is_left_alone_and_then_probed() {
    let hook = Hook::new();
    hook.receiver.script(std::iter::repeat_n(Reply::Refuse(500, None), 6));
    let target = hook.target(hook.settings());
    let mut drive = drive_to(target.clone(), 2, BOUNDS);
    let mut errors = Vec::new();
    while errors.len() < 8 {
        if let Err(error) = drive.step(true) {
            errors.push(error.to_string());
        }
    }
    // Five were sent. The clock of the breaker stands still, so that nothing more is.
    assert_eq!((hook.receiver.attempts().len(), target.breaker()), (5, "open"));
    assert!(errors[7].starts_with("not tried: after 5 failures in a row"), "{}", errors[7]);
    assert!(errors[7].ends_with("answered 500: sorry"), "{}", errors[7]);
    hook.clock.pass(Duration::from_secs(5));
    assert_eq!(target.breaker(), "half_open");
    while hook.receiver.attempts().len() < 6 {
        drop(drive.step(true));
    }
    assert_eq!(target.breaker(), "open", "the probe failed");
    hook.clock.pass(Duration::from_secs(10));
    drive.finish();
    assert_eq!((hook.receiver.lines().len(), target.breaker()), (2, "closed"));
    let ids: Vec<String> = hook.receiver.attempts().iter().map(|attempt| attempt.id().to_owned()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn a_refusal_says_what_the_receiver_said() {
    let hook = Hook::new();
    hook.receiver.script([Reply::Refuse(422, None)]);
    let error = failure(&hook, hook.settings());
    assert!(error.ends_with("/hook answered 422: sorry"), "{error}");
}

/// Refused ranges; the first time it cannot keep one.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl RefusedRows for Kept {
    fn is_kept(&self, key: &BatchKey<'_>) -> bool {
        let kept = self.0.lock().expect("unpoisoned");
        kept.iter().skip(1).any(|told| told.starts_with(&key.range.to_string()))
    }

    fn keep(&self, key: &BatchKey<'_>, said: &str) -> Result<(), SinkError> {
        let mut kept = self.0.lock().expect("unpoisoned");
        kept.push(format!("{} {}", key.range, said.rsplit('/').next().unwrap_or_default()));
        if kept.len() == 1 { Err(SinkError::Log("planted".to_owned())) } else { Ok(()) }
    }
}

/// Whether a body has a row that is none of the good ones.
fn is_bad(body: &[u8], bad: &[i64]) -> bool {
    let text = std::str::from_utf8(body).expect("text");
    bad.iter().any(|n| text.contains(&format!("{{\"n\":{n}}}")))
}

#[test]
fn one_bad_row_of_a_batch_is_alone_and_the_others_go_on() {
    let hook = Hook::new();
    hook.receiver.refuse_if(|body| is_bad(body, &[5]).then_some(422));
    let kept = Kept::default();
    let bounds = BatchBounds { rows: 8, ..BOUNDS };
    let mut drive = drive_with(hook.target(hook.settings()), 12, bounds, Some(Box::new(kept.clone())));
    let (mut refused, mut halved, mut errors) = (0, 0, Vec::new());
    for _ in 0..60 {
        match drive.step(true) {
            Ok(Step::Refused { rows }) => refused += rows,
            Ok(Step::Halved) => halved += 1,
            Ok(_) => {}
            Err(error) => errors.push(error.to_string()),
        }
    }
    assert_eq!(errors, ["cannot note it in the log: planted"]);
    assert_eq!((refused, halved, drive.reader.offset()), (1, 3, Offset(12)));
    let lines: Vec<String> = (0..12).filter(|n| *n != 5).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(hook.receiver.lines(), lines, "in order, each once");
    assert_eq!(*kept.0.lock().expect("unpoisoned"), ["[5, 6) hook answered 422: sorry"; 2]);
    let keys: Vec<String> = hook
        .receiver
        .attempts()
        .iter()
        .map(|attempt| attempt.id().trim_start_matches("msg_0123456789abcdef-0-").to_owned())
        .collect();
    // Every piece has its own key, and the one that could not be kept at first was sent again under its own.
    assert_eq!(keys, ["0-8", "0-4", "4-8", "4-6", "4-5", "5-6", "5-6", "6-8", "8-12"]);
}

#[test]
fn a_receiver_that_takes_nothing_is_not_asked_for_every_row() {
    let hook = Hook::new();
    hook.receiver.refuse_if(|_| Some(400));
    let kept = Kept::default();
    kept.0.lock().expect("unpoisoned").push("the one that fails".to_owned());
    let bounds = BatchBounds { rows: 1_000, ..BOUNDS };
    let mut drive = drive_with(hook.target(hook.settings()), 1_000, bounds, Some(Box::new(kept.clone())));
    assert_eq!(drive.finish(), Vec::<String>::new());
    assert_eq!(drive.reader.offset(), Offset(1_000));
    let attempts = hook.receiver.attempts().len();
    assert!((128..160).contains(&attempts), "{attempts} requests");
    let kept = kept.0.lock().expect("unpoisoned").len();
    assert!((60..100).contains(&kept), "{kept} pieces");
}

#[test]
fn an_answer_about_the_request_costs_no_row() {
    for status in [401, 403, 404, 410, 415, 429, 500] {
        let hook = Hook::new();
        hook.receiver.script([Reply::Refuse(status, None), Reply::Refuse(status, None)]);
        let kept = Kept::default();
        let mut drive = drive_with(hook.target(hook.settings()), 4, BOUNDS, Some(Box::new(kept.clone())));
        let errors = drive.finish();
        assert!(errors.len() == 2 && errors[0].contains(&format!("answered {status}")), "{errors:?}");
        assert_eq!((hook.receiver.lines().len(), kept.0.lock().expect("unpoisoned").len()), (4, 0), "{status}");
    }
}

#[test]
fn a_crash_at_any_step_of_a_halving_goes_on_with_the_same_pieces() {
    for steps in 0..28_u64 {
        let hook = Hook::new();
        hook.receiver.refuse_if(|body| is_bad(body, &[2, 7]).then_some(400));
        let (rig, marks, kept) = (Rig::new(), Marks::default(), Kept::default());
        kept.0.lock().expect("unpoisoned").push("the one that fails".to_owned());
        rig.append(0, 0..10);
        let start = |rows: u64| {
            let reader = SinkReader::new(ReaderParts {
                partition: rig.stream.partition(PartitionId(0)).expect("a partition").clone(),
                sink: Box::new(WebhookSink::new(hook.target(hook.settings()))),
                marks: Box::new(marks.clone()),
                start: Offset(0),
                bounds: BatchBounds { rows, ..BOUNDS },
                backoff: Backoff::new(Duration::from_millis(10), Duration::from_secs(1), 7),
                life: "0123456789abcdef".to_owned(),
                refused: Some(Box::new(kept.clone())),
            });
            Drive { reader, now: std::time::Instant::now() }
        };
        let mut drive = start(8);
        // Steps alternate with crashes between keeping a row and noting that.
        marks.0.lock().expect("unpoisoned").fail_after = (steps % 2 == 1).then_some(steps / 2);
        for _ in 0..steps {
            if drive.step(true).is_err() {
                break;
            }
        }
        drop(drive);
        marks.0.lock().expect("unpoisoned").fail_after = None;
        // Now the receiver would take the whole batch, and what it has of it must still not come a second time.
        hook.receiver.refuse_if(|body| is_bad(body, &[7]).then_some(400));
        rig.append(0, 10..13);
        assert_eq!(start(3).finish(), Vec::<String>::new());
        let mut lines = hook.receiver.lines();
        let told = kept.0.lock().expect("unpoisoned").clone();
        let buried = |n: i64| told.iter().any(|range| range.starts_with(&format!("[{n}, {})", n + 1)));
        lines.sort_by_key(|line| line[5..line.len() - 1].parse::<i64>().expect("a number"));
        let expected: Vec<String> = (0..13).filter(|n| !buried(*n)).map(|n| format!("{{\"n\":{n}}}")).collect();
        assert_eq!(lines, expected, "a crash behind step {steps}: {told:?}");
        assert!(buried(7), "a crash behind step {steps}: {told:?}");
    }
}

#[test]
fn secrets_are_told_nobody() {
    let hook = Hook::new();
    let url = format!("{}?token=hush", hook.receiver.url());
    std::fs::write(hook.secrets.path().join("url"), &url).expect("writes");
    std::fs::write(hook.secrets.path().join("bad"), "hush").expect("writes");
    hook.receiver.script([Reply::Refuse(500, None)]);
    let secret_url = WebhookSettings { url: Given::Secret("url".to_owned()), ..hook.settings() };
    let plain_url = WebhookSettings { url: Given::Plain(WebhookUrl::parse(&url).expect("a URL")), ..hook.settings() };
    let unsigned = WebhookSettings { secret: Some("bad".to_owned()), ..hook.settings() };
    let error = failure(&hook, secret_url.clone());
    assert_eq!(error, "secret url answered 500: sorry");
    assert!(!plain_url.place().contains("hush"), "{}", plain_url.place());
    let error = WebhookTarget::check(&unsigned, &hook.secrets()).expect_err("is no key").to_string();
    assert_eq!(error, "the secret `bad` is no signing secret: write `whsec_` and 24 to 64 random bytes in base64");
    assert_eq!(WebhookTarget::check(&secret_url, &hook.secrets()).map_err(|error| error.to_string()), Ok(()));
    let missing = WebhookTarget::check(&secret_url, &Secrets::new(hook.secrets.path().join("nowhere")));
    assert!(missing.expect_err("is missing").to_string().starts_with("the secret `url` cannot be read"));
}
