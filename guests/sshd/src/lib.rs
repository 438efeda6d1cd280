//! `std-sshd`: lines that sshd writes to syslog, as typed events. `README.md` lists the columns.
//!
//! ```text
//! Nov 21 06:55:46 host sshd[24200]: Failed password for root from 192.0.2.1 port 38926 ssh2
//! └── head ──────────────────────┘  └── message ──────────────────────────────────────────┘
//! ```

mod head;
mod message;

use tidemill_sdk::{Config, Emit, Event, Output, Reject, Timestamp, transform};

use head::Head;

/// A line of text, as `text/plain` makes it.
#[derive(Event)]
struct Line<'a> {
    line: Option<&'a str>,
}

#[derive(Config)]
struct Year {
    /// The year of the lines, which syslog leaves out.
    year: i32,
}

/// What a line says; a field that its type does not have is null.
#[derive(Output, Debug, Clone, Copy, Default, PartialEq)]
struct SshEvent<'a> {
    #[output(time)]
    ts: Timestamp,
    ts_ms: i64,
    host: &'a str,
    service: &'a str,
    pid: Option<i64>,
    #[output(name = "type")]
    kind: &'static str,
    user: Option<&'a str>,
    user_exists: Option<bool>,
    src_ip: Option<&'a str>,
    src_port: Option<i64>,
    method: Option<&'a str>,
    success: Option<bool>,
    rhost: Option<&'a str>,
    rname: Option<&'a str>,
    code: Option<i64>,
    reason: Option<&'a str>,
    count: Option<i64>,
    repeat: Option<i64>,
}

/// How many rows one `message repeated` line may become; syslog's own counters stay far below.
const REPEATS_MAX: i64 = 10_000;

/// Makes typed events of the lines sshd writes to syslog: logins that failed or succeeded, names and addresses tried,
/// disconnects. `config: {year: 2026}` names the year, which syslog leaves out. A line "message repeated n times" becomes n rows.
#[transform]
fn sshd(line: &Line, config: &Year, emit: &mut Emit<SshEvent>) -> Result<(), Reject> {
    let Some(line) = line.line else { return Ok(()) };
    let Head { ts, host, service, pid, message } = head::read(line, config.year)?;
    let event = |message| SshEvent { ts, ts_ms: ts.millis(), host, service, pid, ..message::read(message) };
    match message::repeated(message) {
        None => emit.push(event(message)),
        Some((times, _)) if times > REPEATS_MAX => {
            return Err(format!("repeated {times} times; {REPEATS_MAX} are allowed").into());
        }
        Some((times, message)) => (1..=times).for_each(|repeat| emit.push(SshEvent { repeat: Some(repeat), ..event(message) })),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_sdk::testing;

    /// Runs lines of text.
    fn run(lines: &[&str]) -> testing::Report {
        let rows: String = lines.iter().map(|line| format!("{{\"line\": {}}}\n", tidemill_sdk::json::quote(line))).collect();
        testing::transform::<sshd>().config(r#"{"year": 2026}"#).run(&rows)
    }

    #[test]
    fn a_line_becomes_a_row_with_its_own_time() {
        let report = run(&["Nov  1 06:55:46 gate sshd[24200]: Failed password for root from 192.0.2.1 port 38926 ssh2"]);
        let row = r#"{"ts":"2026-11-01T06:55:46Z","ts_ms":1793516146000,"host":"gate","service":"sshd","pid":24200,"#.to_owned()
            + r#""type":"auth_failed","user":"root","user_exists":true,"src_ip":"192.0.2.1","src_port":38926,"#
            + r#""method":"password","success":false,"rhost":null,"rname":null,"code":null,"reason":null,"count":null,"repeat":null}"#;
        assert_eq!(report.rows, [row]);
    }

    #[test]
    fn repeated_messages_are_spelt_out_and_broken_lines_are_rejected_alone() {
        let report = run(&[
            "Nov 21 06:55:46 gate sshd[7]: message repeated 3 times: [ Failed password for root from 192.0.2.1 port 3 ssh2]",
            "no log line",
            "Nov 21 06:55:47 gate sshd[7]: message repeated 10001 times: [ x]",
            "Nov 21 06:55:47 gate sshd[7]: Connection closed by 192.0.2.1 [preauth]",
        ]);
        assert_eq!(report.source_rows, [0, 0, 0, 3]);
        assert!(report.rows[2].contains(r#""type":"auth_failed""#) && report.rows[2].contains(r#""repeat":3"#));
        let notes: Vec<_> = report.notes.iter().map(|(row, text)| (*row, text.as_str())).collect();
        assert_eq!(
            notes,
            [(1, "no syslog line: no time like `Nov 21 06:55:46`"), (2, "repeated 10001 times; 10000 are allowed")]
        );
    }

    #[test]
    fn the_year_must_be_named() {
        let open = testing::transform::<sshd>().open();
        assert_eq!(open, Err("config.year is missing".to_owned()));
    }
}
