//! After warm-up a worker allocates nothing: not per message, not per session.
//!
//! A program of its own, because it counts with its own allocator; only what the worker's thread
//! allocates is counted.
#![expect(unsafe_code, reason = "a counting allocator")]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringlane::balance::endpoint::{Address, Endpoint};
use ringlane::balance::{Candidates, Member, Policy};
use ringlane::bounds::{ARENA_BUFFERS_MIN, PIPES_MAX};
use ringlane::id::{ClusterId, EndpointId, Epoch, ListenerId, WorkerIndex};
use ringlane::limits::Limit;
use ringlane::metrics::WorkerCounters;
use ringlane::plan::WaitMode;
use ringlane::plan::options::ListenOptions;
use ringlane::ring::features::Features;
use ringlane::ring::uring::{Setup, Socket, Uring};
use ringlane::session::{Settings, Transport};
use ringlane::sys::{socket, wake::Waker};
use ringlane::update::{self, Bell, Command, Post, Wake};
use ringlane::view::{ClusterView, ListenerView, View};
use ringlane::worker::{Parts, Worker};

/// Counts what threads allocate that asked to be counted.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTED.get() {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: everything is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller says.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller says.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut reader = stream.try_clone().expect("a second handle");
                std::io::copy(&mut reader, &mut stream)
            });
        }
    });
    addr
}

fn view(endpoint: SocketAddr) -> View {
    let address = Address::Tcp(endpoint);
    let endpoint = Arc::new(Endpoint::new(EndpointId(1), "echo".to_string(), address, 1));
    let candidates = Candidates::new(vec![Member::new(endpoint, 1)]);
    let name = "default".to_string();
    let cluster = ClusterView::new(ClusterId(1), name, Policy::RoundRobin, candidates);
    let listener = Arc::new(ListenerView::new(
        ListenerId(1),
        "test".to_string(),
        0,
        Settings::default(),
    ));
    View {
        epoch: Epoch(1),
        listeners: vec![listener],
        clusters: vec![Arc::new(cluster)],
        evictions: Vec::new(),
    }
}

/// One session: exchanges so many messages, then ends in order.
fn session(addr: SocketAddr, messages: usize) {
    let mut client = TcpStream::connect(addr).expect("the worker accepts");
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout can be set");
    let mut answer = vec![0; 100];
    for _ in 0..messages {
        client.write_all(&[7; 100]).expect("sent");
        client.read_exact(&mut answer).expect("answered");
    }
    client
        .shutdown(Shutdown::Write)
        .expect("the connection stands");
    assert_eq!(client.read(&mut answer).expect("ended"), 0);
}

/// Many sessions at once: what sets the sizes of the worker's tables.
fn warm_up(addr: SocketAddr) {
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                for _ in 0..4 {
                    session(addr, 20);
                }
            });
        }
    });
}

fn order(post: &Post, waker: &Waker, command: Command) {
    if post
        .try_command(command)
        .is_ok_and(|wake| wake == Wake::Needed)
    {
        waker.wake();
    }
}

#[test]
fn messages_and_sessions_cost_no_allocation_after_warm_up() {
    let listener = socket::listen(
        SocketAddr::from(([127, 0, 0, 1], 0)),
        &ListenOptions::default(),
        128,
    )
    .expect("a free port");
    let addr = {
        use std::os::fd::AsFd;
        socket::local_addr(listener.as_fd()).expect("an address")
    };
    let features = Features::probe().expect("io_uring");
    let (events, _control) = update::events();
    let (post, inbox) = update::channel(WorkerIndex(0), events, Bell::silent());
    let (waker, wake) = Waker::new().expect("an eventfd");
    let first_view = Arc::new(view(echo()));
    let worker = std::thread::spawn(move || {
        let driver = Uring::new(&features, &SETUP, wake).expect("a ring");
        let mut worker = Worker::new(Parts {
            driver,
            listeners: vec![(0, Socket::new(listener, Transport::Tcp))],
            inbox,
            workers: 1,
            session_limit: Arc::new(Limit::new(1000)),
            counters: Arc::new(WorkerCounters::default()),
            waiting_max: 0,
            access: None,
            process_id: 7,
            seed: 1,
        });
        COUNTED.set(true);
        worker.run()
    });
    if post.publish(first_view) == Wake::Needed {
        waker.wake();
    }
    warm_up(addr);
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    assert!(before > 0, "the warm-up is counted");
    for _ in 0..500 {
        session(addr, 1);
    }
    session(addr, 20_000);
    let allocations = ALLOCATIONS.load(Ordering::SeqCst) - before;
    order(&post, &waker, Command::Stop);
    assert!(worker.join().is_ok_and(|outcome| outcome.is_ok()));
    assert_eq!(
        allocations, 0,
        "allocations in 500 sessions and 20,500 messages"
    );
}

const SETUP: Setup = Setup {
    buffers: ARENA_BUFFERS_MIN,
    slots: 0,
    pipes: PIPES_MAX,
    wait: WaitMode::Block,
};
