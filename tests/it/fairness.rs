//! One session that misbehaves does not slow the others down.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::support::endpoint::Endpoint;
use crate::support::{Balancer, plan, wait_until};

const SESSIONS: usize = 100;

/// The p99 of a small exchange over many sessions, one after the other.
fn p99(clients: &mut [TcpStream]) -> Duration {
    let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
    let mut answer = [0; 64];
    for _ in 0..20 {
        for client in clients.iter_mut() {
            let start = Instant::now();
            client.write_all(&[7; 64]).expect("sent");
            client.read_exact(&mut answer).expect("answered");
            latencies.saturating_record(start.elapsed().as_nanos() as u64);
        }
    }
    Duration::from_nanos(latencies.value_at_quantile(0.99))
}

/// An endpoint that echoes, or, if the first byte says so, reads nothing more.
fn moody() -> Endpoint {
    Endpoint::serve(|mut stream| {
        let mut first = [0];
        stream.read_exact(&mut first)?;
        if first == DEAD {
            std::thread::park();
        }
        let mut reader = stream.try_clone()?;
        std::io::copy(&mut reader, &mut stream).map(drop)
    })
}

const DEAD: [u8; 1] = [0];
const ECHO: [u8; 1] = [1];

fn connect(balancer: &Balancer, manner: [u8; 1]) -> TcpStream {
    let mut client = balancer.connect();
    client.write_all(&manner).expect("sent");
    client
}

#[test]
fn a_flooder_with_a_dead_reader_does_not_slow_a_hundred_others() {
    let endpoint = moody();
    let mut plan = plan(&[endpoint.addr]);
    // One worker, so that all sessions meet.
    plan.workers.count = Some(1);
    let balancer = Balancer::start(&plan);
    let mut clients: Vec<TcpStream> = (0..SESSIONS).map(|_| connect(&balancer, ECHO)).collect();
    let flooder = connect(&balancer, DEAD);
    let quiet: Vec<Duration> = (0..3).map(|_| p99(&mut clients)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let flooding = flood(flooder, Arc::clone(&stop));
    let flooded: Vec<Duration> = (0..3).map(|_| p99(&mut clients)).collect();
    stop.store(true, Ordering::Relaxed);
    assert!(flooding.join().is_ok_and(|bytes| bytes > 1 << 20));
    let (quiet, flooded) = (median(quiet), median(flooded));
    assert!(
        flooded <= 3 * quiet,
        "p99 went from {quiet:?} to {flooded:?}"
    );
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[values.len() / 2]
}

/// Sends as much as is taken, until told to stop; returns how much that was.
fn flood(flooder: TcpStream, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    flooder
        .set_write_timeout(Some(Duration::from_millis(20)))
        .expect("a timeout can be set");
    std::thread::spawn(move || {
        let mut flooder = flooder;
        let block = vec![0; 1 << 16];
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            sent += flooder.write(&block).unwrap_or(0);
        }
        sent
    })
}

#[test]
fn two_hundred_dead_readers_do_not_take_all_buffers() {
    let endpoint = moody();
    let mut plan = plan(&[endpoint.addr]);
    plan.workers.count = Some(1);
    // A small process: the smallest arena.
    plan.max_sessions = Some(500);
    let balancer = Balancer::start(&plan);
    let mut clients: Vec<TcpStream> = (0..200).map(|_| connect(&balancer, ECHO)).collect();
    let mut flooders: Vec<TcpStream> = (0..200).map(|_| connect(&balancer, DEAD)).collect();
    let block = vec![0; 1 << 16];
    for flooder in &mut flooders {
        flooder.set_nonblocking(true).expect("an option can be set");
        wait_until("the way is full", || flooder.write(&block).is_err());
    }
    let mut answer = [0; 64];
    for client in &mut clients {
        client.write_all(&[7; 64]).expect("sent");
        client
            .read_exact(&mut answer)
            .expect("answered beside the flooders");
    }
}
