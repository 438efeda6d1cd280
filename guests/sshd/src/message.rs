//! The messages of sshd and of the PAM modules it calls: one arm per kind of message, in the order of how often they come.

use crate::SshEvent;

/// The count and the message of `message repeated 5 times: [ … ]`.
pub(crate) fn repeated(message: &str) -> Option<(i64, &str)> {
    let (times, message) = message.strip_prefix("message repeated ")?.split_once(" times: [")?;
    Some((times.parse().ok()?, message.strip_suffix(']')?.trim_start_matches(' ')))
}

/// What a message says. One nobody knows is of type `other`, with the message as its reason.
pub(crate) fn read(message: &str) -> SshEvent<'_> {
    known(message).unwrap_or(SshEvent { kind: "other", reason: Some(message), ..SshEvent::default() })
}

fn known(message: &str) -> Option<SshEvent<'_>> {
    let none = SshEvent::default();
    let bare = message.strip_suffix(" [preauth]").unwrap_or(message);
    let after = |prefix: &str| bare.strip_prefix(prefix);

    if let Some(rest) = after("Failed ") {
        let (method, rest) = rest.split_once(" for ")?;
        let (user, address) = rest.rsplit_once(" from ")?;
        let invalid = user.strip_prefix("invalid user ");
        let (src_ip, src_port) = address_of(address)?;
        return Some(SshEvent {
            kind: "auth_failed",
            method: Some(method),
            user_exists: Some(invalid.is_none()),
            user: Some(invalid.unwrap_or(user)),
            src_ip,
            src_port,
            success: Some(false),
            ..none
        });
    }
    if let Some(rest) = after("pam_unix(sshd:auth): authentication failure; ") {
        return Some(SshEvent { kind: "pam_auth_failure", rhost: pam(rest, "rhost"), user: pam(rest, "user"), ..none });
    }
    if let Some(rest) = after("Received disconnect from ").or_else(|| after("error: Received disconnect from ")) {
        // `192.0.2.1: 11: why`, newer `192.0.2.1 port 22:11: why`.
        let (head, reason) = rest.split_once(": ").filter(|(head, _)| head.contains(" port ")).or_else(|| {
            let (end, _) = rest.match_indices(": ").nth(1)?;
            Some((&rest[..end], &rest[end + 2..]))
        })?;
        let (address, code) = head.rsplit_once(':')?;
        let (src_ip, src_port) = address_of(address)?;
        let code = code.trim_start().parse().ok()?;
        return Some(SshEvent { kind: "disconnect", src_ip, src_port, code: Some(code), reason: Some(reason), ..none });
    }
    if after("pam_unix(sshd:auth): check pass; user unknown").is_some() {
        return Some(SshEvent { kind: "pam_check_pass", ..none });
    }
    if let Some(rest) = after("Invalid user ") {
        let (user, address) = rest.rsplit_once(" from ")?;
        let (src_ip, src_port) = address_of(address)?;
        return Some(SshEvent { kind: "invalid_user", user: Some(user), src_ip, src_port, ..none });
    }
    if let Some(user) = after("input_userauth_request: invalid user ") {
        return Some(SshEvent { kind: "userauth_request", user: Some(user), ..none });
    }
    if let Some(rest) = after("reverse mapping checking getaddrinfo for ") {
        let (names, _) = rest.split_once(" failed - POSSIBLE BREAK-IN ATTEMPT!")?;
        let (rname, address) = names.rsplit_once(" [")?;
        return Some(SshEvent { kind: "breakin_warning", rname: Some(rname), src_ip: address.strip_suffix(']'), ..none });
    }
    if let Some(address) = after("Connection closed by ") {
        // Newer ones name the user: `Connection closed by invalid user ann 192.0.2.1 port 22`.
        let named = address.strip_prefix("invalid user ").or_else(|| address.strip_prefix("authenticating user "));
        let (user, address) = match named {
            Some(named) => {
                let at = named.match_indices(' ').rev().nth(2)?.0;
                (Some(&named[..at]), &named[at + 1..])
            }
            None => (None, address),
        };
        let (src_ip, src_port) = address_of(address)?;
        return Some(SshEvent { kind: "connection_closed", user, src_ip, src_port, ..none });
    }
    if let Some(address) = after("Did not receive identification string from ") {
        let (src_ip, src_port) = address_of(address)?;
        return Some(SshEvent { kind: "no_ident", src_ip, src_port, ..none });
    }
    if let Some(rest) = after("PAM ") {
        if rest.starts_with("service(sshd) ignoring max retries") {
            return Some(SshEvent { kind: "pam_max_retries", ..none });
        }
        let (count, rest) = rest.split_once(" more authentication failure")?;
        let (rhost, user) = (pam(rest, "rhost"), pam(rest, "user"));
        return Some(SshEvent { kind: "pam_more_failures", count: count.parse().ok(), rhost, user, ..none });
    }
    if let Some(user) = after("Disconnecting: Too many authentication failures for ") {
        return Some(SshEvent { kind: "too_many_failures", user: Some(user), ..none });
    }
    if let Some(rest) = after("Accepted ") {
        let (method, rest) = rest.split_once(" for ")?;
        let (user, address) = rest.rsplit_once(" from ")?;
        let (src_ip, src_port) = address_of(address)?;
        return Some(SshEvent {
            kind: "auth_ok",
            method: Some(method),
            user: Some(user),
            src_ip,
            src_port,
            success: Some(true),
            ..none
        });
    }
    if let Some(rest) = after("pam_unix(sshd:session): session opened for user ") {
        let user = rest.split_once(" by ").map_or(rest, |(user, _)| user);
        return Some(SshEvent { kind: "session_opened", user: Some(user), ..none });
    }
    if let Some(user) = after("pam_unix(sshd:session): session closed for user ") {
        return Some(SshEvent { kind: "session_closed", user: Some(user), ..none });
    }
    // The whole of it: whether it was before authentication is part of why it was fatal.
    message.strip_prefix("fatal: ").map(|reason| SshEvent { kind: "fatal", reason: Some(reason), ..none })
}

/// `192.0.2.1`, or `192.0.2.1 port 22` with or without ` ssh2` behind it.
fn address_of(text: &str) -> Option<(Option<&str>, Option<i64>)> {
    let (ip, rest) = text.split_once(' ').unwrap_or((text, ""));
    let port = rest.strip_prefix("port ").map(|rest| rest.split_once(' ').map_or(rest, |(port, _)| port));
    match port {
        Some(port) => Some((Some(ip), Some(port.parse().ok()?))),
        None => rest.is_empty().then_some((Some(ip), None)),
    }
}

/// The value of `name=value` in PAM's list; nothing for an empty value.
fn pam<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    list.split(' ')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
        .filter(|v| !v.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message, its type, and the fields it has, in the struct's order.
    fn check(message: &str, kind: &str, fields: &str) {
        let event = read(message);
        assert_eq!(event.kind, kind, "{message}");
        let text = |name: &str, value: Option<&str>| value.map(|value| format!("{name}={value}"));
        let number = |name: &str, value: Option<i64>| value.map(|value| format!("{name}={value}"));
        let flag = |name: &str, value: Option<bool>| value.map(|value| format!("{name}={value}"));
        let found: Vec<String> = [
            text("user", event.user),
            flag("exists", event.user_exists),
            text("ip", event.src_ip),
            number("port", event.src_port),
            text("method", event.method),
            flag("success", event.success),
            text("rhost", event.rhost),
            text("rname", event.rname),
            number("code", event.code),
            text("reason", event.reason),
            number("count", event.count),
        ]
        .into_iter()
        .flatten()
        .collect();
        assert_eq!(found.join(" | "), fields, "{message}");
    }

    #[test]
    fn logins() {
        let failed = "ip=192.0.2.1 | port=4022 | method=password | success=false";
        check(
            "Failed password for root from 192.0.2.1 port 4022 ssh2",
            "auth_failed",
            &format!("user=root | exists=true | {failed}"),
        );
        let ann = format!("user=ann | exists=false | {failed}");
        check("Failed password for invalid user ann from 192.0.2.1 port 4022 ssh2", "auth_failed", &ann);
        check(
            "Accepted publickey for ann from 192.0.2.1 port 4022 ssh2",
            "auth_ok",
            "user=ann | ip=192.0.2.1 | port=4022 | method=publickey | success=true",
        );
        check("Invalid user  01 from 192.0.2.1", "invalid_user", "user= 01 | ip=192.0.2.1");
        check("Invalid user ann from 192.0.2.1 port 4022", "invalid_user", "user=ann | ip=192.0.2.1 | port=4022");
        check("input_userauth_request: invalid user ann [preauth]", "userauth_request", "user=ann");
    }

    #[test]
    fn a_name_cannot_pose_as_an_address() {
        let message = "Failed password for invalid user a from 192.0.2.9 port 1 ssh2 from 192.0.2.1 port 4022 ssh2";
        let fields =
            "user=a from 192.0.2.9 port 1 ssh2 | exists=false | ip=192.0.2.1 | port=4022 | method=password | success=false";
        check(message, "auth_failed", fields);
    }

    #[test]
    fn pam_messages() {
        let head = "logname= uid=0 euid=0 tty=ssh ruser= rhost=";
        check(&format!("pam_unix(sshd:auth): authentication failure; {head}192.0.2.1 "), "pam_auth_failure", "rhost=192.0.2.1");
        let named = format!("pam_unix(sshd:auth): authentication failure; {head}a.example  user=root");
        check(&named, "pam_auth_failure", "user=root | rhost=a.example");
        check(&format!("PAM 1 more authentication failure; {head}192.0.2.1 "), "pam_more_failures", "rhost=192.0.2.1 | count=1");
        let more = format!("PAM 5 more authentication failures; {head}a.example  user=root");
        check(&more, "pam_more_failures", "user=root | rhost=a.example | count=5");
        check("PAM service(sshd) ignoring max retries; 6 > 3", "pam_max_retries", "");
        check("pam_unix(sshd:auth): check pass; user unknown", "pam_check_pass", "");
        check("pam_unix(sshd:session): session opened for user ann by (uid=0)", "session_opened", "user=ann");
        check("pam_unix(sshd:session): session closed for user ann", "session_closed", "user=ann");
    }

    #[test]
    fn ends_of_connections() {
        check("Connection closed by 192.0.2.1 [preauth]", "connection_closed", "ip=192.0.2.1");
        check(
            "Connection closed by authenticating user ann b 192.0.2.1 port 4022 [preauth]",
            "connection_closed",
            "user=ann b | ip=192.0.2.1 | port=4022",
        );
        check(
            "Received disconnect from 192.0.2.1: 11: Bye: bye [preauth]",
            "disconnect",
            "ip=192.0.2.1 | code=11 | reason=Bye: bye",
        );
        check("error: Received disconnect from 192.0.2.1: 3: a.B: no", "disconnect", "ip=192.0.2.1 | code=3 | reason=a.B: no");
        check(
            "Received disconnect from 192.0.2.1 port 4022:11: Bye",
            "disconnect",
            "ip=192.0.2.1 | port=4022 | code=11 | reason=Bye",
        );
        check("Received disconnect from 2001:db8::1: 11: Bye", "disconnect", "ip=2001:db8::1 | code=11 | reason=Bye");
        check("Did not receive identification string from 192.0.2.1", "no_ident", "ip=192.0.2.1");
        check("Disconnecting: Too many authentication failures for root [preauth]", "too_many_failures", "user=root");
        let reverse = "reverse mapping checking getaddrinfo for a.example [192.0.2.1] failed - POSSIBLE BREAK-IN ATTEMPT!";
        check(reverse, "breakin_warning", "ip=192.0.2.1 | rname=a.example");
        check("fatal: Write failed: gone [preauth]", "fatal", "reason=Write failed: gone [preauth]");
    }

    #[test]
    fn what_nobody_knows_is_kept() {
        check("Server listening on 0.0.0.0 port 22.", "other", "reason=Server listening on 0.0.0.0 port 22.");
        check("Failed password for", "other", "reason=Failed password for");
        check("Invalid user x from 192.0.2.1 port y", "other", "reason=Invalid user x from 192.0.2.1 port y");
    }

    #[test]
    fn repeats() {
        assert_eq!(repeated("message repeated 5 times: [ Failed [x]]"), Some((5, "Failed [x]")));
        assert_eq!(repeated("message repeated five times: [ x]"), None);
    }
}
