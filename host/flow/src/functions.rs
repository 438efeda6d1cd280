//! A step whose expressions call components: their values are columns before the step sees its rows, and gone behind it.
//!
//! ```text
//! where: entropy(lower(host)) > 4
//! rows ──► lower(host) ──► one call for the batch ──► `entropy(lower(host))` as a column ──► where … > 4 ──► without that column
//!               └── dead: expression   └── dead: as a rule's (`calls.rs`)
//! ```
//! To the driver it is one step: one number, one breaker. Every call is made for every row, also where an expression would not look at its value. A
//! row with a null where an argument is never null is not asked about: its value is null.

use std::sync::Arc;

use arrow_array::{Array, BooleanArray, RecordBatch, UInt32Array, new_empty_array, new_null_array};
use arrow_buffer::BooleanBuffer;
use arrow_select::filter::filter;
use arrow_select::take::{take, take_record_batch};
use tidemill_event::{Breaker, BreakerState, CallFailure, EventTime, Field, Reason, RuleCall, Usage, Values};

use crate::aside::set_aside;
use crate::batch::field_of;
use crate::calls::{Answer, Calls};
use crate::select::compute;
use crate::where_step::without;
use crate::{DeadRow, FlowBatch, Guest, Isolation, NamedProjection, OnFailing, Operator, Outcome, StepId, StepState, Watermark};

/// Calls of one step have numbers of their own for each function, and for each other component.
pub(crate) const CALLS_MAX: u32 = 1 << 20;

/// A call of a function component in the expressions of a step.
pub struct FunctionCall {
    /// The column that stands for its value, and the declared type; nullable if an argument may be null that is never null by declaration.
    pub value: Field,
    /// The arguments in their order: how they are computed, and as what they are declared.
    pub arguments: Vec<NamedProjection>,
    /// What happens when the component keeps failing.
    pub isolation: Isolation,
    /// The component.
    pub guest: Box<dyn Guest<Values>>,
}

impl Answer for Values {
    fn usage(&self) -> Usage {
        self.usage
    }

    fn take_state(&mut self) -> Option<RecordBatch> {
        None
    }
}

/// The step.
pub struct WithFunctions {
    operator: Box<dyn Operator>,
    functions: Vec<Asking>,
    hidden: Vec<Arc<str>>,
}

impl WithFunctions {
    /// `operator`, whose expressions have the functions' values as columns. A function's arguments may have those of the functions before it.
    pub fn new(operator: Box<dyn Operator>, functions: Vec<FunctionCall>) -> Self {
        let step = operator.step();
        let hidden = functions.iter().map(|function| function.value.name.clone()).collect();
        let asking = |(number, function)| Asking::new(step, number, function);
        Self { operator, functions: (0..).zip(functions).map(asking).collect(), hidden }
    }
}

impl Operator for WithFunctions {
    fn step(&self) -> StepId {
        self.operator.step()
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let before = Marked::of(output);
        let mut ends = Vec::with_capacity(self.functions.len());
        let mut rows = input;
        for (place, function) in (0..).zip(&mut self.functions) {
            let of_others = Marked::of(output);
            rows = function.apply(rows, output);
            of_others.blame(place, output);
            ends.push(output.put_back.len());
        }
        let of_functions = output.dead.len();
        let rows = self.operator.apply(rows, output);
        // The operator counts its own components.
        let functions = self.functions.len() as u32;
        output.dead[of_functions..].iter_mut().filter_map(|dead| dead.component.as_mut()).for_each(|place| *place += functions);
        before.turn(ends, output);
        before.hide(&self.hidden, output);
        FlowBatch { rows: without_columns(&rows.rows, &self.hidden), origin: rows.origin }
    }

    fn state(&mut self) -> Option<&mut dyn StepState> {
        self.operator.state()
    }

    fn breaker(&mut self) -> Option<(&mut Breaker, OnFailing)> {
        let mut breakers = self.breakers();
        let at = breakers.iter().position(|(breaker, _)| breaker.state() != BreakerState::Closed).unwrap_or(0);
        (at < breakers.len()).then(|| breakers.swap_remove(at))
    }

    fn breakers(&mut self) -> Vec<(&mut Breaker, OnFailing)> {
        self.functions.iter_mut().map(Asking::breaker).chain(self.operator.breakers()).collect()
    }

    fn due(&self) -> Option<Watermark> {
        self.operator.due()
    }

    fn due_at(&self) -> Option<EventTime> {
        self.operator.due_at()
    }
}

/// One function, with its calls.
struct Asking {
    step: StepId,
    value: Field,
    arguments: Vec<NamedProjection>,
    argument_names: Vec<Arc<str>>,
    calls: Calls,
    guest: NullFree,
}

impl Asking {
    fn new(step: StepId, number: u32, function: FunctionCall) -> Self {
        let FunctionCall { value, mut arguments, isolation, guest } = function;
        let never_null = arguments.iter().map(|argument| !argument.field.nullable).collect();
        for (place, argument) in arguments.iter_mut().enumerate() {
            argument.field.name = format!("{} argument {}", value.name, place + 1).into();
            argument.field.nullable = true;
        }
        let fields: Vec<Field> = arguments.iter().map(|argument| argument.field.clone()).collect();
        let argument_names = fields.iter().map(|field| field.name.clone()).collect();
        let calls = Calls::new(step, fields, None, isolation).numbered_from(number * CALLS_MAX);
        // Rows that skip the call have no value.
        let value = Field { nullable: value.nullable || calls.isolation.on_failing == OnFailing::Pass, ..value };
        Self { step, value, arguments, argument_names, calls, guest: NullFree { guest, never_null } }
    }

    fn breaker(&mut self) -> (&mut Breaker, OnFailing) {
        let Isolation { on_failing, breaker } = &mut self.calls.isolation;
        (breaker, *on_failing)
    }

    fn apply(&mut self, input: FlowBatch, output: &mut Outcome) -> FlowBatch {
        let Self { step, value, arguments, argument_names, calls, guest } = self;
        let before = Marked::of(output);
        let (input, computed) = compute(*step, arguments, input, output);
        let none = |rows: &FlowBatch| {
            let nothing = new_empty_array(&value.ty.arrow());
            let none = FlowBatch { rows: without_columns(&rows.rows, argument_names).slice(0, 0), origin: Vec::new() };
            none.with_columns(vec![(field_of(value, &nothing), nothing)])
        };
        if input.is_empty() {
            return none(&input);
        }
        let asked = input.with_columns(computed);
        let take = |rows: &FlowBatch, answer: Values, output: &mut Outcome| {
            let gone = set_aside(rows, *step, answer.notes, Vec::new(), output);
            let all = BooleanArray::new(BooleanBuffer::new_set(rows.len()), None);
            let keep = without(all, gone.into_iter());
            let values = filter(&answer.values, &keep).expect("a value per row");
            rows.filtered(&keep).with_columns(vec![(field_of(value, &values), values)])
        };
        let pass = |rows: &FlowBatch| {
            let values = new_null_array(&value.ty.arrow(), rows.len());
            rows.clone().with_columns(vec![(field_of(value, &values), values)])
        };
        let made = calls.run(&asked, output, guest, take, pass);
        before.hide(argument_names, output);
        match made {
            Some(made) => FlowBatch { rows: without_columns(&made.rows, argument_names), origin: made.origin },
            None => none(&asked),
        }
    }
}

/// A component that is asked only about rows without a null where none may be.
struct NullFree {
    guest: Box<dyn Guest<Values>>,
    never_null: Vec<bool>,
}

impl Guest<Values> for NullFree {
    fn call(&mut self, call: &RuleCall) -> Result<Values, CallFailure> {
        let rows = call.columns.num_rows();
        let mut asked: Option<Vec<u32>> = None;
        for (column, _) in call.columns.columns().iter().zip(&self.never_null).filter(|(_, never_null)| **never_null) {
            if let Some(nulls) = column.logical_nulls().filter(|nulls| nulls.null_count() > 0) {
                let before = asked.unwrap_or_else(|| (0..rows as u32).collect());
                asked = Some(before.into_iter().filter(|row| nulls.is_valid(*row as usize)).collect());
            }
        }
        let Some(asked) = asked else { return self.guest.call(call) };
        let columns = take_record_batch(&call.columns, &UInt32Array::from(asked.clone())).expect("rows of the call");
        let mut answer = self.guest.call(&RuleCall { columns, state: None })?;
        let mut places: Vec<Option<u32>> = vec![None; rows];
        asked.iter().zip(0..).for_each(|(row, place)| places[*row as usize] = Some(place));
        answer.values = take(&answer.values, &UInt32Array::from(places), None).expect("a value per row that was asked about");
        answer.notes.iter_mut().for_each(|note| note.row = asked[note.row as usize]);
        Ok(answer)
    }

    fn replace(&mut self) {
        self.guest.replace();
    }
}

/// What a batch's outcome had before: what came to it since shall not show columns that nobody asked for.
pub(crate) struct Marked {
    dead: usize,
    late: usize,
    put_back: usize,
}

impl Marked {
    pub(crate) fn of(output: &Outcome) -> Self {
        Self { dead: output.dead.len(), late: output.late.len(), put_back: output.put_back.len() }
    }

    /// What died since did so in that component of the step, if it was not the step's own doing.
    fn blame(&self, component: u32, output: &mut Outcome) {
        let of_call = |dead: &&mut DeadRow| !matches!(dead.reason, Reason::Expression);
        output.dead[self.dead..].iter_mut().filter(of_call).for_each(|dead| dead.component = Some(component));
    }

    /// Rows that one function put back stand behind those that the next one did: it was given those before them. `ends`: how many there
    /// were when each was through.
    fn turn(&self, ends: Vec<usize>, output: &mut Outcome) {
        let mut turned = Vec::with_capacity(output.put_back.len() - self.put_back);
        for end in ends.into_iter().rev() {
            turned.extend(output.put_back.drain(end..));
        }
        turned.extend(output.put_back.drain(self.put_back..));
        output.put_back.extend(turned);
    }

    pub(crate) fn hide(&self, names: &[Arc<str>], output: &mut Outcome) {
        // Dead rows of one call share their batch.
        let mut last: Option<(Arc<RecordBatch>, Arc<RecordBatch>)> = None;
        for dead in &mut output.dead[self.dead..] {
            let shown = match &last {
                Some((of, shown)) if Arc::ptr_eq(of, &dead.event.rows) => shown.clone(),
                _ => Arc::new(without_columns(&dead.event.rows, names)),
            };
            let of = std::mem::replace(&mut dead.event.rows, shown.clone());
            last = Some((of, shown));
        }
        for late in &mut output.late[self.late..] {
            late.rows.rows = without_columns(&late.rows.rows, names);
        }
        for back in &mut output.put_back[self.put_back..] {
            back.rows.rows = without_columns(&back.rows.rows, names);
        }
    }
}

/// The rows without columns of these names.
fn without_columns(rows: &RecordBatch, names: &[Arc<str>]) -> RecordBatch {
    let is_hidden = |name: &str| names.iter().any(|hidden| **hidden == *name);
    let fields = rows.schema_ref().fields();
    if !fields.iter().any(|field| is_hidden(field.name())) {
        return rows.clone();
    }
    let kept: Vec<usize> = (0..fields.len()).filter(|at| !is_hidden(fields[*at].name())).collect();
    rows.project(&kept).expect("columns of its own")
}

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use expect_test::{Expect, expect};
    use tidemill_event::{Ending, EventTime, FieldType, NoteKind, RowNote};

    use super::*;
    use crate::example::{Conditions, Double, batch, show};
    use crate::{Extend, Where};

    /// Adds 100 to its argument: 26 is rejected, 1332 traps the call. Counts its rows.
    struct Hundred(Arc<std::sync::atomic::AtomicUsize>);

    impl Guest<Values> for Hundred {
        fn call(&mut self, call: &RuleCall) -> Result<Values, CallFailure> {
            let of = call.columns.column(0).as_primitive::<Int64Type>();
            self.0.fetch_add(of.len(), std::sync::atomic::Ordering::Relaxed);
            assert!(of.null_count() == 0 && !of.is_empty() || of.is_empty(), "nobody asks about null");
            if of.values().contains(&1332) {
                let (message, backtrace) = ("boom".to_owned(), String::new());
                return Err(CallFailure { ending: Ending::Trap, message, backtrace, usage: Usage::default() });
            }
            let reject = |(row, value): (usize, &i64)| {
                (*value == 26).then(|| RowNote { row: row as u32, kind: NoteKind::Reject, text: "unlucky twice".to_owned() })
            };
            let notes = of.values().iter().enumerate().filter_map(reject).collect();
            let values: Int64Array = of.iter().map(|value| value.map(|value| value + 100)).collect();
            Ok(Values { values: Arc::new(values), notes, usage: Usage::default() })
        }

        fn replace(&mut self) {}
    }

    /// `v` as it is.
    struct Plain;

    impl crate::Projection for Plain {
        fn compute(&self, rows: &RecordBatch) -> crate::Computed {
            crate::Computed {
                values: rows.column_by_name("hundred(v * 2)").expect("computed before").clone(),
                failed: Vec::new(),
            }
        }
    }

    fn hundred(asked: &Arc<std::sync::atomic::AtomicUsize>) -> FunctionCall {
        let argument = NamedProjection { field: Field::new("of", FieldType::Int64, false), projection: Box::new(Double) };
        FunctionCall {
            value: Field::new("hundred(v * 2)", FieldType::Int64, true),
            arguments: vec![argument],
            isolation: Isolation::new(OnFailing::Hold),
            guest: Box::new(Hundred(asked.clone())),
        }
    }

    fn check(operator: impl Operator + 'static, rows: &str, expected: Expect) {
        let asked = Arc::default();
        let mut step = WithFunctions::new(Box::new(operator), vec![hundred(&asked)]);
        let mut output = Outcome::new(EventTime(0));
        let out = step.apply(batch(rows), &mut output);
        expected.assert_eq(&show(&out, &output));
        assert!(output.dead.iter().all(|dead| dead.event.rows.num_columns() == 3), "letters have the row's own columns");
    }

    fn extend() -> Extend {
        let column = NamedProjection { field: Field::new("h", FieldType::Int64, true), projection: Box::new(Plain) };
        Extend::new(StepId(4), vec![column])
    }

    #[test]
    fn values_are_columns_that_do_not_stay() {
        check(extend(), "a:1 b:- c:3", expect!["0:a=1,h=102 1:b=-,h=- 2:c=3,h=106 | "]);
        check(extend(), "", expect![" | "]);
        check(Where::new(StepId(4), Box::new(Conditions)), "a:1 b:7", expect!["0:a=1 | "]);
    }

    #[test]
    fn rows_at_fault_are_alone() {
        // 13 twice is 26, and an argument that fails is no call: `Double` refuses 13 itself.
        check(
            extend(),
            "a:1 b:13 c:2",
            expect!["0:a=1,h=102 2:c=2,h=104 | 1:b=13 step 4 expression `hundred(v * 2) argument 1`: unlucky"],
        );
        check(extend(), "a:1 b:666 c:2", expect!["0:a=1,h=102 2:c=2,h=104 | 1:b=666 step 4 trap boom"]);
    }

    #[test]
    fn endings_are_recorded_and_nobody_asks_about_nulls_alone() {
        let asked = Arc::default();
        let mut step = WithFunctions::new(
            Box::new(extend()),
            vec![hundred(&asked), {
                let mut second = hundred(&asked);
                second.value.name = "again".into();
                second
            }],
        );
        let mut first = Outcome::new(EventTime(0));
        step.apply(batch("a:1 b:666"), &mut first);
        assert_eq!(first.endings.iter().map(|ending| ending.call).collect::<Vec<_>>(), [0, 2]);
        let before = asked.load(std::sync::atomic::Ordering::Relaxed);
        let mut again = Outcome::replay(EventTime(0), first.endings.clone());
        let out = step.apply(batch("a:1 b:666"), &mut again);
        assert_eq!((out.len(), again.endings), (1, first.endings));
        assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed) - before, 2);
    }
}
