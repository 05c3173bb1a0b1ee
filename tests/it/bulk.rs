//! Bulk: hundreds of MiB through one session, by pipes or by copying, to their end or cut off.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ringlane::error::CloseReason;
use ringlane::plan::place::Place;
use ringlane::plan::{EndpointPlan, Plan};
use ringlane::sys::clock;
use ringlane::sys::socket::unsent_bytes;

use crate::support::endpoint::Endpoint;
use crate::support::folder::Folder;
use crate::support::program::Program;
use crate::support::{
    Balancer, End, PATIENCE, connect, finish, pattern, plan, read_to_end, reset, wait_until,
};

const MIB: usize = 1 << 20;

/// How many pipes a worker has: as many as it likes, one for both directions, none.
const PIPES: [usize; 3] = [256, 1, 0];

/// What goes one way, over and over again: its length is prime, so that nothing can be missing or
/// in another place unseen.
fn block(way: u64) -> Vec<u8> {
    pattern(way, 1_000_003)
}

const UP: u64 = 1;
const DOWN: u64 = 2;

/// Writes so many bytes of one way.
fn write_way(mut stream: impl Write, way: u64, bytes: usize) {
    let block = block(way);
    let mut rest = bytes;
    while rest > 0 {
        let piece = &block[..rest.min(block.len())];
        stream.write_all(piece).expect("the way is open");
        rest -= piece.len();
    }
}

/// Reads so many bytes of one way and compares them.
fn read_way(mut stream: impl Read, way: u64, bytes: usize) {
    let block = block(way);
    let mut received = vec![0; block.len()];
    let mut rest = bytes;
    while rest > 0 {
        let piece = rest.min(block.len());
        stream
            .read_exact(&mut received[..piece])
            .expect("the bytes come");
        assert!(
            received[..piece] == block[..piece],
            "changed, {rest} bytes before the end of way {way}"
        );
        rest -= piece;
    }
}

fn assert_end(mut stream: impl Read) {
    let end = stream.read(&mut [0]).expect("an end in order");
    assert_eq!(end, 0, "bytes behind the last");
}

/// Sends and receives at the same time, and says when all is sent.
fn both_ways<S: Read + Write + Send>(
    streams: (S, S),
    sent: (u64, usize),
    received: (u64, usize),
    finish: impl FnOnce(&S) + Send,
) {
    let (mut writing, mut reading) = streams;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            write_way(&mut writing, sent.0, sent.1);
            finish(&writing);
        });
        read_way(&mut reading, received.0, received.1);
        assert_end(&mut reading);
    });
}

fn tcp_pair(stream: &TcpStream) -> (TcpStream, TcpStream) {
    let pair = || stream.try_clone().expect("a second handle");
    (pair(), pair())
}

/// A plan with one worker, and that many pipes.
fn plan_with(pipes: usize, place: Place) -> Plan {
    let mut plan = plan(&[]);
    plan.workers.count = Some(1);
    plan.workers.pipes = pipes;
    plan.clusters[0].endpoints = vec![EndpointPlan::at(place)];
    plan
}

fn bulks(balancer: &Balancer) -> u64 {
    let counters = balancer.running().counters().iter();
    counters.map(|worker| worker.bulks.value()).sum()
}

/// What the only worker has given out: pipes of the kernel, others, buffers.
fn given_out(balancer: &Balancer) -> [u64; 3] {
    let worker = &balancer.running().counters()[0];
    [
        worker.pipes.value(),
        worker.memory_pipes.value(),
        worker.buffers.value() - worker.free_buffers(),
    ]
}

/// Everything both ways at once through one session over TCP.
fn exchange_over_tcp(pipes: usize, up: usize, down: usize) {
    let (done, over) = channel();
    let done = Mutex::new(done);
    let endpoint = Endpoint::serve(move |stream| {
        both_ways(tcp_pair(&stream), (DOWN, down), (UP, up), finish);
        let _test_is_over = done.lock().map(|done| done.send(()));
        Ok(())
    });
    let balancer = Balancer::start(&plan_with(pipes, Place::Address(endpoint.addr)));
    let client = balancer.connect();
    both_ways(tcp_pair(&client), (UP, up), (DOWN, down), finish);
    assert_eq!(over.recv_timeout(PATIENCE), Ok(()), "the endpoint is right");
    balancer.await_closed(CloseReason::Finished, 1);
    assert!(bulks(&balancer) > 0, "no bulk with {pipes} pipes");
}

#[test]
fn all_bytes_come_through_both_ways_at_once() {
    for pipes in PIPES {
        exchange_over_tcp(pipes, 200 * MIB, 200 * MIB);
    }
}

#[test]
fn all_bytes_come_through_one_way() {
    for pipes in PIPES {
        exchange_over_tcp(pipes, 200 * MIB, 0);
        exchange_over_tcp(pipes, 1, 200 * MIB + 1);
    }
}

#[test]
fn all_bytes_come_through_to_a_unix_endpoint_and_back() {
    const BYTES: usize = 200 * MIB + 12_345;
    let folder = Folder::new();
    let path = folder.join("bulk.sock");
    let listener = UnixListener::bind(&path).expect("a path of our own");
    let finish_unix = |stream: &UnixStream| {
        stream.shutdown(Shutdown::Write).expect("it stands");
    };
    let endpoint = std::thread::spawn(move || {
        for _ in PIPES {
            let (stream, _) = listener.accept().expect("the balancer connects");
            let pair = || stream.try_clone().expect("a second handle");
            both_ways((pair(), pair()), (DOWN, BYTES), (UP, BYTES), finish_unix);
        }
    });
    for pipes in PIPES {
        let balancer = Balancer::start(&plan_with(pipes, Place::Unix(path.clone())));
        let client = balancer.connect();
        both_ways(tcp_pair(&client), (UP, BYTES), (DOWN, BYTES), finish);
        balancer.await_closed(CloseReason::Finished, 1);
        assert!(bulks(&balancer) > 0, "no bulk with {pipes} pipes");
    }
    assert!(endpoint.join().is_ok(), "the endpoint is right");
}

#[test]
fn one_way_ends_while_the_other_goes_on() {
    for pipes in PIPES {
        let (done, over) = channel();
        let done = Mutex::new(done);
        let endpoint = Endpoint::serve(move |stream| {
            // The end of the one way comes while the other is in the middle.
            write_way(&stream, DOWN, 20 * MIB);
            read_way(&stream, UP, 20 * MIB);
            assert_end(&stream);
            write_way(&stream, DOWN + 1, 20 * MIB);
            let _test_is_over = done.lock().map(|done| done.send(()));
            Ok(())
        });
        let balancer = Balancer::start(&plan_with(pipes, Place::Address(endpoint.addr)));
        let client = balancer.connect();
        let writing = client.try_clone().expect("a second handle");
        let writer = std::thread::spawn(move || {
            write_way(&writing, UP, 20 * MIB);
            finish(&writing);
        });
        read_way(&client, DOWN, 20 * MIB);
        read_way(&client, DOWN + 1, 20 * MIB);
        assert_end(&client);
        assert!(writer.join().is_ok());
        assert_eq!(over.recv_timeout(PATIENCE), Ok(()), "the endpoint is right");
        balancer.await_closed(CloseReason::Finished, 1);
        assert!(bulks(&balancer) > 0);
        wait_until("all is given back", || given_out(&balancer) == [0, 0, 0]);
        let worker = &balancer.running().counters()[0];
        assert!(worker.turn_completions.most(clock::now()) > 0);
        let least = worker.free_buffers_min(clock::now());
        assert!(least < worker.free_buffers(), "there were fewer: {least}");
    }
}

/// Waits until this host's other side has all that was written.
fn await_acknowledged(stream: &TcpStream) {
    wait_until("all has been acknowledged", || {
        unsent_bytes(stream.as_fd()) == 0
    });
}

#[test]
fn a_client_s_reset_comes_after_what_it_had_sent() {
    const BYTES: usize = 24 * MIB;
    for pipes in PIPES {
        let (done, over) = channel();
        let done = Mutex::new(done);
        let endpoint = Endpoint::serve(move |mut stream| {
            read_way(&stream, UP, BYTES);
            let rest = read_to_end(&mut stream);
            let _test_is_over = done.lock().map(|done| done.send(rest));
            Ok(())
        });
        let balancer = Balancer::start(&plan_with(pipes, Place::Address(endpoint.addr)));
        let client = balancer.connect();
        write_way(&client, UP, BYTES);
        await_acknowledged(&client);
        reset(client);
        assert_eq!(over.recv_timeout(PATIENCE), Ok((Vec::new(), End::Reset)));
        balancer.await_closed(CloseReason::ClientReset, 1);
        assert!(bulks(&balancer) > 0);
    }
}

#[test]
fn an_endpoint_s_reset_comes_after_what_it_had_sent() {
    const BYTES: usize = 24 * MIB;
    for pipes in PIPES {
        let endpoint = Endpoint::serve(|stream| {
            write_way(&stream, DOWN, BYTES);
            await_acknowledged(&stream);
            reset(stream);
            Ok(())
        });
        let balancer = Balancer::start(&plan_with(pipes, Place::Address(endpoint.addr)));
        let mut client = balancer.connect();
        read_way(&client, DOWN, BYTES);
        assert_eq!(read_to_end(&mut client), (Vec::new(), End::Reset));
        balancer.await_closed(CloseReason::EndpointReset, 1);
        assert!(bulks(&balancer) > 0);
    }
}

#[test]
fn a_reader_that_resets_ends_the_writer() {
    for pipes in PIPES {
        let (done, over) = channel();
        let done = Mutex::new(done);
        let endpoint = Endpoint::serve(move |mut stream| {
            let block = block(DOWN);
            let error = loop {
                if let Err(error) = stream.write_all(&block) {
                    break error.kind();
                }
            };
            let _test_is_over = done.lock().map(|done| done.send(error));
            Ok(())
        });
        let balancer = Balancer::start(&plan_with(pipes, Place::Address(endpoint.addr)));
        let client = balancer.connect();
        read_way(&client, DOWN, 10 * MIB);
        reset(client);
        let error = over.recv_timeout(PATIENCE).expect("the writer ends");
        assert!(
            matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{error}"
        );
        balancer.await_closed(CloseReason::ClientReset, 1);
        assert!(bulks(&balancer) > 0);
    }
}

/// An endpoint that reads a part, waits for a word, and reads the rest.
fn pausing(part: usize, rest: usize, go_on: Receiver<()>) -> (Endpoint, Receiver<()>) {
    let (done, over) = channel();
    let shared = Mutex::new((go_on, done));
    let endpoint = Endpoint::serve(move |stream| {
        read_way(&stream, UP, part);
        if let Ok(shared) = shared.lock() {
            let _word = shared.0.recv_timeout(PATIENCE);
            read_way(&stream, UP, rest);
            assert_end(&stream);
            let _test_is_over = shared.1.send(());
        }
        Ok(())
    });
    (endpoint, over)
}

#[test]
fn a_reader_that_stops_for_a_while_gets_all() {
    // Whole blocks: the second part begins like the first.
    let part = 10 * block(UP).len();
    for pipes in PIPES {
        let (word, go_on) = channel();
        let (endpoint, over) = pausing(part, 4 * part, go_on);
        let balancer = Balancer::start(&plan_with(pipes, Place::Address(endpoint.addr)));
        let client = balancer.connect();
        let writing = client.try_clone().expect("a second handle");
        let writer = std::thread::spawn(move || {
            write_way(&writing, UP, 5 * part);
            finish(&writing);
        });
        let came = || {
            let counters = balancer.running().counters().iter();
            let bytes: u64 = counters.map(|worker| worker.client_bytes.value()).sum();
            bytes
        };
        let (mut last, mut since) = (0, Instant::now());
        wait_until("the way is full", || {
            if came() != last {
                (last, since) = (came(), Instant::now());
            }
            last > part as u64 && since.elapsed() > Duration::from_millis(100)
        });
        assert!(last < 5 * part as u64, "nothing was held back");
        let full = [u64::from(pipes > 0), u64::from(pipes == 0), 0];
        wait_until("one pipe is counted", || given_out(&balancer) == full);
        word.send(()).expect("the endpoint waits");
        assert_eq!(over.recv_timeout(PATIENCE), Ok(()), "the endpoint is right");
        assert!(writer.join().is_ok());
        drop(client);
        balancer.await_closed(CloseReason::Finished, 1);
        assert!(bulks(&balancer) > 0);
    }
}

#[test]
fn no_kernel_thread_helps_with_bulk() {
    for pipes in PIPES {
        let endpoint = Endpoint::serve(|stream| {
            let pair = tcp_pair(&stream);
            both_ways(pair, (DOWN, 16 * MIB), (UP, 16 * MIB), finish);
            Ok(())
        });
        let to = endpoint.addr.to_string();
        let words = ["--to", &to, "--workers", "1", "--pipes", &pipes.to_string()];
        let program = Program::run(&words);
        let clients: Vec<_> = (0..6)
            .map(|_| {
                let client = connect(program.addr);
                std::thread::spawn(move || {
                    both_ways(tcp_pair(&client), (UP, 16 * MIB), (DOWN, 16 * MIB), finish);
                })
            })
            .collect();
        while !clients.iter().all(std::thread::JoinHandle::is_finished) {
            let names = program.threads();
            let helps = |name: &String| name.starts_with("iou-wrk");
            assert!(!names.iter().any(helps), "{names:?}");
            std::thread::yield_now();
        }
        for client in clients {
            assert!(client.join().is_ok());
        }
    }
}
