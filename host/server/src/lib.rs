//! The HTTP API (`docs/openapi.json`): parses requests into the host's types, calls one service each, and converts the answers.
//!
//! ```text
//! connection ─ accept ─ auth ─┬─ POST …/events ─▶ ingest ─▶ log          problem: what is wrong, and every status code
//!                             └─ router ─┬─▶ streams, read, consumers ─▶ log   bounds: every bound, and what happens at it
//!                                        └─▶ components, pipelines ─▶ engine
//! ```
//! Nothing else happens in a handler: what rows mean is `tidemill-event`'s to say, what is durable the log's, what runs the
//! engine's. The service is [`Settings`] and [`Service::run`].

mod accept;
mod answer;
mod auth;
mod backup;
mod body;
mod bounds;
mod checkpoints;
mod compile_queue;
mod components;
mod consumers;
mod dead_letters;
mod explain_key;
mod health;
mod host;
mod ingest;
mod key_state;
mod log_form;
mod log_metrics;
mod matches;
mod metrics;
mod openapi;
mod parameters;
mod patience;
mod pipeline_logs;
mod pipelines;
mod problem;
mod read;
mod replays;
mod reply;
mod routes;
mod service;
mod settings;
mod streams;
mod tables;
mod tokens;
mod websocket;

pub use accept::ServiceError;
pub use auth::{NewToken, Role, TokenInfo, TokenWish, Tokens};
pub use consumers::consumers_beyond;
pub use host::SecretBytes;
pub use service::Service;
pub use settings::Settings;
