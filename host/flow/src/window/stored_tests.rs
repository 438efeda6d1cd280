//! `docs/formats/keyed-state.md`: what windows, joins and `over` stored once must read back in every later release.

use std::time::Duration;

use expect_test::expect;
use tidemill_event::{EventTime, Field, FieldType};

use crate::window::example::{Row, batch_of};
use crate::{
    Aggregate, AggregateCall, CountWindow, FlowBatch, Gap, IntervalJoin, JoinKind, JoinSettings, JoinSide, Judged, Marks,
    Operator, Outcome, Over, OverSettings, SessionWindow, SlicedWindow, Slicing, StepId, Watermark, WindowJoin,
    WindowJoinSettings, WindowSettings,
};

const ALL: [Aggregate; 15] = [
    Aggregate::Count,
    Aggregate::CountDistinct,
    Aggregate::Sum,
    Aggregate::Average,
    Aggregate::Min,
    Aggregate::Max,
    Aggregate::First,
    Aggregate::Last,
    Aggregate::StddevPop,
    Aggregate::StddevSamp,
    Aggregate::VarPop,
    Aggregate::VarSamp,
    Aggregate::Rate,
    Aggregate::ApproximateDistinct,
    Aggregate::ApproximateQuantile(500_000),
];

fn settings(aggregates: &[Aggregate]) -> WindowSettings {
    let value = Field::new("v", FieldType::Int64, true);
    let call = |aggregate: &Aggregate| AggregateCall {
        name: aggregate.to_string().into(),
        aggregate: *aggregate,
        argument: Some(value.clone()),
        filter: None,
    };
    WindowSettings {
        step: StepId(0),
        by: vec![Field::new("k", FieldType::String, true)],
        aggregates: aggregates.iter().map(call).collect(),
        components: Vec::new(),
        lateness: Duration::ZERO,
        judged: Judged::ByLane,
        top: None,
    }
}

/// The entries of a step that took `a@3=7 a@5=1`, key and value, in the order of keys.
fn entries(mut operator: impl Operator) -> String {
    let row = |time, value| Row { key: Some(0), time, value: Some(value) };
    let marks = Marks::new(Watermark::NONE, vec![i64::MIN, 3], None, Watermark(4));
    let mut output = Outcome::new(EventTime(0)).with_marks(marks);
    operator.apply(FlowBatch::new(batch_of(&[row(3, 7), row(5, 1)], false)), &mut output);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let changes = operator.state().expect("it has state").take_changes();
    let mut lines: Vec<String> =
        changes.iter().map(|change| format!("{} {}", hex(&change.key), hex(change.value.as_ref().expect("a value")))).collect();
    lines.sort();
    lines.join("\n")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn accumulators() {
    let one = |aggregate: &Aggregate| {
        let window = SlicedWindow::new(Slicing::tumbling(seconds(1), seconds(0)).expect("a second"), settings(&[*aggregate]));
        let entries = entries(window.expect("an aggregate of integers"));
        let value = entries.lines().next().and_then(|line| line.split_once(' ')).expect("an entry").1;
        format!("{aggregate} {value}\n")
    };
    expect![[r#"
        count 0200000000000000
        count_distinct 020000000900000001800000000000000109000000018000000000000007
        sum 080000000000000000000000000000000200000000000000
        avg 080000000000000000000000000000000200000000000000
        min 010100000000000000
        max 010700000000000000
        first 010300000000000000010700000000000000
        last 010500000000000000010100000000000000
        stddev_pop 020000000000000000000000000000204000000000000000000000000000000049400000000000000000
        stddev_samp 020000000000000000000000000000204000000000000000000000000000000049400000000000000000
        var_pop 020000000000000000000000000000204000000000000000000000000000000049400000000000000000
        var_samp 020000000000000000000000000000204000000000000000000000000000000049400000000000000000
        rate 020000000300000000000000070000000000000005000000000000000100000000000000
        approx_distinct 000200000082286331412e5f77
        approx_quantile 00000000000000000200000000000000010000000000000062000000010000000000000000000000
    "#]]
    .assert_eq(&ALL.iter().map(one).collect::<String>());
}

#[test]
fn windows() {
    let settings = || settings(&[Aggregate::Count]);
    let tumbling = Slicing::tumbling(seconds(1), seconds(0)).expect("a second");
    expect![[r#"
        00800000000000000080000000000f424001610000 0200000000000000
        ff 04000000000000000500000000000000"#]]
    .assert_eq(&entries(SlicedWindow::new(tumbling, settings()).expect("a count")));
    expect!["0180000000000f0000016100008000000000000003 45420f00000000000200000000000000"]
        .assert_eq(&entries(SessionWindow::new(Gap::Fixed(seconds(1)), settings()).expect("a count")));
    expect!["0201610000 00000000000000000200000005000000000000000200000000000000"]
        .assert_eq(&entries(CountWindow::new(5, settings()).expect("a count")));
}

#[test]
fn rows() {
    let fields = vec![Field::new("k", FieldType::String, true), Field::new("v", FieldType::Int64, true)];
    let WindowSettings { step, by, aggregates, judged, .. } = settings(&[Aggregate::Sum]);
    let over = OverSettings { step, by, rows: 3, aggregates, components: Vec::new(), fields: fields.clone(), judged };
    expect![[r#"
        0480000000000000050000000000000001 01610000018000000000000001
        0501610000 01000000030000000000000009000000018000000000000007
        ff 0200000000000000"#]]
    .assert_eq(&entries(Over::new(over).expect("a sum")));
    let side = |alias: &str| JoinSide { alias: alias.into(), fields: fields.clone(), key: vec![fields[0].clone()] };
    let join = IntervalJoin::new(JoinSettings {
        step: StepId(0),
        kind: JoinKind::Inner,
        left: side("a"),
        right: side("b"),
        low_micros: Some(0),
        high_micros: Some(9),
        condition: None,
        judged: Judged::ByLane,
    });
    expect![[r#"
        030080000000000000030161000080000000000000030000000000000000 0001610000018000000000000007
        030080000000000000050161000080000000000000050000000000000001 0001610000018000000000000001
        ff 02000000000000000000000000000000"#]]
    .assert_eq(&entries(join));
    let join = WindowJoin::new(WindowJoinSettings {
        step: StepId(0),
        kind: JoinKind::Inner,
        slicing: Slicing::tumbling(seconds(1), seconds(0)).expect("a second"),
        left: side("a"),
        right: side("b"),
        condition: None,
        judged: Judged::ByLane,
    });
    expect![[r#"
        0600800000000000000080000000000000030000000000000000 40420f000000000001610000018000000000000007
        0600800000000000000080000000000000050000000000000001 40420f000000000001610000018000000000000001
        ff 040000000000000002000000000000000000000000000000"#]]
    .assert_eq(&entries(join));
}
