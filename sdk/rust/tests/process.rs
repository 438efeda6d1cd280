//! Processes as authors test them: what rows of one key leave to each other in tables, how long it lives, when timers fire.

use tidemill_sdk::testing::{self, Processed};
use tidemill_sdk::{Config, Event, Output, Process, Reject, Side, State, Step, Table, Timer, Timestamp, process};

#[derive(Event)]
struct Word<'a> {
    at: Timestamp,
    word: &'a str,
    room: Option<i64>,
}

#[derive(State)]
struct Seen {
    words: i64,
}

/// By two fields, and put off by being looked at.
#[derive(Table)]
#[table(name = "heard", ttl = "10s", on_read)]
struct Heard {
    #[table(key)]
    word: String,
    #[table(key)]
    room: i64,
    times: i64,
    note: Option<String>,
}

/// A set: nothing but its key.
#[derive(Table)]
struct Banned {
    #[table(key)]
    word: String,
}

#[derive(Output)]
struct Count<'a> {
    word: &'a str,
    times: i64,
}

#[derive(Output)]
#[output(side = "quiet")]
struct Quiet<'a> {
    name: &'a str,
    words: i64,
}

#[derive(Config)]
struct Settings {
    #[config(default = 3)]
    patience_s: i64,
}

struct Listener;

/// Counts words by room.
#[process(state_ttl = "30s")]
impl Process for Listener {
    type Config = Settings;
    type Event = Word<'static>;
    type State = Seen;
    type Tables = (Table<Heard>, Table<Banned>);
    type Output = Count<'static>;
    type Sides = (Side<Quiet<'static>>,);

    fn wants(event: &Word, _settings: &Settings, tables: &mut Self::Tables) {
        let word = event.word.trim_start_matches(['-', '+', '!']).to_owned();
        tables.0.want((word.clone(), event.room.unwrap_or(0)));
        tables.1.want(word);
    }

    fn on_event(event: &Word, step: &mut Step<Self>) -> Result<(), Reject> {
        let room = event.room.unwrap_or(0);
        let (first, rest) = event.word.split_at(1);
        match first {
            "-" => drop(step.tables.0.delete(&(rest.to_owned(), room))),
            "+" => step.tables.1.put(Banned { word: rest.to_owned() }),
            "!" => return Err(Reject::new("shouting")),
            _ if step.tables.1.get(&event.word.to_owned()).is_some() => return Err("banned".into()),
            _ => {
                step.state.words += 1;
                let key = (event.word.to_owned(), room);
                let times = step.tables.0.get(&key).map_or(0, |heard| heard.times) + 1;
                let note = (times == 2).then(|| "twice".to_owned());
                step.tables.0.put(Heard { word: key.0, room, times, note });
                step.emit(Count { word: event.word, times });
            }
        }
        let at = Timestamp(event.at.0 + step.config.patience_s * 1_000_000);
        if event.word == "stop" {
            step.clear_timer("silence")
        } else {
            step.set_timer("silence", at)
        }
        Ok(())
    }

    fn on_timer(timer: &Timer, step: &mut Step<Self>) -> Result<(), Reject> {
        step.sides.0.push(Quiet { name: timer.name, words: step.state.words });
        if timer.name == "silence" {
            step.set_timer("still", Timestamp(timer.at.0 + 2_000_000));
        }
        Ok(())
    }
}

/// `who word@second …`, all in room 1.
fn run(text: &str, ends: bool) -> Processed {
    let rows: Vec<String> = text
        .split_whitespace()
        .map(|row| {
            let (who, rest) = row.split_once(':').expect("who:word@second");
            let (word, second) = rest.split_once('@').expect("who:word@second");
            format!(r#"{{"who": "{who}", "word": "{word}", "room": 1, "at": "2026-01-01T00:00:{second:0>2}Z"}}"#)
        })
        .collect();
    let test = testing::process::<Listener>().by(&["who"]).time("at");
    let test = if ends { test.ends() } else { test };
    test.run(&rows.join("\n"))
}

#[test]
fn rows_of_a_key_see_what_those_before_them_wrote() {
    let found = run("a:x@1 b:x@1 a:x@2 a:-x@2 a:x@2", false);
    assert_eq!(
        found.rows,
        [
            r#"["a"] {"word":"x","times":1}"#,
            r#"["b"] {"word":"x","times":1}"#,
            r#"["a"] {"word":"x","times":2}"#,
            r#"["a"] {"word":"x","times":1}"#
        ]
    );
    assert_eq!(found.state[r#"["a"]"#], r#"{"words":3}"#);
    assert_eq!(found.tables["heard"][r#"["a"] {"word":"x","room":1}"#], r#"{"times":1,"note":null}"#);
    assert_eq!(found.tables["banned"].len(), 0);
}

#[test]
fn a_rejected_row_leaves_what_it_did_and_a_set_has_keys_alone() {
    let found = run("a:+x@1 a:x@1 a:!y@1 b:x@1", false);
    assert_eq!(found.notes, [(1, "banned".to_owned()), (2, "shouting".to_owned())]);
    assert_eq!(found.rows, [r#"["b"] {"word":"x","times":1}"#]);
    assert_eq!(found.tables["banned"][r#"["a"] {"word":"x"}"#], "{}");
}

#[test]
fn an_entry_lives_on_while_it_is_looked_at_and_is_gone_behind_its_end() {
    // Banning x looks at the entry of x, which would be over at 11.
    let found = run("a:x@1 a:+x@9 b:y@15", false);
    assert_eq!(found.tables["heard"].len(), 2, "{:?}", found.tables);
    let found = run("a:x@1 b:y@15", false);
    assert_eq!(found.tables["heard"].len(), 1, "{:?}", found.tables);
    let found = run("a:x@1 b:z@10 a:x@10 b:z@21 a:x@21", false);
    let times: Vec<&str> = found.rows.iter().map(|row| row.rsplit(':').next().unwrap_or_default()).collect();
    assert_eq!(times, ["1}", "1}", "2}", "1}", "1}"], "at 20 the entry that was put at 10 is over");
}

#[test]
fn timers_are_moved_taken_back_and_set_anew() {
    let found = run("a:x@1 a:x@3 b:y@4 a:stop@5 a:stop@8 b:z@9", false);
    assert_eq!(found.sides["quiet"], [r#"["b"] {"name":"silence","words":1}"#]);
    assert_eq!(found.timers.len(), 2, "b's next silence, and whether it is still");
    let found = run("a:x@1", true);
    let quiet = [r#"["a"] {"name":"silence","words":1}"#, r#"["a"] {"name":"still","words":1}"#];
    assert_eq!(found.sides["quiet"], quiet);
    assert!(found.timers.is_empty() && found.state.is_empty() && found.tables["heard"].is_empty(), "{found:?}");
}

#[test]
#[should_panic(expected = "an entry of `heard` is used that `wants` did not ask for")]
fn what_was_not_wanted_is_not_there() {
    struct Careless;

    #[process]
    impl Process for Careless {
        type Config = ();
        type Event = Word<'static>;
        type State = ();
        type Tables = (Table<Heard>,);
        type Output = ();
        type Sides = ();

        fn on_event(event: &Word, step: &mut Step<Self>) -> Result<(), Reject> {
            let _ = step.tables.0.get(&(event.word.to_owned(), 0));
            Ok(())
        }
    }

    testing::process::<Careless>().run(r#"{"at": "2026-01-01T00:00:00Z", "word": "x"}"#);
}
