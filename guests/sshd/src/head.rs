//! The head of a syslog line: time, host, program.

use tidemill_sdk::Timestamp;

/// A line's head, and what follows it.
#[derive(Debug, PartialEq)]
pub(crate) struct Head<'a> {
    pub(crate) ts: Timestamp,
    pub(crate) host: &'a str,
    pub(crate) service: &'a str,
    pub(crate) pid: Option<i64>,
    pub(crate) message: &'a str,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads `Nov 21 06:55:46 host sshd[24200]: message`; the day may be padded with a space.
pub(crate) fn read(line: &str, year: i32) -> Result<Head<'_>, String> {
    let (ts, rest) = time(line, year).ok_or("no syslog line: no time like `Nov 21 06:55:46`")?;
    let (host, rest) = rest.split_once(' ').ok_or("no syslog line: no host behind the time")?;
    let (program, message) = rest.split_once(": ").ok_or("no syslog line: no `program:` behind the host")?;
    let (service, pid) = match program.strip_suffix(']').and_then(|program| program.split_once('[')) {
        Some((service, pid)) => (service, pid.parse().ok()),
        None => (program, None),
    };
    Ok(Head { ts, host, service, pid, message })
}

fn time(line: &str, year: i32) -> Option<(Timestamp, &str)> {
    let (month, rest) = line.split_at_checked(3)?;
    let month = MONTHS.iter().position(|name| *name == month)? as u32 + 1;
    let (day, rest) = rest.strip_prefix(' ')?.split_at_checked(2)?;
    let (clock, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
    let mut parts = clock.splitn(3, ':').map(|part| part.parse::<u32>().ok().filter(|_| part.len() == 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    Some((Timestamp::from_civil(year, month, day.trim_start().parse().ok()?, hour, minute, second)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_heads() {
        let head = read("Feb  9 01:02:03 gate sshd[77]: a: b", 2026).expect("a head");
        let expected = Head {
            ts: Timestamp::parse("2026-02-09T01:02:03Z").expect("a time"),
            host: "gate",
            service: "sshd",
            pid: Some(77),
            message: "a: b",
        };
        assert_eq!(head, expected);
        assert_eq!(read("Feb  9 01:02:03 gate kernel: x", 2026).map(|head| (head.service, head.pid)), Ok(("kernel", None)));
    }

    #[test]
    fn says_what_is_missing() {
        let check = |line: &str, missing: &str| assert_eq!(read(line, 2026), Err(format!("no syslog line: no {missing}")));
        for line in ["", "Fe", "Feb 29 01:02:03 gate sshd: x", "Feb 9 01:02:03 gate sshd: x", "Feb  9 1:2:3 gate sshd: x"] {
            check(line, "time like `Nov 21 06:55:46`");
        }
        check("Feb  9 01:02:03 gate", "host behind the time");
        check("Feb  9 01:02:03 gate sshd started", "`program:` behind the host");
    }
}
