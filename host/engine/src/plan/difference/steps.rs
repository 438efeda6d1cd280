//! Steps: what each says now, and what becomes of its state.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::pipeline::{STEP_WORDS, document};
use crate::plan::difference::entries::{entries, entries_changed, named};
use crate::plan::difference::pairs::paired;
use crate::plan::difference::partial::Fates;
use crate::plan::difference::{Before, Change, ChangeKind, StateChange};
use crate::plan::{KeptState, Plan, PlannedKind};
use crate::stored::{Pin, StoredPipeline};

/// The steps of a text as JSON, in order.
pub(super) fn step_texts(text: &str) -> Vec<Map<String, Value>> {
    let steps = document::read(text).ok().and_then(|node| node.json().get("steps")?.as_array().cloned()).unwrap_or_default();
    steps.into_iter().filter_map(|step| if let Value::Object(members) = step { Some(members) } else { None }).collect()
}

/// `rule: high-value@1`.
fn shown(step: &Map<String, Value>) -> String {
    let word = STEP_WORDS.into_iter().find(|word| step.contains_key(*word)).unwrap_or("step");
    format!("{word}: {}", step.get(word).map_or_else(String::new, |value| named(value).unwrap_or_else(|| plain(value))))
}

pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What a step is, whatever it is told: its word, and its component's name.
pub(super) fn identity(step: &Map<String, Value>) -> String {
    let shown = shown(step);
    let (word, rest) = shown.split_once(": ").unwrap_or((&shown, ""));
    match word {
        "rule" | "transform" => format!("{word} {}", rest.split('@').next().unwrap_or_default()),
        other => other.to_owned(),
    }
}

pub(super) fn steps(
    plan: &Plan,
    new: &[Map<String, Value>],
    old: &[Map<String, Value>],
    what: Before<'_>,
    new_run: Option<&str>,
    changes: &mut Vec<Change>,
) {
    let before = what.stored;
    let kept: BTreeSet<u32> = if new_run.is_some() {
        BTreeSet::new()
    } else {
        (0..plan.steps.len() as u32).filter_map(|step| plan.state_of(step)).map(|state| state.operator).collect()
    };
    for (was, is) in paired(old, new) {
        let old_pin = was.and_then(|was| before.pinned.iter().find(|pin| pin.step == was as u32));
        let planned = is.and_then(|is| plan.components().find(|(at, _)| *at == is as u32)).map(|(_, planned)| planned);
        let place = match (was, is) {
            (_, Some(is)) => plan.step_name(is as u32),
            (Some(was), None) => format!("steps[{was}].{}", shown(&old[was]).split(':').next().unwrap_or_default()),
            (None, None) => continue,
        };
        // Which step of the new plan goes on with what the old one held; mostly the one beside it.
        let operator = was.and_then(|was| before.state_of(was as u32)).map(|(operator, _)| operator);
        let holds = |at: &usize| plan.state_of(*at as u32).map(|state| state.operator) == operator;
        let heir = operator.filter(|operator| kept.contains(operator)).and_then(|_| (0..plan.steps.len()).find(holds));
        let fates = Fates::new(what, was, heir.map(|heir| (plan, heir)));
        let of_entries = if heir == is { &fates } else { &Fates::of_nothing() };
        let mut change = match (was, is) {
            (Some(was), None) => Change::new(ChangeKind::Removed, place, shown(&old[was])),
            (None, Some(is)) => Change::new(ChangeKind::Added, place, shown(&new[is])),
            (Some(was), Some(is)) => {
                let mut details = members_changed(&old[was], &new[is], of_entries);
                if let (Some(pin), Some(planned)) = (old_pin, planned)
                    && pin.digest != planned.pin.digest
                {
                    details.insert(0, format!("{}@{} → {}", pin.name, pin.version, planned.label()));
                }
                details.splice(0..0, asked_changed(plan, before, was, is));
                Change::new(ChangeKind::Changed, place, shown(&new[is])).with(details)
            }
            (None, None) => continue,
        };
        let old_state = was.and_then(|was| before.state_of(was as u32));
        change.state = match is.and_then(|is| plan.state_of(is as u32)) {
            Some(state) if kept.contains(&state.operator) && before.has_state(state.operator) => Some(StateChange::Kept),
            Some(KeptState { shape, .. }) => Some(StateChange::New(match (new_run, old_state) {
                (Some(_), _) => "the run is new".to_owned(),
                (None, Some((_, old))) => format!("its state was {old} and is {shape}"),
                (None, None) => format!("no such step before kept {shape}"),
            })),
            None => old_state
                .filter(|(operator, _)| !kept.contains(operator))
                .map(|_| StateChange::Lost("no step of the new plan goes on with it".to_owned())),
        };
        change.dropped = fates.dropped();
        change.details.extend(fates.line());
        let says_something = change.change != ChangeKind::Changed
            || !change.details.is_empty()
            || change.state.as_ref().is_some_and(|state| *state != StateChange::Kept);
        if says_something {
            changes.push(change);
        }
    }
}

/// Versions that the rules of a set ask now instead of others.
fn asked_changed(plan: &Plan, before: &StoredPipeline, was: usize, is: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let Some(PlannedKind::Rules(rules)) = plan.steps.get(is).map(|step| &step.kind) else { return lines };
    for planned in &rules.components {
        let is_it =
            |pin: &&Pin| pin.step == was as u32 && pin.reference == planned.pin.reference && pin.digest != planned.pin.digest;
        let Some(pin) = before.pinned.iter().find(is_it) else { continue };
        let line = format!("{}@{} → {}", pin.name, pin.version, planned.label());
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// Members that differ, `by: ["user"] → ["card"]`; of a step that is one object, that object's. Of lists whose entries have names, each entry
/// that differs.
pub(super) fn members_changed(old: &Map<String, Value>, new: &Map<String, Value>, fates: &Fates) -> Vec<String> {
    if let ([(word, Value::Object(old))], [(same, Value::Object(new))]) =
        (&*old.iter().collect::<Vec<_>>(), &*new.iter().collect::<Vec<_>>())
        && word == same
    {
        return members_changed(old, new, fates);
    }
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let value = |step: &Map<String, Value>, name: &str| step.get(name).map_or_else(|| "(not said)".to_owned(), plain);
    let differs = |name: &&String| old.get(*name) != new.get(*name);
    let told = |name: &String| match (old.get(name).and_then(entries), new.get(name).and_then(entries)) {
        (Some(old), Some(new)) => entries_changed(name, &old, &new, fates),
        _ => vec![format!("{name}: {} → {}", value(old, name), value(new, name))],
    };
    names.into_iter().filter(differs).flat_map(told).collect()
}
