//! The load for the service: keeps a number of connections busy for some seconds and prints the
//! throughput and the latencies as JSON. Three requests of four are orders, the fourth asks for the
//! page of the last one. Its own allocator is always the system's.
//!
//!     load PORT CONNECTIONS SECONDS

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

static CUSTOMERS: AtomicU64 = AtomicU64::new(0);

/// Whose the order of that number is.
fn customer(number: u64) -> u64 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 30_000
}

/// An order of 1 to 12 items, different each time, the same in every run.
fn order(number: u64) -> String {
    let mix = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let items: Vec<_> = (0..1 + mix % 12)
        .map(|n| {
            serde_json::json!({"name": format!("thing {}", (mix + n) % 1000), "count": 1 + n,
                "price": 0.25 * n as f64, "tags": ["new", "blue", "a longer tag than the others"]})
        })
        .collect();
    serde_json::json!({"customer": format!("customer {}", customer(number)), "items": items})
        .to_string()
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One connection until the deadline; the latencies of its requests in microseconds.
async fn connection(port: u16, deadline: Instant) -> Result<Vec<u32>, Failure> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    let mut latencies = Vec::new();
    let mut last = 0;
    while Instant::now() < deadline {
        let page = latencies.len() % 4 == 3;
        let request = if page {
            Request::get(format!("/receipt/customer%20{last}")).body(Full::default())
        } else {
            let number = CUSTOMERS.fetch_add(1, Ordering::Relaxed);
            last = customer(number);
            Request::post("/order").body(Full::new(Bytes::from(order(number))))
        };
        let mut request = request?;
        request.headers_mut().insert("host", HeaderValue::from_static("localhost"));
        let started = Instant::now();
        let response = sender.send_request(request).await?;
        // The cache may have dropped the order again.
        let gone = page && response.status() == StatusCode::NOT_FOUND;
        if response.status() != StatusCode::OK && !gone {
            return Err(format!("the service answers {}", response.status()).into());
        }
        let answer = response.into_body().collect().await?.to_bytes();
        latencies.push(started.elapsed().as_micros() as u32);
        let expected = match (page, gone) {
            (false, _) => "{\"customer\":\"customer ",
            (true, false) => "<!doctype html><title>Receipt</title><h1>customer ",
            (true, true) => "no such customer",
        };
        if !answer.starts_with(expected.as_bytes()) {
            return Err("the service's answer is no receipt".into());
        }
    }
    Ok(latencies)
}

async fn run(port: u16, connections: usize, seconds: f64) -> Result<String, Failure> {
    let started = Instant::now();
    let deadline = started + Duration::from_secs_f64(seconds);
    let tasks: Vec<_> =
        (0..connections).map(|_| tokio::spawn(connection(port, deadline))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let elapsed = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    Ok(serde_json::json!({
        "requests": latencies.len(), "per_second": latencies.len() as f64 / elapsed,
        "p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999),
    })
    .to_string())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, connections, seconds] = arguments.as_slice() else {
        return Err("usage: load PORT CONNECTIONS SECONDS".into());
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let text = runtime.block_on(run(
        port.parse()?,
        connections.parse::<usize>()?.max(1),
        seconds.parse()?,
    ))?;
    println!("{text}");
    Ok(())
}
