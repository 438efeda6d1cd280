//! Tokens: make, list, look at, revoke, for administrators. What a token is and who bears it is [`crate::auth`]'s to say.
//!
//! An administrator sees the tokens of the own tenant, one of the tenant `default` those of all: that is who makes the first token
//! of a new tenant.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Request, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use tidemill_event::{EventTime, TenantName};
use tokio::task::block_in_place;
use utoipa::{IntoParams, ToSchema};

use crate::auth::{Action, Caller, ChangeError, Role, TokenInfo, TokenWish};
use crate::body::said;
use crate::bounds::{TOKEN_LABEL_CHARS_MAX, TOKENS_MAX};
use crate::host::Host;
use crate::ingest::append_problem;
use crate::parameters::parameters;
use crate::problem::{Kind, Problem, ProblemDocument};

/// What a token shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// `admin`, `developer`, `ingest` or `reader`.
    role: String,
    /// Whose names its bearer means: your own tenant unless said. Another one only for administrators of the tenant `default`;
    /// a tenant begins with its first token.
    tenant: Option<String>,
    /// What it is for, for people who read the list.
    #[serde(default)]
    label: String,
    /// RFC 3339: from then on it is not valid.
    expires_at: Option<String>,
}

/// What is known of a token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenView {
    /// Its name in lists: the beginning of its hash, and nothing that it could be guessed from.
    id: String,
    /// What its bearer may do.
    role: String,
    /// Whose names its bearer means.
    tenant: String,
    /// What it is for.
    label: String,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339; null: it is valid until it is revoked.
    expires_at: Option<String>,
    /// Whether it is not valid any more.
    expired: bool,
}

/// A token that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NewTokenView {
    /// The token itself, which is shown now and never again.
    token: String,
    /// What is known of it later.
    #[serde(flatten)]
    view: TokenView,
}

/// The tokens there are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenList {
    /// By id.
    tokens: Vec<TokenView>,
}

/// Which tokens.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TokenParameters {
    /// Only those of this tenant.
    tenant: Option<String>,
}

impl TokenView {
    fn new(info: &TokenInfo, now: EventTime) -> Self {
        Self {
            id: info.id.clone(),
            role: info.role.as_str().to_owned(),
            tenant: info.tenant.as_str().to_owned(),
            label: info.label.clone(),
            created_at: info.created_at.to_rfc3339(),
            expires_at: info.expires_at.map(EventTime::to_rfc3339),
            expired: info.has_expired(now),
        }
    }
}

/// Make a token. It is valid from the answer on; the host keeps its hash alone.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens",
    request_body = TokenRequest,
    responses(
        (status = 201, description = "Made: `token` is shown now and never again", body = NewTokenView),
        (status = 400, description = "Not JSON", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "No administrator, or one of another tenant", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "No such role, a wrong name, label or time, or too many tokens", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn post_token(State(host): State<Host>, caller: Caller, request: Request<Body>) -> Result<Response, Problem> {
    let asked: TokenRequest = said(&host, request, "send `{\"role\": \"ingest\", \"label\": \"edge 7\"}`").await?;
    let now = host.clock().now();
    let wish = wish(asked, caller.tenant(), now)?;
    if wish.tenant != *caller.tenant() {
        caller.may(Action::Operate)?;
    }
    let random = host.random().map_err(|error| {
        Problem::new(Kind::Internal, format!("the system gives no random bytes: {error}"), "look at the host's machine")
    })?;
    let made = block_in_place(|| host.access().make(&random, wish, now));
    let (made, info) = made.map_err(refused)?;
    tracing::info!(
        token = info.id, role = %info.role, tenant = %info.tenant, by = caller.token().unwrap_or("anybody"), "a token was made"
    );
    let view = NewTokenView { token: made.token, view: TokenView::new(&info, now) };
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The tokens of your tenant; to administrators of the tenant `default` those of every tenant.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens",
    params(TokenParameters),
    responses(
        (status = 200, description = "By id, those too that have expired", body = TokenList),
        (status = 403, description = "No administrator, or one of another tenant", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn list_tokens(State(host): State<Host>, caller: Caller, uri: Uri) -> Result<Json<TokenList>, Problem> {
    let parameters: TokenParameters = parameters(&uri, "the only parameter is `tenant`")?;
    let asked = parameters.tenant.map(|name| tenant(&name, Kind::BadParameter)).transpose()?;
    if asked.as_ref().is_some_and(|asked| asked != caller.tenant()) {
        caller.may(Action::Operate)?;
    }
    let tokens = host.access().list(asked.as_ref().or(scope(&caller)));
    let now = host.clock().now();
    Ok(Json(TokenList { tokens: tokens.iter().map(|info| TokenView::new(info, now)).collect() }))
}

/// One token.
#[utoipa::path(
    get, path = "/v1/tokens/{id}", tag = "tokens",
    params(("id" = String, Path, description = "Its id, as listed")),
    responses(
        (status = 200, description = "What is known of it", body = TokenView),
        (status = 403, description = "No administrator", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such token of your tenant", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_token(
    State(host): State<Host>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<TokenView>, Problem> {
    let tokens = host.access().list(scope(&caller));
    let info = tokens.iter().find(|info| info.id == id).ok_or_else(|| unknown(&id))?;
    Ok(Json(TokenView::new(info, host.clock().now())))
}

/// Revoke a token: no request with it is answered from now on, and what it left open (followers, WebSockets) ends.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "tokens",
    params(("id" = String, Path, description = "Its id, as listed")),
    responses(
        (status = 204, description = "It is not valid any more"),
        (status = 403, description = "No administrator", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "No such token of your tenant", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The last one that looks after the host", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete_token(
    State(host): State<Host>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let now = host.clock().now();
    let revoked = block_in_place(|| host.access().revoke(scope(&caller), &id, now)).map_err(refused)?;
    if !revoked {
        return Err(unknown(&id));
    }
    tracing::info!(token = id, by = caller.token().unwrap_or("anybody"), "a token was revoked");
    Ok(StatusCode::NO_CONTENT)
}

/// Whose tokens a caller sees; `None`: everybody's.
fn scope(caller: &Caller) -> Option<&TenantName> {
    caller.may(Action::Operate).is_err().then(|| caller.tenant())
}

fn wish(asked: TokenRequest, own: &TenantName, now: EventTime) -> Result<TokenWish, Problem> {
    let invalid = |detail: String, remedy: &str| Problem::new(Kind::Invalid, detail, remedy);
    let role: Role = asked.role.parse().map_err(|why| invalid(why, "choose one of these"))?;
    let tenant = asked.tenant.map_or_else(|| Ok(own.clone()), |name| tenant(&name, Kind::Invalid))?;
    let label = asked.label;
    if label.chars().count() > TOKEN_LABEL_CHARS_MAX || label.chars().any(char::is_control) {
        let remedy = format!("give one line of at most {TOKEN_LABEL_CHARS_MAX} characters");
        return Err(invalid("the label is too long, or has control characters".to_owned(), &remedy));
    }
    let expires_at = match asked.expires_at {
        None => None,
        Some(text) => {
            let remedy = "give an RFC 3339 time that is still to come, such as 2027-01-31T12:00:00Z";
            let at =
                EventTime::parse_rfc3339(&text).ok_or_else(|| invalid(format!("`expires_at`: `{text}` is no time"), remedy))?;
            if at <= now {
                return Err(invalid(format!("`expires_at`: {text} is over: the token would never be valid"), remedy));
            }
            Some(at)
        }
    };
    Ok(TokenWish { role, tenant, label, expires_at })
}

fn tenant(name: &str, kind: Kind) -> Result<TenantName, Problem> {
    name.parse().map_err(|error| Problem::new(kind, format!("the tenant's name: {error}"), "choose another name"))
}

fn unknown(id: &str) -> Problem {
    Problem::new(Kind::UnknownToken, format!("there is no token `{id}`"), "GET /v1/tokens lists what there is")
}

fn refused(error: ChangeError) -> Problem {
    match error {
        ChangeError::TooMany => Problem::new(
            Kind::Invalid,
            format!("the tenant has {TOKENS_MAX} tokens, and that is the most it may have"),
            "revoke those that nobody needs, or that have expired",
        ),
        ChangeError::Last => Problem::new(
            Kind::Conflict,
            "it is the last token of an administrator who looks after the host",
            "make another one of the role `admin` and the tenant `default` first, then revoke this one with it",
        ),
        ChangeError::Log(error) => append_problem(&error),
    }
}
