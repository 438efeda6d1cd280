//! A bare hyper server: reads a body, answers a few bytes. What one event a request is measured against.
//!
//! Prints its address, and ends when its input closes.

use std::convert::Infallible;
use std::io::Read;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("http://{}", listener.local_addr()?);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        connections.spawn(async move {
            // A client that goes away is none of its business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), hyper::service::service_fn(answer))
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let bytes = request.into_body().collect().await.map_or(0, |body| body.to_bytes().len());
    let answer = format!("{{\"accepted\":1,\"rejected\":[],\"rejected_total\":0,\"bytes\":{bytes}}}");
    Ok(Response::builder().header("content-type", "application/json").body(Full::new(Bytes::from(answer))).unwrap_or_default())
}
