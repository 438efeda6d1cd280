//! Reads `to:`.

use tidemill_event::StreamName;

use super::file::file;
use super::webhook::webhook;
use super::{Route, Target, TargetKind};
use crate::Fault;
use crate::pipeline::document::{Node, NodeValue};
use crate::pipeline::object::Object;
use crate::pipeline::parse::{list, names};

const TARGET_WORDS: [&str; 4] = ["stream", "file", "webhook", "stdout"];
/// More targets are refused.
const TARGETS_MAX: usize = 16;

/// The targets that can be read.
pub(in crate::pipeline) fn targets(node: &Node, faults: &mut Vec<Fault>) -> Vec<Target> {
    let items = list(node, "to", "to: [{stream: results}]", faults);
    if items.is_empty() {
        faults.push(Fault::new(
            "to",
            node.line,
            "no target is named",
            "add `- stream: results`, `- file: {path: results}`, `- webhook: {url: …}` or `- stdout`",
        ));
    }
    if items.len() > TARGETS_MAX {
        let error = format!("{} targets", items.len());
        faults.push(Fault::new(
            "to",
            node.line,
            error,
            "at most 16 are possible: let another pipeline read the first one's stream",
        ));
        return Vec::new();
    }
    let targets: Vec<Target> =
        items.iter().enumerate().filter_map(|(at, item)| target(item, format!("to[{at}]"), faults)).collect();
    for (at, target) in targets.iter().enumerate() {
        if targets[..at].iter().any(|earlier| earlier.kind.to_string() == target.kind.to_string()) {
            faults.push(Fault::new(&target.path, target.line, "this target is named twice", "remove one of the two"));
        }
    }
    targets
}

fn target(node: &Node, path: String, faults: &mut Vec<Fault>) -> Option<Target> {
    let line = node.line;
    if let NodeValue::Scalar { text, .. } = &node.value {
        if text == "stdout" {
            return Some(Target { kind: TargetKind::Stdout, routes: Vec::new(), path, line, side: None });
        }
        let remedy = format!("write `- stream: {text}`, `- file: {{path: {text}}}` or `- stdout`");
        faults.push(Fault::new(path, line, format!("`{text}` is no target"), remedy));
        return None;
    }
    let mut object = Object::of(node, &path, "stream: results", faults)?;
    let mut kind = None;
    let mut routes = Vec::new();
    if let Some(text) = object.text("stream", faults) {
        routes = object.take("route").map_or_else(Vec::new, |node| read_routes(node, &object.member("route"), faults));
        let member = object.member("stream");
        match StreamName::from_client(&text.text) {
            Ok(stream) => kind = Some(TargetKind::Stream(stream)),
            Err(error) => faults.push(Fault::new(member, text.line, error.to_string(), "name a stream of your own: `results`")),
        }
    } else if let Some(node) = object.take("file") {
        kind = file(node, &object.member("file"), faults);
    } else if let Some(node) = object.take("webhook") {
        kind = webhook(node, &object.member("webhook"), faults);
    } else if let Some(node) = object.take("stdout") {
        faults.push(Fault::new(object.member("stdout"), node.line, "`stdout` takes no settings", "write `- stdout`"));
    } else if object.keys().next().is_none() {
        object.missing("stream", "stream: results", faults);
    }
    if matches!(kind, Some(TargetKind::Stream(_))) {
        object.finish(&["stream", "route"], faults);
    } else {
        object.finish(&TARGET_WORDS, faults);
    }
    Some(Target { kind: kind?, routes, path, line, side: None })
}

/// `alerts`, `[alerts, audit]`, `none`.
fn read_routes(node: &Node, path: &str, faults: &mut Vec<Fault>) -> Vec<Route> {
    let routes = names(node, path, faults).unwrap_or_default();
    routes.into_iter().map(|text| if text.text == "none" { Route::None } else { Route::To(text.text) }).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use crate::pipeline::PipelineDefinition;
    use crate::pipeline::example::read_as;

    #[expect(clippy::needless_pass_by_value, reason = "expect! is written in place")]
    fn check(to: &str, expected: Expect) {
        let text = format!("from: a\nto:\n{to}");
        let kinds =
            |definition: &PipelineDefinition| definition.targets.iter().map(|target| format!("{:?}\n", target.kind)).collect();
        expected.assert_eq(&read_as(&text, kinds));
    }

    #[test]
    fn targets_are_read_with_all_their_settings() {
        check(
            "- stream: s\n- stdout\n- file: {path: a/b}\n- file: {path: c, format: parquet, roll: {bytes: 1MiB, rows: 5, every: 2m}}\n",
            expect![[r#"
                Stream(StreamName("s"))
                Stdout
                File(FileTarget { path: "a/b", format: Ndjson, roll: Roll { rows: None, bytes: None, every: None } })
                File(FileTarget { path: "c", format: Parquet, roll: Roll { rows: Some(5), bytes: Some(1048576), every: Some(120s) } })
            "#]],
        );
        check(
            "- webhook: https://example.com/a\n- webhook:\n    url: {secret: slack}\n    secret: ops\n    headers: {X-Team: fraud, authorization: {secret: t}}\n    format: json\n    batch: {rows: 7, bytes: 2KiB, linger: 0s}\n    timeout: 3s\n",
            expect![[r#"
                Webhook(WebhookTarget { settings: WebhookSettings { url: Plain(WebhookUrl(https://example.com/a)), secret: None, headers: [], format: Ndjson, timeout: 10s }, batch: BatchBounds { rows: 500, bytes: 262144, every: 1s }, on_refused: Hold })
                Webhook(WebhookTarget { settings: WebhookSettings { url: Secret("slack"), secret: Some("ops"), headers: [("x-team", Plain("fraud")), ("authorization", Secret("t"))], format: Json, timeout: 3s }, batch: BatchBounds { rows: 7, bytes: 2048, every: 0ns }, on_refused: Hold })
            "#]],
        );
    }

    #[test]
    fn what_a_target_cannot_be_is_said_with_its_line() {
        check(
            "- file: {path: a, format: csv, roll: {rows: 0, evry: 1s}}\n- file: {format: parquet}\n- file: {path: b}\n- file: {path: b, format: parquet}\n- webhok: x\n",
            expect![[r#"
                3: to[0].file.format: `csv` is none of the values there are -> use `ndjson` or `parquet`
                3: to[0].file.roll: a file would hold nothing -> use at least `rows: 1` and `bytes: 1KiB`
                3: to[0].file.roll.evry: there is no `evry` -> did you mean `every`?
                4: to[1].file.path: `path` is missing -> add `path: results`
                6: to[3]: this target is named twice -> remove one of the two
                7: to[4].webhok: there is no `webhok` -> did you mean `webhook`?
            "#]],
        );
        check(
            "- webhook: {secret: a}\n- webhook:\n    url: ftp://example.com\n    secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n    headers: {host: a, webhook-id: b, x y: c, x-a: \"é\", x-b: {name: d}}\n    format: xml\n    batch: {rows: 0, size: 1}\n    timeout: 1m\n- webhook: https://me:pw@example.com\n- webhook: {url: 'https://example.com/', retries: 3}\n",
            expect![[r#"
                3: to[0].webhook.url: `url` is missing -> add `url: 'https://example.com/hook'`
                5: to[1].webhook.url: the address has to begin with `https://` or `http://` -> write one like `https://example.com/hook`, or `{secret: NAME}` if the address itself is a secret
                5: to[1].webhook.timeout: a request may take between 1ms and 30s -> choose a `timeout` within, such as `10s`
                6: to[1].webhook.secret: this is no name of a secret -> put the secret into a file of the host's `secrets/` and write that file's name: letters, digits, `.`, `_`, `-`
                7: to[1].webhook.headers.host: this header cannot be set -> use letters, digits and `-`, and leave `content-…`, `host`, `webhook-…` and the like to the host
                7: to[1].webhook.headers.webhook-id: this header cannot be set -> use letters, digits and `-`, and leave `content-…`, `host`, `webhook-…` and the like to the host
                7: to[1].webhook.headers.x y: this header cannot be set -> use letters, digits and `-`, and leave `content-…`, `host`, `webhook-…` and the like to the host
                7: to[1].webhook.headers.x-a: this is no value for a header -> use visible ASCII
                7: to[1].webhook.headers.x-b.secret: `secret` is missing -> add `secret: NAME`
                7: to[1].webhook.headers.x-b.name: there is no `name` -> here it can be `secret`
                8: to[1].webhook.format: `xml` is none of the values there are -> use `ndjson` or `json`
                9: to[1].webhook.batch: a request holds 1 to 10000 rows and at most 8MiB, and waits at most 1h for them -> choose bounds within
                9: to[1].webhook.batch.size: there is no `size` -> here it can be `rows`, `bytes` or `linger`
                11: to[2].webhook: the address has a user or password in it: use a header with a secret instead -> write one like `https://example.com/hook`, or `{secret: NAME}` if the address itself is a secret
                12: to[3].webhook.retries: there is no `retries` -> here it can be `url`, `secret`, `headers`, `format`, `batch`, `timeout` or `on_refused`
            "#]],
        );
    }
}
