//! The HTTP API as a client sees it: a whole service over a real log, spoken to through sockets.

#![allow(missing_docs, reason = "a test binary")]

mod access;
mod client;
mod components;
mod consumers;
mod disk;
mod event_stream;
mod events_in;
mod events_out;
mod forms;
mod hosting;
mod limits;
mod operating;
mod overload;
mod pipelines;
mod server;
mod streams;
mod tenants;
mod tokens;
mod websocket;
