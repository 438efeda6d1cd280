//! Who may do what: one table, denied unless it says otherwise.

use std::fmt;
use std::str::FromStr;

use http::Method;

use crate::accept::events_path;

/// What a credential allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything of its tenant, its tokens too; of the tenant `default` the host itself.
    Admin,
    /// Everything of its tenant but tokens: streams, components, pipelines, events.
    Developer,
    /// Sending events, nothing else.
    Ingest,
    /// Looking at everything, and committing what was read.
    Reader,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Developer, Self::Ingest, Self::Reader];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Developer => "developer",
            Self::Ingest => "ingest",
            Self::Reader => "reader",
        }
    }

    /// Whether it allows an action.
    pub(crate) fn may(self, action: Action) -> bool {
        match (self, action) {
            (Self::Admin, Action::Read | Action::Send | Action::Change | Action::Administer | Action::Operate) => true,
            (Self::Developer, Action::Read | Action::Send | Action::Change) => true,
            (Self::Developer, Action::Administer | Action::Operate) => false,
            (Self::Ingest, Action::Send) => true,
            (Self::Ingest, Action::Read | Action::Change | Action::Administer | Action::Operate) => false,
            (Self::Reader, Action::Read) => true,
            (Self::Reader, Action::Send | Action::Change | Action::Administer | Action::Operate) => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("there is no role `{text}`: choose one of {known}")
        })
    }
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Looks at something, or notes how far it has looked.
    Read,
    /// Brings events.
    Send,
    /// Makes, changes or deletes something.
    Change,
    /// Concerns who else may do something.
    Administer,
    /// Concerns the host as a whole, with what all tenants have.
    Operate,
}

impl Action {
    /// What a request does, by its method and path.
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        match *method {
            _ if path.starts_with("/v1/backup") => Self::Operate,
            _ if path.starts_with("/v1/tokens") => Self::Administer,
            Method::GET | Method::HEAD => Self::Read,
            Method::POST if events_path(path).is_some() => Self::Send,
            Method::POST if path.contains("/consumers/") && path.ends_with("/commit") => Self::Read,
            _ => Self::Change,
        }
    }

    /// In words, for who may not.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Send => "send events",
            Self::Change => "change anything",
            Self::Administer => "administer tokens",
            Self::Operate => "operate the host",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let requests = [
            (Method::GET, "/v1/streams/a/events"),
            (Method::POST, "/v1/streams/a/events"),
            (Method::POST, "/v1/streams/a/consumers/b/commit"),
            (Method::PUT, "/v1/streams/a"),
            (Method::DELETE, "/v1/streams/a/consumers/b"),
            (Method::POST, "/v1/pipelines/a/pause"),
            (Method::POST, "/v1/pipelines/a/events"),
            (Method::GET, "/v1/tokens"),
            (Method::DELETE, "/v1/tokens/a"),
            (Method::GET, "/v1/backup"),
        ];
        let mut said = String::new();
        for (method, path) in requests {
            let action = Action::of(&method, path);
            let may: Vec<&str> = Role::ALL.into_iter().filter(|role| role.may(action)).map(Role::as_str).collect();
            said.push_str(&format!("{method} {path}: {}\n", may.join(" ")));
        }
        expect_test::expect![[r#"
            GET /v1/streams/a/events: admin developer reader
            POST /v1/streams/a/events: admin developer ingest
            POST /v1/streams/a/consumers/b/commit: admin developer reader
            PUT /v1/streams/a: admin developer
            DELETE /v1/streams/a/consumers/b: admin developer
            POST /v1/pipelines/a/pause: admin developer
            POST /v1/pipelines/a/events: admin developer
            GET /v1/tokens: admin
            DELETE /v1/tokens/a: admin
            GET /v1/backup: admin
        "#]]
        .assert_eq(&said);
    }

    #[test]
    fn roles_have_names() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }
}
