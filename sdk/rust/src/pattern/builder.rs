//! A pattern, put together stage by stage. What may stand where is for the host to judge, as it does for a pattern in YAML: one judge, the
//! same words.
//!
//! ```text
//! Pattern::<Self>::begin("small", |payment, _| payment.amount < 10.0).times(2).or_more().greedy()
//!     .followed_by("large", |payment, _| payment.amount > 500.0)
//!     .so_far(|payment, so_far, _| payment.amount > 100.0 * so_far.average)
//!     .within(Duration::from_secs(600))
//! ```
//! What stands behind a stage is about that stage, up to the next one; `within`, `skip_…` and the like are about the whole.

use std::time::Duration;

use super::predicate::Predicate;
use super::{Detector, FitsRun, RowOf};

/// A pattern under way.
pub struct Pattern<D: Detector> {
    pub(super) elements: Vec<Element<D>>,
    pub(super) within: Option<Duration>,
    pub(super) within_last: Option<Duration>,
    /// JSON.
    pub(super) skip: Option<String>,
    pub(super) timeouts: bool,
    pub(super) select: Vec<(String, String)>,
}

/// A stage, or several used as one.
pub(super) struct Element<D: Detector> {
    /// How it follows.
    pub(super) word: &'static str,
    pub(super) body: Body<D>,
    pub(super) times: Option<(u32, Option<u32>)>,
    /// `optional`, `greedy`, `reluctant`.
    pub(super) flags: Vec<&'static str>,
    pub(super) inner: Option<&'static str>,
    pub(super) gap: Option<Duration>,
}

pub(super) enum Body<D: Detector> {
    Stage { name: &'static str, fits: Predicate<D>, so_far: Option<FitsRun<D>>, until: Option<Predicate<D>> },
    Part(Part<D>),
}

/// Stages used as one.
pub enum Part<D: Detector> {
    /// In a row.
    Group(Pattern<D>),
    /// One of several rows.
    OneOf(Vec<Pattern<D>>),
    /// All of them, whichever comes first.
    AnyOrder(Vec<Pattern<D>>),
}

impl<D: Detector> Pattern<D> {
    fn of(body: Body<D>) -> Self {
        let none =
            Self { elements: Vec::new(), within: None, within_last: None, skip: None, timeouts: false, select: Vec::new() };
        none.with("begin", body)
    }

    fn with(mut self, word: &'static str, body: Body<D>) -> Self {
        self.elements.push(Element { word, body, times: None, flags: Vec::new(), inner: None, gap: None });
        self
    }

    fn stage<F>(name: &'static str, fits: F) -> Body<D>
    where
        F: Fn(&RowOf<'_, D::Event>, &D::Config) -> bool + 'static,
    {
        Body::Stage { name, fits: Predicate::new(fits), so_far: None, until: None }
    }

    /// The element that was named last.
    fn last(&mut self) -> &mut Element<D> {
        self.elements.last_mut().expect("a pattern begins with an element")
    }

    fn flagged(mut self, flag: &'static str) -> Self {
        self.last().flags.push(flag);
        self
    }

    fn between(mut self, inner: &'static str) -> Self {
        self.last().inner = Some(inner);
        self
    }

    /// The first stage. Whether a row fits is asked for whole batches, and must hang on the row and the configuration alone.
    pub fn begin<F>(name: &'static str, fits: F) -> Self
    where
        F: Fn(&RowOf<'_, D::Event>, &D::Config) -> bool + 'static,
    {
        Self::of(Self::stage(name, fits))
    }

    /// Several stages that come first.
    pub fn begin_with(part: Part<D>) -> Self {
        Self::of(Body::Part(part))
    }

    /// The very next row of the key must fit.
    pub fn next<F>(self, name: &'static str, fits: F) -> Self
    where
        F: Fn(&RowOf<'_, D::Event>, &D::Config) -> bool + 'static,
    {
        self.with("next", Self::stage(name, fits))
    }

    /// As [`Pattern::next`], of several stages.
    pub fn next_part(self, part: Part<D>) -> Self {
        self.with("next", Body::Part(part))
    }

    /// Rows that do not fit are passed over; the first that does is taken.
    pub fn followed_by<F>(self, name: &'static str, fits: F) -> Self
    where
        F: Fn(&RowOf<'_, D::Event>, &D::Config) -> bool + 'static,
    {
        self.with("followed_by", Self::stage(name, fits))
    }

    /// As [`Pattern::followed_by`], of several stages.
    pub fn followed_by_part(self, part: Part<D>) -> Self {
        self.with("followed_by", Body::Part(part))
    }

    /// Rows that fit may be passed over too.
    pub fn followed_by_any<F>(self, name: &'static str, fits: F) -> Self
    where
        F: Fn(&RowOf<'_, D::Event>, &D::Config) -> bool + 'static,
    {
        self.with("followed_by_any", Self::stage(name, fits))
    }

    /// As [`Pattern::followed_by_any`], of several stages.
    pub fn followed_by_any_part(self, part: Part<D>) -> Self {
        self.with("followed_by_any", Body::Part(part))
    }

    /// The very next row must not fit.
    pub fn not_next<F>(self, name: &'static str, fits: F) -> Self
    where
        F: Fn(&RowOf<'_, D::Event>, &D::Config) -> bool + 'static,
    {
        self.with("not_next", Self::stage(name, fits))
    }

    /// No row fits until the next stage; at the end of a pattern, until `within` is over.
    pub fn not_followed_by<F>(self, name: &'static str, fits: F) -> Self
    where
        F: Fn(&RowOf<'_, D::Event>, &D::Config) -> bool + 'static,
    {
        self.with("not_followed_by", Self::stage(name, fits))
    }

    /// The stage's rows fit what their run has taken so far, too. Asked only about rows that fit the stage.
    ///
    /// # Panics
    /// Behind a [`Part`]: its stages have conditions, not it.
    pub fn so_far(mut self, fits: FitsRun<D>) -> Self {
        let Body::Stage { so_far, .. } = &mut self.last().body else { panic!("`so_far` is about a stage, not about several") };
        *so_far = Some(fits);
        self
    }

    /// So often.
    pub fn times(mut self, times: u32) -> Self {
        self.last().times = Some((times, Some(times)));
        self
    }

    /// From so often to so often.
    pub fn between_times(mut self, least: u32, most: u32) -> Self {
        self.last().times = Some((least, Some(most)));
        self
    }

    /// Or more often than [`Pattern::times`] says; without it, at least once.
    pub fn or_more(mut self) -> Self {
        let last = self.last();
        last.times = Some((last.times.map_or(1, |(least, _)| least), None));
        self
    }

    /// Or not at all.
    pub fn optional(self) -> Self {
        self.flagged("optional")
    }

    /// As often as possible: while a row fits, leaving the loop with it is no alternative.
    pub fn greedy(self) -> Self {
        self.flagged("greedy")
    }

    /// As seldom as possible.
    pub fn reluctant(self) -> Self {
        self.flagged("reluctant")
    }

    /// The rows of a loop stand directly behind each other.
    pub fn consecutive(self) -> Self {
        self.between("consecutive")
    }

    /// Rows that fit a loop may be passed over too.
    pub fn combinations(self) -> Self {
        self.between("combinations")
    }

    /// Between two rows of a loop less than that passes.
    pub fn gap(mut self, gap: Duration) -> Self {
        self.last().gap = Some(gap);
        self
    }

    /// A row that ends the loop, and is not taken by it.
    ///
    /// # Panics
    /// Behind a [`Part`].
    pub fn until<F>(mut self, ends: F) -> Self
    where
        F: Fn(&RowOf<'_, D::Event>, &D::Config) -> bool + 'static,
    {
        let Body::Stage { until, .. } = &mut self.last().body else { panic!("`until` ends the loop of a stage") };
        *until = Some(Predicate::new(ends));
        self
    }

    /// From the first row to the last less than that passes.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = Some(within);
        self
    }

    /// From the row before the last stage to that one less than that passes.
    pub fn within_last(mut self, within: Duration) -> Self {
        self.within_last = Some(within);
        self
    }

    /// After a match, runs that began with its first row or before it end.
    pub fn skip_to_next(self) -> Self {
        self.skipping("\"next\"".to_owned())
    }

    /// After a match, runs that began before its end do: the next one begins behind it.
    pub fn skip_past_last(self) -> Self {
        self.skipping("\"past_last\"".to_owned())
    }

    /// After a match, runs that began before its first row in that stage end.
    pub fn skip_to_first(self, stage: &str) -> Self {
        self.skipping(format!("{{\"first\":{}}}", crate::json::quote(stage)))
    }

    /// After a match, runs that began before its last row in that stage end.
    pub fn skip_to_last(self, stage: &str) -> Self {
        self.skipping(format!("{{\"last\":{}}}", crate::json::quote(stage)))
    }

    fn skipping(mut self, skip: String) -> Self {
        self.skip = Some(skip);
        self
    }

    /// Runs whose time is over come out too, with `timed_out`.
    pub fn with_timeouts(mut self) -> Self {
        self.timeouts = true;
        self
    }

    /// A column of a match, of a detector without `shape`: SQL over its rows, `count(failed)`.
    pub fn select(mut self, column: &str, expression: &str) -> Self {
        self.select.push((column.to_owned(), expression.to_owned()));
        self
    }
}
