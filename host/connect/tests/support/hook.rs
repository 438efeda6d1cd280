//! A receiver of webhooks as a target.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill_connect::{BodyFormat, Given, Secrets, Sink, WebhookSettings, WebhookSink, WebhookTarget, WebhookUrl};
use tidemill_event::{Clock, EventTime};

use super::disk::Fault;
use super::receiver::{Receiver, Reply};
use super::{Marks, Target};

/// A clock that is set by hand.
#[derive(Clone)]
pub(crate) struct SetClock(pub(crate) Arc<Mutex<EventTime>>);

impl SetClock {
    pub(crate) fn pass(&self, time: Duration) {
        self.0.lock().expect("unpoisoned").0 += time.as_micros() as i64;
    }
}

impl Clock for SetClock {
    fn now(&self) -> EventTime {
        *self.0.lock().expect("unpoisoned")
    }
}

pub(crate) struct Hook {
    pub(crate) receiver: Receiver,
    pub(crate) secrets: tempfile::TempDir,
    pub(crate) clock: SetClock,
    marks: Mutex<HashMap<u32, Marks>>,
}

impl Hook {
    pub(crate) fn new() -> Self {
        let clock = SetClock(Arc::new(Mutex::new(EventTime(1_700_000_000_000_000))));
        let secrets = tempfile::tempdir().expect("a folder");
        Self { receiver: Receiver::start(), secrets, clock, marks: Mutex::default() }
    }

    /// Settings without anything that can be left out.
    pub(crate) fn settings(&self) -> WebhookSettings {
        WebhookSettings {
            url: Given::Plain(WebhookUrl::parse(&self.receiver.url()).expect("a URL")),
            secret: None,
            headers: Vec::new(),
            format: BodyFormat::Ndjson,
            timeout: Duration::from_secs(10),
        }
    }

    pub(crate) fn secrets(&self) -> Secrets {
        Secrets::new(self.secrets.path().to_owned())
    }

    pub(crate) fn target(&self, settings: WebhookSettings) -> Arc<WebhookTarget> {
        Arc::new(WebhookTarget::new(settings, self.secrets(), Arc::new(self.clock.clone()), true))
    }
}

impl Target for Hook {
    fn open(&self, _partition: u32) -> Box<dyn Sink> {
        Box::new(WebhookSink::new(self.target(self.settings())))
    }

    fn marks(&self, partition: u32) -> Marks {
        self.marks.lock().expect("unpoisoned").entry(partition).or_default().clone()
    }

    fn fail(&self, calls: u64, fault: Fault) {
        let failure = match fault {
            Fault::Before => Reply::Refuse(503, None),
            Fault::After => Reply::TakeAndHangUp,
        };
        // More than a test makes: none fails.
        let before = calls.min(100) as usize;
        self.receiver.script(std::iter::repeat_n(Reply::Take, before).chain([failure]));
    }

    fn seen(&self, _partition: u32) -> Vec<i64> {
        super::terminal::numbers(&self.receiver.lines().join("\n"))
    }
}
