//! A list of patterns against each of them in a step of its own: under every cut of batches, disorder, clock and restart.

use proptest::prelude::*;
use tidemill_event::{Field, FieldType};

use crate::pattern::list::{ListedPattern, PatternList, PatternListSettings, SharedConditions};
use crate::pattern::step_tests::{BITS, Case, any_case, settings};
use crate::pattern::{PatternStep, StageCondition};
use crate::rule_set::{Constant, SharedPredicate, TestKind};
use crate::window::example::{Told, any_rows, any_schedule, run};
use crate::{Judged, StepId};

/// The first two as predicates, the third found by its values.
fn conditions() -> SharedConditions {
    let predicate = |at: usize| SharedPredicate { columns: vec!["v".into()], predicate: Box::new(BITS[at]) };
    let values = (3..=9).map(Constant::Int).collect();
    SharedConditions {
        conditions: vec![
            vec![TestKind::Predicate(0)],
            vec![TestKind::Predicate(1)],
            vec![TestKind::Is { column: "v".into(), any_of: values }],
        ],
        predicates: vec![predicate(0), predicate(1)],
    }
}

fn list(cases: &[Case]) -> PatternList {
    let fields = vec![Field::new("k", FieldType::String, true), Field::new("v", FieldType::Int64, true)];
    let listed = |(at, case): (usize, &Case)| {
        let mut settings = settings(case, false);
        for (number, condition) in (0..).zip(&mut settings.conditions).take(BITS.len()) {
            *condition = StageCondition::Shared(number);
        }
        ListedPattern { name: format!("p{at}").into(), shape: String::new(), settings, after: None }
    };
    let patterns: Vec<ListedPattern> = cases.iter().enumerate().map(listed).collect();
    let columns = PatternStep::new(settings(&cases[0], false)).expect("a sound pattern").fields();
    PatternList::new(PatternListSettings {
        step: StepId(1),
        fields,
        order: cases[0].order,
        judged: Judged::ByLane,
        conditions: conditions(),
        patterns,
        columns,
    })
    .expect("sound patterns")
}

proptest! {
    #[test]
    fn each_pattern_finds_what_it_finds_alone(
        mut cases in proptest::collection::vec(any_case(), 1..4),
        rows in any_rows(24),
        schedule in any_schedule(),
    ) {
        let Case { order, keyed, timeouts, .. } = cases[0];
        cases.iter_mut().for_each(|case| (case.order, case.keyed, case.timeouts) = (order, keyed, timeouts));
        let together = run(|| list(&cases), &rows, &schedule);
        let mut dead = Vec::new();
        for (at, case) in cases.iter().enumerate() {
            let alone: Told = run(|| PatternStep::new(settings(case, false)).expect("a sound pattern"), &rows, &schedule);
            // `origin: name cells @time`
            let name = format!(": p{at} ");
            let own: Vec<String> = together.rows.iter().filter(|row| row.contains(&name)).map(|row| row.replacen(&name, ": ", 1)).collect();
            prop_assert_eq!(own, alone.rows, "pattern {}", at);
            prop_assert_eq!((&together.late, together.dropped_late), (&alone.late, alone.dropped_late));
            dead.extend(alone.dead);
        }
        let mut dead_together = together.dead;
        dead.sort();
        dead_together.sort();
        prop_assert_eq!(dead_together, dead);
    }
}
