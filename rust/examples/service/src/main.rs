//! A JSON web service with the allocations of a real one: orders are parsed and kept in a
//! cache that fills and is trimmed, receipts are rendered from a template, and a background task
//! keeps summaries.
//!
//!     POST /order                  an order as JSON; the answer is its receipt as JSON
//!     GET  /receipt/CUSTOMER       the customer's last order as a page
//!     GET  /summary                how much of each thing was ordered, renewed now and then
//!     GET  /stats                  the allocator in numbers, as JSON
//!     GET  /stats?format=prometheus, or /metrics: the same in Prometheus' text format
//!
//! It listens on a port of 127.0.0.1 that the system chooses, prints it, and ends when its input
//! ends. The allocator is chosen when it is built; the first line proves it. It is an example: no
//! limits on bodies, no time-outs, no encryption.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

mod page;
mod statistics;

#[cfg(not(feature = "snmalloc"))]
carrel_select::global!();

#[cfg(feature = "snmalloc")]
#[global_allocator]
static GLOBAL: snmalloc_rs::SnMalloc = snmalloc_rs::SnMalloc;

/// Entries that the cache keeps; beyond them a quarter is dropped.
const CACHE_ENTRIES: usize = 20_000;

#[derive(Deserialize)]
struct Order {
    customer: String,
    items: Vec<Item>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Item {
    name: String,
    count: u32,
    price: f64,
    tags: Vec<String>,
}

#[derive(Serialize)]
struct Receipt {
    customer: String,
    lines: Vec<String>,
    total: f64,
    known: bool,
}

#[derive(Default)]
struct State {
    cache: Mutex<HashMap<String, Vec<Item>>>,
    summary: Mutex<String>, // JSON, once there is one
}

type Reply = Response<Full<Bytes>>;

fn reply(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}

/// Prices an order and remembers it.
fn take_order(state: &State, order: Order) -> Receipt {
    let lines = order
        .items
        .iter()
        .map(|item| format!("{} x {} ({})", item.count, item.name, item.tags.join(", ")))
        .collect();
    let total = order.items.iter().map(|item| item.price * f64::from(item.count)).sum();
    let mut cache = state.cache.lock().unwrap();
    let known = cache.insert(order.customer.clone(), order.items).is_some();
    if cache.len() > CACHE_ENTRIES {
        let mut count = 0;
        cache.retain(|_, _| {
            count += 1;
            count % 4 != 0
        });
    }
    Receipt { customer: order.customer, lines, total, known }
}

/// The page of a customer's last order.
fn receipt_page(state: &State, customer: &str) -> Option<String> {
    let customer = customer.replace("%20", " ");
    let items = state.cache.lock().unwrap().get(&customer)?.clone();
    Some(page::receipt(&customer, &items))
}

fn typed(mut reply: Reply, content_type: &'static str) -> Reply {
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

fn statistics_reply(prometheus: bool) -> Reply {
    if prometheus {
        typed(reply(StatusCode::OK, statistics::prometheus()), "text/plain; version=0.0.4")
    } else {
        typed(reply(StatusCode::OK, statistics::json()), "application/json")
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    let path = request.uri().path().to_owned();
    Ok(match (request.method(), path.as_str()) {
        (&Method::POST, "/order") => {
            let Ok(body) = request.into_body().collect().await else {
                return Ok(reply(StatusCode::BAD_REQUEST, "the body ended early\n"));
            };
            match serde_json::from_slice::<Order>(&body.to_bytes()) {
                Ok(order) => {
                    let receipt = take_order(&state, order);
                    let text = serde_json::to_vec(&receipt).unwrap_or_default();
                    typed(reply(StatusCode::OK, text), "application/json")
                }
                Err(error) => reply(StatusCode::BAD_REQUEST, format!("no order: {error}\n")),
            }
        }
        (&Method::GET, "/summary") => {
            typed(reply(StatusCode::OK, state.summary.lock().unwrap().clone()), "application/json")
        }
        (&Method::GET, "/stats") => {
            statistics_reply(request.uri().query() == Some("format=prometheus"))
        }
        (&Method::GET, "/metrics") => statistics_reply(true),
        (&Method::GET, _) if path.starts_with("/receipt/") => {
            match receipt_page(&state, &path["/receipt/".len()..]) {
                Some(text) => typed(reply(StatusCode::OK, text), "text/html; charset=utf-8"),
                None => reply(StatusCode::NOT_FOUND, "no such customer\n"),
            }
        }
        _ => reply(
            StatusCode::NOT_FOUND,
            "POST /order, GET /receipt/CUSTOMER, /summary, /stats or /metrics\n",
        ),
    })
}

/// Rebuilds the summary now and then, as services do beside their requests.
async fn summarize(state: Arc<State>) {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut counts: HashMap<String, u64> = HashMap::new();
        for items in state.cache.lock().unwrap().values() {
            for item in items {
                *counts.entry(item.name.clone()).or_default() += u64::from(item.count);
            }
        }
        let text = serde_json::to_string(&counts).unwrap_or_default();
        *state.summary.lock().unwrap() = text;
    }
}

/// The allocator's name; ends the program if another one serves.
fn proved_allocator() -> &'static str {
    let proof = carrel_select::prove();
    let holds = if cfg!(feature = "snmalloc") {
        proof.serving == carrel_select::Serving::Unknown
    } else {
        proof.holds()
    };
    assert!(holds, "{proof}");
    statistics::ALLOCATOR
}

async fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{} {}", proved_allocator(), listener.local_addr()?.port());
    let state = Arc::new(State::default());
    tokio::spawn(summarize(state.clone()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), request));
            // A client that goes away in the middle is no error of the service.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn main() -> std::io::Result<()> {
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        let _ = std::io::stdin().read_to_end(&mut rest);
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(serve())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_trimmed_when_it_is_full() {
        let state = State::default();
        let order = |n: usize| Order { customer: format!("customer {n}"), items: Vec::new() };
        for n in 0..CACHE_ENTRIES {
            take_order(&state, order(n));
        }
        assert_eq!(state.cache.lock().unwrap().len(), CACHE_ENTRIES);
        take_order(&state, order(CACHE_ENTRIES));
        let left = state.cache.lock().unwrap().len();
        assert_eq!(left, CACHE_ENTRIES + 1 - (CACHE_ENTRIES + 1) / 4);
    }
}
