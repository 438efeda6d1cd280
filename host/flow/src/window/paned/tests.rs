//! Windows with panes against a model that keeps every row, under every cut, watermark and restart.

use std::collections::BTreeMap;
use std::time::Duration;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use tidemill_event::{EventTime, Field, FieldType};

use crate::window::example::{Happens, Row, Schedule, Told, any_rows, any_schedule, batch_of, run};
use crate::{
    Aggregate, AggregateCall, Early, FlowBatch, Gap, Judged, Late, Marks, Operator, Order, Outcome, PaneSettings, PanedWindow,
    PanedWindows, Said, Slicing, StepId, StepState, Ties, Top, Watermark, WindowSettings,
};

/// Which windows are tested, in µs.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Hopping { size: i64, every: i64 },
    Cumulating { size: i64, step: i64 },
    Global,
    Session { gap: i64, longest: Option<i64> },
}

/// What is tested.
#[derive(Debug, Clone, Copy)]
struct Tested {
    kind: Kind,
    keyed: bool,
    lateness: i64,
    panes: PaneSettings,
    top: Option<usize>,
}

fn us(micros: i64) -> Duration {
    Duration::from_micros(micros as u64)
}

fn windows(kind: Kind) -> PanedWindows {
    let slicing = match kind {
        Kind::Hopping { size, every } => Slicing::hopping(us(size), us(every), us(0)),
        Kind::Cumulating { size, step } => Slicing::cumulating(us(size), us(step), us(0)),
        Kind::Global => Ok(Slicing::global()),
        Kind::Session { gap, longest } => return PanedWindows::Session { gap: Gap::Fixed(us(gap)), longest: longest.map(us) },
    };
    PanedWindows::Sliced(slicing.expect("durations"))
}

fn operator(tested: Tested) -> PanedWindow {
    let call = |name: &str, aggregate, argument| AggregateCall { name: name.into(), aggregate, argument, filter: None };
    let value = Some(Field::new("v", FieldType::Int64, true));
    let top = tested.top.map(|n| Top {
        n,
        per: Vec::new(),
        order: vec![Order { column: "total".into(), is_descending: true, nulls_first: true }],
        ties: Ties::Apart,
        rank: "rank".into(),
    });
    let settings = WindowSettings {
        step: StepId(1),
        by: if tested.keyed { vec![Field::new("k", FieldType::String, true)] } else { Vec::new() },
        aggregates: vec![
            call("n", Aggregate::Count, None),
            call("total", Aggregate::Sum, value.clone()),
            call("least", Aggregate::Min, value),
        ],
        components: Vec::new(),
        lateness: us(tested.lateness),
        judged: Judged::ByLane,
        top,
    };
    PanedWindow::new(windows(tested.kind), tested.panes, settings).expect("aggregates of integers")
}

/// A key in a window.
#[derive(Debug, Clone)]
struct Cell {
    key: Option<String>,
    start: i64,
    end: i64,
    rows: Vec<Row>,
    untold: Vec<Row>,
    panes: usize,
    closed: bool,
    told: Vec<(i64, String, Option<i64>)>,
}

struct Model {
    tested: Tested,
    cells: Vec<Cell>,
    watermark: i64,
    told: Told,
}

fn total(rows: &[Row]) -> Option<i64> {
    rows.iter().any(|row| row.value.is_some()).then(|| rows.iter().filter_map(|row| row.value).sum())
}

impl Model {
    fn last(&self, cell: &Cell) -> i64 {
        if matches!(self.tested.kind, Kind::Session { .. }) { cell.end } else { cell.end - 1 }
    }

    /// When a cell does something by itself.
    fn at(&self, cell: &Cell) -> i64 {
        let last = self.last(cell);
        if cell.closed {
            return last.saturating_add(self.tested.lateness);
        }
        let Some(Early::EventTime(every)) = self.tested.panes.early.filter(|_| !cell.untold.is_empty()) else { return last };
        let every = every.as_micros() as i64;
        let base = if matches!(self.tested.kind, Kind::Session { .. } | Kind::Global) { 0 } else { cell.start };
        let from = self.watermark.max(cell.start);
        if from == i64::MIN {
            return from;
        }
        if from > 1 << 60 {
            return last;
        }
        // By trying.
        let first = (-200..2000).map(|k| base + k * every).find(|multiple| *multiple > from).expect("one of them");
        last.min(first - 1)
    }

    fn line(&self, cell: &Cell, kind: &str) -> (i64, String, Option<i64>) {
        let show = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
        let rows = if self.tested.panes.said == Said::Discarding { &cell.untold } else { &cell.rows };
        let mut columns = Vec::new();
        if self.tested.keyed {
            columns.push(cell.key.clone().unwrap_or("-".to_owned()));
        }
        let is_global = matches!(self.tested.kind, Kind::Global);
        if !is_global {
            columns.extend([cell.start.to_string(), cell.end.to_string()]);
        }
        let least = rows.iter().filter_map(|row| row.value).min();
        columns.extend([rows.len().to_string(), show(total(rows)), show(least), kind.to_owned(), cell.panes.to_string()]);
        let newest = cell.rows.iter().map(|row| row.time).max().expect("a cell has rows");
        let time = if is_global { newest } else { self.last(cell) };
        (time, columns.join(" "), total(rows))
    }

    /// Lines that are said together: of a window whose keys are ranked, the first by total, null the greatest.
    fn say(&mut self, mut lines: Vec<(i64, String, Option<i64>)>, retracted: bool, origin: &str) {
        if let Some(top) = self.tested.top {
            lines.sort_by_key(|(.., total)| (total.is_some(), std::cmp::Reverse(*total)));
            lines.truncate(top);
        }
        for (place, (time, line, _)) in lines.into_iter().enumerate() {
            let retracted = if self.tested.panes.said == Said::Retracting { format!(" {retracted}") } else { String::new() };
            let rank = if self.tested.top.is_some() { format!(" {}", place + 1) } else { String::new() };
            self.told.rows.push(format!("{origin}: {line}{retracted}{rank} @{time}"));
        }
    }

    fn speak(&mut self, ids: &[usize], kind: &str, origin: &str) {
        let taken: Vec<_> = ids.iter().flat_map(|id| std::mem::take(&mut self.cells[*id].told)).collect();
        self.say(taken, true, origin);
        let number = ids.iter().map(|id| self.cells[*id].panes).max().expect("cells");
        ids.iter().for_each(|id| self.cells[*id].panes = number);
        let lines: Vec<_> = ids.iter().map(|id| self.line(&self.cells[*id], kind)).collect();
        self.say(lines.clone(), false, origin);
        for (id, line) in ids.iter().zip(lines) {
            let cell = &mut self.cells[*id];
            cell.panes += 1;
            cell.untold.clear();
            if self.tested.panes.said == Said::Retracting {
                cell.told = vec![line];
            }
        }
    }

    /// Those that speak with it.
    fn unit(&self, id: usize) -> Vec<usize> {
        if self.tested.top.is_none() {
            return vec![id];
        }
        let mut ids: Vec<usize> = (0..self.cells.len()).filter(|other| self.cells[*other].end == self.cells[id].end).collect();
        ids.sort_by_key(|id| self.cells[*id].key.clone());
        ids
    }

    fn pass(&mut self, watermark: i64, origin: &str) {
        // What waits for a multiple of a length has waited for it since before.
        let watermark = self.watermark.max(watermark);
        let mut awaited: Vec<(Option<String>, i64)> = Vec::new();
        loop {
            let at = |cell: &Cell| {
                let is_awaited = awaited.contains(&(cell.key.clone(), cell.end)) && !cell.closed;
                if is_awaited { self.last(cell) } else { self.at(cell) }
            };
            let Some(next) = self.cells.iter().map(at).min().filter(|next| *next < watermark) else {
                self.watermark = watermark;
                return;
            };
            let mut ids: Vec<usize> = (0..self.cells.len()).filter(|id| at(&self.cells[*id]) == next).collect();
            ids.sort_by_key(|id| (self.cells[*id].end, self.cells[*id].key.clone()));
            let id = ids[0];
            let (unit, cell) = (self.unit(id), self.cells[id].clone());
            if cell.closed {
                if unit.iter().any(|id| !self.cells[*id].untold.is_empty()) {
                    self.speak(&unit, "late", origin);
                }
                let mut at = 0;
                self.cells.retain(|_| {
                    at += 1;
                    !unit.contains(&(at - 1))
                });
            } else if next >= self.last(&cell) {
                self.speak(&unit, "on_time", origin);
                unit.iter().for_each(|id| self.cells[*id].closed = true);
            } else if watermark > self.last(&cell) {
                awaited.extend(unit.iter().map(|id| (self.cells[*id].key.clone(), self.cells[*id].end)));
            } else {
                self.speak(&unit, "early", origin);
            }
        }
    }

    fn row(&mut self, number: usize, row: &Row, watermark: i64) {
        let key = if self.tested.keyed { row.key_text() } else { None };
        let forgotten = watermark.saturating_sub(self.tested.lateness);
        let within = |(start, end): &(i64, i64)| (*start..*end).contains(&row.time);
        let of: Vec<(i64, i64)> = match self.tested.kind {
            Kind::Session { gap, longest } => {
                if row.time + gap < forgotten {
                    self.told.late.push(number);
                    self.told.dropped_late += 1;
                    return;
                }
                let id = self.session(key, row, gap, longest);
                return self.speak_by_rows(vec![id], number);
            }
            Kind::Hopping { size, every } => (-400..400).map(|k| (k * every, k * every + size)).filter(within).collect(),
            Kind::Cumulating { size, step } => {
                let start = row.time.div_euclid(size) * size;
                (1..=size / step).map(|k| (start, start + k * step)).filter(within).collect()
            }
            Kind::Global => vec![(i64::MIN, i64::MAX)],
        };
        let (gone, open): (Vec<_>, Vec<_>) = of.into_iter().partition(|(_, end)| *end <= forgotten);
        self.told.dropped_late += gone.len() as u64;
        if open.is_empty() {
            if !gone.is_empty() {
                self.told.late.push(number);
            }
            return;
        }
        self.told.late_partial += u64::from(!gone.is_empty());
        let mut ids = Vec::new();
        for (start, end) in open {
            let known = self.cells.iter().position(|cell| cell.key == key && cell.end == end);
            let id = known.unwrap_or_else(|| {
                let closed = watermark >= end;
                let cell = Cell { key: key.clone(), start, end, rows: vec![], untold: vec![], panes: 0, closed, told: vec![] };
                self.cells.push(cell);
                self.cells.len() - 1
            });
            self.cells[id].rows.push(row.clone());
            self.cells[id].untold.push(row.clone());
            ids.push(id);
        }
        self.speak_by_rows(ids, number);
    }

    /// The session of a row, all that it touches in it.
    fn session(&mut self, key: Option<String>, row: &Row, gap: i64, longest: Option<i64>) -> usize {
        let mut of_key: Vec<Cell> = Vec::new();
        let mut others: Vec<Cell> = Vec::new();
        for cell in std::mem::take(&mut self.cells) {
            if cell.key == key { of_key.push(cell) } else { others.push(cell) }
        }
        of_key.sort_by_key(|cell| cell.end);
        let mut new = Cell {
            key,
            start: 0,
            end: 0,
            rows: vec![row.clone()],
            untold: vec![row.clone()],
            panes: 0,
            closed: true,
            told: vec![],
        };
        for cell in of_key {
            let times = || new.rows.iter().chain(&cell.rows).map(|row| row.time);
            let length = times().max().expect("rows") - times().min().expect("rows");
            let touches = row.time <= cell.end && row.time + gap >= cell.start;
            if touches && longest.is_none_or(|longest| length <= longest) {
                new.rows.extend(cell.rows);
                new.untold.extend(cell.untold);
                new.panes = new.panes.max(cell.panes);
                new.closed &= cell.closed;
                new.told.extend(cell.told);
            } else {
                others.push(cell);
            }
        }
        let times = || new.rows.iter().map(|row| row.time);
        let (start, newest) = (times().min().expect("rows"), times().max().expect("rows"));
        new.start = start;
        new.end = longest.map_or(newest + gap, |longest| (newest + gap).min(start + longest));
        new.closed &= self.watermark > new.end;
        self.cells = others;
        self.cells.push(new);
        self.cells.len() - 1
    }

    fn speak_by_rows(&mut self, ids: Vec<usize>, number: usize) {
        for id in ids {
            let cell = &self.cells[id];
            let (wanted, kind) = match (cell.closed, self.tested.panes.early, self.tested.panes.late) {
                (false, Some(Early::Rows(rows)), _) => (rows, "early"),
                (true, _, Late::Rows(rows)) => (rows, "late"),
                _ => continue,
            };
            let unit = self.unit(id);
            if unit.iter().map(|id| self.cells[*id].untold.len() as u64).sum::<u64>() >= wanted {
                self.speak(&unit, kind, &number.to_string());
            }
        }
    }
}

fn model(tested: Tested, rows: &[Row], schedule: &Schedule) -> Told {
    let mut model = Model { tested, cells: Vec::new(), watermark: i64::MIN, told: Told::default() };
    schedule.play(rows, |happens| match happens {
        Happens::Row(number, row, watermark) => model.row(number, row, watermark),
        Happens::Watermark(watermark, origin) => {
            model.pass(watermark, &origin.map_or("-".to_owned(), |origin| origin.to_string()));
        }
    });
    model.told
}

fn any_panes() -> impl Strategy<Value = PaneSettings> {
    let early = prop_oneof![
        2 => (1u64..4).prop_map(Early::Rows),
        2 => (1i64..9).prop_map(|every| Early::EventTime(us(every))),
    ];
    let said = prop_oneof![Just(Said::Accumulating), Just(Said::Discarding), Just(Said::Retracting)];
    (proptest::option::weighted(0.8, early), (1u64..4).prop_map(Late::Rows), said).prop_map(|(early, late, said)| PaneSettings {
        early,
        late,
        said,
        shows: true,
    })
}

fn any_tested() -> impl Strategy<Value = Tested> {
    let kind = prop_oneof![
        3 => (1i64..15).prop_map(|size| Kind::Hopping { size, every: size }),
        3 => (1i64..20, 1i64..9).prop_map(|(size, every)| Kind::Hopping { size, every }),
        1 => (1i64..5, 1i64..6).prop_map(|(steps, step)| Kind::Cumulating { size: steps * step, step }),
        1 => Just(Kind::Global),
        3 => (0i64..8, proptest::option::weighted(0.4, 0i64..20)).prop_map(|(gap, longest)| Kind::Session { gap, longest }),
    ];
    let top = proptest::option::weighted(0.2, 1usize..3);
    (kind, any::<bool>(), prop_oneof![1 => Just(0i64), 2 => 1i64..15], any_panes(), top).prop_map(
        |(kind, keyed, lateness, panes, top)| {
            let top = top.filter(|_| !matches!(kind, Kind::Session { .. }) && panes.said != Said::Discarding);
            Tested { kind, keyed, lateness, panes, top }
        },
    )
}

proptest! {
    #[test]
    fn panes_are_those_of_the_model(tested in any_tested(), rows in any_rows(40), schedule in any_schedule()) {
        let told = run(|| operator(tested), &rows, &schedule);
        prop_assert_eq!(told, model(tested, &rows, &schedule));
    }
}

/// Rows `a@3=7`, out-of-orderness 0, in one batch.
fn check(tested: Tested, rows: &str, expected: Expect) {
    let row = |row: &str| {
        let (key, rest) = row.split_once('@').expect("k@t");
        let (time, value) = rest.split_once('=').unwrap_or((rest, "1"));
        let (time, value) = (time.parse().expect("a time"), value.parse().expect("a value"));
        Row { key: Some(key.as_bytes()[0] - b'a'), time, value: Some(value) }
    };
    let rows: Vec<Row> = rows.split_whitespace().map(row).collect();
    let schedule = Schedule { cuts: vec![(100, false, false)], clock: BTreeMap::new(), out_of_orderness: 0, ends: false };
    let told = run(|| operator(tested), &rows, &schedule);
    expected.assert_eq(&format!("{}\nlate {:?}", told.rows.join("\n"), told.late));
}

/// What was told is forgotten with its window: cells, what they said, keys.
#[test]
fn nothing_stays_of_windows_that_are_over() {
    let rows: Vec<Row> =
        (0..60).map(|n| Row { key: Some(n as u8 % 3), time: i64::from(n % 50), value: Some(n.into()) }).collect();
    for kind in [Kind::Hopping { size: 20, every: 5 }, Kind::Session { gap: 4, longest: Some(9) }] {
        let mut step = operator(tested(kind, 7, panes(Some(Early::Rows(2)), Late::Rows(3), Said::Retracting)));
        let marks = Marks::new(Watermark(0), (0..60_i64).map(|n| n / 2).collect(), None, Watermark(30));
        let mut output = Outcome::new(EventTime(0)).with_marks(marks);
        let made = step.apply(FlowBatch::new(batch_of(&rows, false)), &mut output);
        assert!(made.len() > 40 && step.cells.index.len() == 3 && step.due().is_some());
        let mut output = Outcome::new(EventTime(0)).with_marks(Marks::passing(Watermark(30), Watermark(200)));
        step.apply(FlowBatch::new(batch_of(&[], false)), &mut output);
        let kept = (step.cells.len(), step.cells.index.len(), step.due(), step.due_at());
        assert_eq!(kept, (0, 0, None, None), "{kind:?}");
    }
}

const TUMBLING: Kind = Kind::Hopping { size: 10, every: 10 };

fn panes(early: Option<Early>, late: Late, said: Said) -> PaneSettings {
    PaneSettings { early, late, said, shows: true }
}

fn tested(kind: Kind, lateness: i64, panes: PaneSettings) -> Tested {
    Tested { kind, keyed: true, lateness, panes, top: None }
}

/// Early panes go on counting, the one on time comes once also when nothing is new, late ones follow until the window is forgotten.
#[test]
fn a_window_speaks_early_on_time_and_late() {
    check(
        tested(TUMBLING, 5, panes(Some(Early::Rows(2)), Late::Rows(1), Said::Accumulating)),
        "a@1 a@2=5 b@3 a@10 a@4=7 a@16 a@4",
        expect![[r#"
            1: a 0 10 2 6 1 early 0 @9
            3: a 0 10 2 6 1 on_time 1 @9
            3: b 0 10 1 1 1 on_time 0 @9
            4: a 0 10 3 13 1 late 2 @9
            5: a 10 20 2 2 1 early 0 @19
            late [6]"#]],
    );
}

#[test]
fn what_is_discarded_is_told_once() {
    check(
        tested(TUMBLING, 5, panes(Some(Early::Rows(1)), Late::Rows(2), Said::Discarding)),
        "a@1=3 a@2=4 a@10 a@5=1 a@5=2 a@6=9 a@20",
        expect![[r#"
            0: a 0 10 1 3 3 early 0 @9
            1: a 0 10 1 4 4 early 1 @9
            2: a 10 20 1 1 1 early 0 @19
            2: a 0 10 0 - - on_time 2 @9
            4: a 0 10 2 3 1 late 3 @9
            6: a 20 30 1 1 1 early 0 @29
            6: a 0 10 1 9 9 late 4 @9
            6: a 10 20 0 - - on_time 1 @19
            late []"#]],
    );
}

#[test]
fn what_is_taken_back_is_what_was_said() {
    check(
        tested(TUMBLING, 5, panes(Some(Early::Rows(2)), Late::Rows(1), Said::Retracting)),
        "a@1=3 a@2=4 a@3=5 a@10 a@4=1",
        expect![[r#"
            1: a 0 10 2 7 3 early 0 false @9
            3: a 0 10 2 7 3 early 0 true @9
            3: a 0 10 3 12 3 on_time 1 false @9
            4: a 0 10 3 12 3 on_time 1 true @9
            4: a 0 10 4 13 1 late 2 false @9
            late []"#]],
    );
}

/// A watermark that ends the window says nothing of the way there.
#[test]
fn event_time_speaks_at_its_multiples() {
    check(
        tested(
            Kind::Hopping { size: 60, every: 60 },
            0,
            panes(Some(Early::EventTime(us(10))), Late::Rows(1), Said::Accumulating),
        ),
        "a@1 a@9 b@12 a@13 a@35 b@36 a@61 b@200",
        expect![[r#"
            2: a 0 60 2 2 1 early 0 @59
            2: b 0 60 1 1 1 early 0 @59
            4: a 0 60 4 4 1 early 1 @59
            6: a 0 60 4 4 1 on_time 2 @59
            6: b 0 60 2 2 1 on_time 1 @59
            7: a 60 120 1 1 1 on_time 0 @119
            7: b 180 240 1 1 1 early 0 @239
            late []"#]],
    );
}

/// A row may bring two sessions together that were told; both are taken back, and the one is told. It ends again where it reaches further.
#[test]
fn a_late_row_brings_two_sessions_together() {
    let session = |said| tested(Kind::Session { gap: 5, longest: None }, 20, panes(None, Late::Rows(1), said));
    check(
        session(Said::Retracting),
        "a@0=1 a@10=2 a@16 a@5=4 b@40",
        expect![[r#"
        1: a 0 5 1 1 1 on_time 0 false @5
        2: a 10 15 1 2 2 on_time 0 false @15
        3: a 0 5 1 1 1 on_time 0 true @5
        3: a 10 15 1 2 2 on_time 0 true @15
        3: a 0 15 3 7 1 late 1 false @15
        4: a 16 21 1 1 1 on_time 0 false @21
        late []"#]],
    );
    check(
        session(Said::Accumulating),
        "a@0=1 a@10=2 b@16 a@5=4 b@40",
        expect![[r#"
        1: a 0 5 1 1 1 on_time 0 @5
        2: a 10 15 1 2 2 on_time 0 @15
        3: a 0 15 3 7 1 late 1 @15
        4: b 16 21 1 1 1 on_time 0 @21
        late []"#]],
    );
    check(
        session(Said::Discarding),
        "a@0=1 a@10=2 b@16 a@5=4 b@40",
        expect![[r#"
        1: a 0 5 1 1 1 on_time 0 @5
        2: a 10 15 1 2 2 on_time 0 @15
        3: a 0 15 1 4 4 late 1 @15
        4: b 16 21 1 1 1 on_time 0 @21
        late []"#]],
    );
}

#[test]
fn a_session_is_no_longer_than_it_may_be() {
    let session = Kind::Session { gap: 5, longest: Some(10) };
    let plain = PaneSettings::default();
    check(
        tested(session, 0, plain),
        "a@0 a@4 a@8 a@10 a@11 a@13 a@40",
        expect![[r#"
        4: a 0 10 4 4 1 @10
        6: a 11 18 2 2 1 @18
        late []"#]],
    );
}

#[test]
fn all_keys_of_a_window_are_ranked_anew() {
    let settings = panes(Some(Early::Rows(1)), Late::Rows(1), Said::Retracting);
    let ranked = Tested { top: Some(1), ..tested(TUMBLING, 0, settings) };
    check(
        ranked,
        "a@1=3 b@2=4 b@3=1 a@4=5 b@10",
        expect![[r#"
        0: a 0 10 1 3 3 early 0 false 1 @9
        1: a 0 10 1 3 3 early 0 true 1 @9
        1: b 0 10 1 4 4 early 1 false 1 @9
        2: b 0 10 1 4 4 early 1 true 1 @9
        2: b 0 10 2 5 1 early 2 false 1 @9
        3: b 0 10 2 5 1 early 2 true 1 @9
        3: a 0 10 2 8 3 early 3 false 1 @9
        4: b 10 20 1 1 1 early 0 false 1 @19
        4: a 0 10 2 8 3 early 3 true 1 @9
        4: a 0 10 2 8 3 on_time 4 false 1 @9
        late []"#]],
    );
}
