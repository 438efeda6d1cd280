//! The HTTP service: settings and services in, requests until it is told to stop, then a drain.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;
use tidemill_engine::Engine;
use tidemill_event::Clock;
use tidemill_log::Log;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::accept::{self, ServiceError};
use crate::bounds::{FAILED_DRAIN, TOKENS_EXPIRE_EVERY};
use crate::host::{Host, SecretBytes};
use crate::metrics::Metrics;
use crate::routes;
use crate::settings::Settings;

/// The HTTP API over a log and an engine.
pub struct Service {
    host: Host,
    router: Router,
}

impl Service {
    /// A service over open parts. `random` is for new tokens; `registry` brings the metrics of the binary; the log's, the engine's and the HTTP side's are
    /// added here.
    pub fn new(
        settings: Settings,
        log: Log,
        engine: Engine,
        clock: Arc<dyn Clock>,
        random: SecretBytes,
        mut registry: Registry,
    ) -> Self {
        engine.register(&mut registry);
        let metrics = Metrics::new(registry, log.clone());
        let host = Host::new(settings, log, engine, clock, random, metrics);
        if let Err(error) = host.consumers().sweep(None) {
            tracing::warn!(%error, "what consumers committed to deleted streams is still there");
        }
        let router = routes::router(host.clone());
        Self { host, router }
    }

    /// Takes an address. Port 0 is any free one: ask the listener which.
    pub async fn bind(address: &str) -> Result<TcpListener, ServiceError> {
        TcpListener::bind(address).await.map_err(|source| ServiceError::Listen { address: address.to_owned(), source })
    }

    /// Serves until `stop`, then lets requests in flight end, at most `Settings::drain` long: when it returns, no request is
    /// being worked on, and the engine and the log can be closed. Ends by itself, with an error, only when the log has failed.
    /// Not cancel-safe: dropping it cuts requests off.
    ///
    /// # Panics
    /// On a single-threaded runtime: some requests block their thread for a moment, and another one must go on.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) -> Result<(), ServiceError> {
        let flavor = Handle::current().runtime_flavor();
        assert!(flavor != RuntimeFlavor::CurrentThread, "the HTTP service needs a multi-threaded runtime");
        let failed = self.host.log().failed();
        let halt = self.host.stop().clone();
        let expiring = expire_tokens(self.host.clone());
        let serve = accept::serve(listener, self.host, self.router);
        tokio::pin!(serve);
        let outcome = tokio::select! {
            () = &mut serve => return Ok(()),
            () = stop.cancelled() => Ok(()),
            never = expiring => match never {},
            poisoned = failed => {
                tracing::error!(%poisoned, "the log has failed; the service stops");
                Err(ServiceError::LogFailed(poisoned))
            }
        };
        halt.cancel();
        match &outcome {
            Ok(()) => serve.await,
            // Dropping the loop cuts what is left.
            Err(_) => _ = timeout(FAILED_DRAIN, serve).await,
        }
        outcome
    }
}

/// Ends what was left open by bearers of tokens that expire, as long as the service runs.
async fn expire_tokens(host: Host) -> Infallible {
    loop {
        sleep(TOKENS_EXPIRE_EVERY).await;
        host.access().expire(host.clock().now());
    }
}
