//! Bytes, ends and resets are carried through as they are.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use ringlane::error::CloseReason;
use ringlane::plan::EndpointPlan;
use ringlane::plan::place::Place;
use ringlane::ring::features::Features;
use socket2::SockRef;

use crate::support::endpoint::Endpoint;
use crate::support::program::Program;
use crate::support::{
    Balancer, End, finish, pattern, plan, prepare, read_to_end, reset, wait_until, write_in_pieces,
};

/// Sends random bytes through an echo and compares; both ways at once, in pieces of any size.
fn exchange(stream: TcpStream, seed: u64, bytes: usize) {
    let sent = pattern(seed, bytes);
    let reader = stream.try_clone().expect("a second handle");
    let expected = sent.clone();
    let reading = std::thread::spawn(move || {
        let mut reader = reader;
        let mut rng = fastrand::Rng::with_seed(seed + 1);
        let mut received = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let longest = 1 << rng.u32(0..=16);
            let count = reader.read(&mut buffer[..longest]).expect("the echo comes");
            if count == 0 {
                break;
            }
            received.extend_from_slice(&buffer[..count]);
        }
        assert!(
            received == expected,
            "{} of {} bytes came back",
            received.len(),
            expected.len()
        );
    });
    let mut rng = fastrand::Rng::with_seed(seed);
    write_in_pieces(&stream, &sent, &mut rng).expect("the balancer takes the bytes");
    finish(&stream);
    assert!(reading.join().is_ok(), "seed {seed}");
}

#[test]
fn bytes_come_through_unchanged_in_pieces_of_any_size() {
    let echo = Endpoint::echo();
    let balancer = Balancer::start(&plan(&[echo.addr]));
    std::thread::scope(|scope| {
        for seed in 0..16 {
            let stream = balancer.connect();
            scope.spawn(move || exchange(stream, seed * 1000, 1 << (seed + 6)));
        }
    });
    balancer.await_closed(CloseReason::Finished, 16);
    assert_eq!(balancer.closed_total(), 16);
}

#[test]
fn receives_of_one_buffer_each_carry_the_same_bytes() {
    let echo = Endpoint::echo();
    let mut features = Features::probe().expect("io_uring");
    features.byte_budget = false;
    let balancer = Balancer::start_with(&plan(&[echo.addr]), &features);
    for seed in 0..4 {
        exchange(balancer.connect(), seed, 1 << (5 * seed + 4));
    }
}

#[test]
fn a_unix_socket_is_an_endpoint_like_any_other() {
    let folder = tempfile();
    let path = folder.join("endpoint.sock");
    let listener = UnixListener::bind(&path).expect("a socket in a folder of our own");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = stream.try_clone().expect("a second handle");
                std::io::copy(&mut reader, &mut stream)
            });
        }
    });
    let mut plan = plan(&[]);
    plan.clusters[0].endpoints = vec![EndpointPlan::at(Place::Unix(path))];
    let balancer = Balancer::start(&plan);
    for seed in 0..4 {
        exchange(balancer.connect(), seed, 100_000);
    }
    balancer.await_closed(CloseReason::Finished, 4);
    std::fs::remove_dir_all(folder).expect("the folder is ours");
}

fn tempfile() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("ringlane-{:x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).expect("a folder of our own");
    folder
}

#[test]
fn a_client_that_has_finished_still_gets_the_answer() {
    // The endpoint answers only once it has seen the end of the request.
    let endpoint = Endpoint::serve(|mut stream| {
        let mut request = Vec::new();
        stream.read_to_end(&mut request)?;
        stream.write_all(&vec![b'a'; request.len() * 1000])
    });
    let balancer = Balancer::start(&plan(&[endpoint.addr]));
    let mut client = balancer.connect();
    client.write_all(b"request").expect("sent");
    finish(&client);
    let (answer, end) = read_to_end(&mut client);
    assert_eq!((answer.len(), end), (7000, End::Fin));
    balancer.await_closed(CloseReason::Finished, 1);
}

#[test]
fn an_endpoint_that_has_finished_still_gets_the_rest() {
    let (sender, received) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let endpoint = Endpoint::serve(move |mut stream| {
        stream.write_all(b"banner")?;
        stream.shutdown(Shutdown::Write)?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest)?;
        let _test_is_over = sender.lock().map(|sender| sender.send(rest));
        Ok(())
    });
    let balancer = Balancer::start(&plan(&[endpoint.addr]));
    let mut client = balancer.connect();
    let (banner, end) = read_to_end(&mut client);
    assert_eq!((banner.as_slice(), end), (&b"banner"[..], End::Fin));
    client
        .write_all(b"the rest")
        .expect("the other direction is open");
    finish(&client);
    assert_eq!(
        received.recv_timeout(Duration::from_secs(10)),
        Ok(b"the rest".to_vec())
    );
    balancer.await_closed(CloseReason::Finished, 1);
}

#[test]
fn a_reset_is_carried_over_as_a_reset_after_the_bytes_before_it() {
    let endpoint = Endpoint::serve(|mut stream| {
        let mut request = [0; 4];
        stream.read_exact(&mut request)?;
        stream.write_all(&[b'x'; 5000])?;
        // The bytes must have left for the reset not to overtake them.
        let socket = SockRef::from(&stream);
        while unacknowledged(&socket) > 0 {
            std::thread::yield_now();
        }
        let clone = stream.try_clone()?;
        drop(stream);
        reset(clone);
        Ok(())
    });
    let balancer = Balancer::start(&plan(&[endpoint.addr]));
    let mut client = balancer.connect();
    client.write_all(b"GET\n").expect("sent");
    let (answer, end) = read_to_end(&mut client);
    assert_eq!((answer.len(), end), (5000, End::Reset));
    balancer.await_closed(CloseReason::EndpointReset, 1);
}

/// Whether the peer still has to acknowledge something, by the state that the kernel shows.
fn unacknowledged(socket: &SockRef<'_>) -> u32 {
    use std::os::fd::AsFd;
    ringlane::sys::socket::unsent_bytes(socket.as_fd())
}

#[test]
fn a_client_reset_reaches_the_endpoint_as_a_reset() {
    let (sender, ends) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let endpoint = Endpoint::serve(move |mut stream| {
        stream.write_all(b"hello")?;
        let (bytes, end) = read_to_end(&mut stream);
        let _test_is_over = sender.lock().map(|sender| sender.send((bytes, end)));
        Ok(())
    });
    let balancer = Balancer::start(&plan(&[endpoint.addr]));
    let mut client = balancer.connect();
    let mut hello = [0; 5];
    client
        .read_exact(&mut hello)
        .expect("the endpoint speaks first");
    reset(client);
    assert_eq!(
        ends.recv_timeout(Duration::from_secs(10)),
        Ok((Vec::new(), End::Reset))
    );
    balancer.await_closed(CloseReason::ClientReset, 1);
}

#[test]
fn aborts_in_the_middle_leave_nothing_behind() {
    let echo = Endpoint::echo();
    let balancer = Balancer::start(&plan(&[echo.addr]));
    let mut rng = fastrand::Rng::with_seed(11);
    for round in 0..100 {
        let client = balancer.connect();
        let bytes = pattern(round, rng.usize(0..300_000));
        client.set_nonblocking(true).expect("an option can be set");
        // As much as fits without reading the echo; the rest is never sent.
        let _full = write_in_pieces(&client, &bytes, &mut rng);
        match rng.u32(0..3) {
            0 => reset(client),
            1 => drop(client),
            _ => {
                finish(&client);
                reset(client);
            }
        }
    }
    wait_until("every session is over", || balancer.closed_total() == 100);
    let running = balancer.running();
    assert_eq!(running.session_limit().count(), 0);
    assert!(
        running
            .endpoints()
            .iter()
            .all(|endpoint| endpoint.open_sessions() == 0)
    );
    assert_eq!(balancer.closed(CloseReason::Internal), 0);
}

#[test]
fn a_reset_is_seen_while_nothing_is_received() {
    // The endpoint reads nothing, so the client's side backs up and is not received from; then the
    // client resets.
    let endpoint = Endpoint::serve(|stream| {
        SockRef::from(&stream).set_recv_buffer_size(4096)?;
        std::thread::park();
        Ok(())
    });
    let balancer = Balancer::start(&plan(&[endpoint.addr]));
    let client = balancer.connect();
    client.set_nonblocking(true).expect("an option can be set");
    let block = vec![0; 1 << 20];
    wait_until("the way is full", || {
        let mut stream = &client;
        stream.write(&block).is_err()
    });
    reset(client);
    balancer.await_closed(CloseReason::ClientReset, 1);
}

#[test]
fn a_reader_with_a_small_window_gets_all_and_memory_stays_bounded() {
    const BYTES: usize = 64 << 20;
    let endpoint = Endpoint::serve(|mut stream| {
        let block = pattern(5, 1 << 20);
        for _ in 0..BYTES >> 20 {
            stream.write_all(&block)?;
        }
        Ok(())
    });
    let program = Program::run(&["--to", &endpoint.addr.to_string(), "--workers", "1"]);
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket
        .set_recv_buffer_size(4096)
        .expect("an option can be set");
    let before = program.memory("VmRSS");
    socket
        .connect(&program.addr.into())
        .expect("the balancer accepts");
    let mut client = TcpStream::from(socket);
    prepare(&client);
    let block = pattern(5, 1 << 20);
    let mut received = vec![0; 1 << 20];
    let mut most = 0;
    for part in 0..BYTES >> 20 {
        client.read_exact(&mut received).expect("the bytes come");
        assert!(received == block, "MiB {part} is changed");
        most = most.max(program.memory("VmRSS"));
    }
    assert_eq!(read_to_end(&mut client), (Vec::new(), End::Fin));
    let growth = most.saturating_sub(before);
    // The buffers that the kernel is shown go round, 2 MiB of them; the window is 128 KiB.
    assert!(growth < 4 << 20, "the program grew by {growth} bytes");
}
