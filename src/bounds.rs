//! Every fixed limit of the program, and what holds between them.
//!
//! A number that bounds a queue, a table, a wait or a buffer stands here and nowhere else.
#![forbid(unsafe_code)]

use std::time::Duration;

/// The size of one buffer of a worker's arena, in bytes.
///
/// Large enough that eight of them gathered are near the cost of much larger ones (0.61 against
/// 0.56 of HAProxy's CPU per MiB), small enough that a message wastes little.
pub const BUFFER_BYTES: usize = 16 * 1024;

/// The smallest and largest number of buffers in an arena. The kernel's buffer ring holds at most
/// 32,768 entries; memory that was never used is never resident.
pub const ARENA_BUFFERS_MIN: usize = 1024;
/// See [`ARENA_BUFFERS_MIN`].
pub const ARENA_BUFFERS_MAX: usize = 16 * 1024;

/// One part in this many of an arena is kept for output buffers; receiving cannot drain it.
pub const RESERVE_PART: usize = 8;

/// No connection holds more than one part in this many of the buffers that are free.
pub const SHARE_PART: usize = 16;

/// How many buffers the kernel is shown at first. Few, so that small messages stay in cache; the
/// number doubles when a turn has run out of them.
pub const POSTED_BUFFERS_MIN: usize = 128;

/// The most bytes in one direction of a session that may wait to be sent, in flight included.
pub const WINDOW_BYTES: usize = 8 * BUFFER_BYTES;

/// A turn that brought at least so many bytes from one side counts as a full one. Below, receiving
/// and sending costs less than splicing (64 B: 6.5 against 7.1 us, 16 KiB: 7.4 against 7.3).
pub const BULK_TURN_BYTES: u32 = BUFFER_BYTES as u32;

/// After so many full turns in a row bytes go by splice.
pub const BULK_TURNS: i8 = 4;

/// After so many readable moments in a row at which less than a full turn's bytes came, bytes go by
/// buffers again.
pub const BULK_LEAN_MOMENTS: u8 = 16;

/// Where no pipe was free, so many full turns more are to pass before the next is asked for.
pub const BULK_REFUSED_TURNS: i8 = 64;

/// The most bytes that one direction moves by splice before others get their turn.
pub const BULK_PUMP_BYTES: u32 = 1024 * 1024;

/// What a pipe holds. Under a congestion control that paces, fewer and larger sends cost less:
/// 0.52-0.57 of HAProxy's CPU per MiB, 0.61 with 256 KiB.
pub const PIPE_BYTES: u32 = 1024 * 1024;

/// What is copied through memory at a time, where there is no pipe: 0.64 of HAProxy's CPU per MiB
/// under bbr; 256 KiB 0.67 to 0.73, 1 MiB 0.97, 128 KiB 1.3.
pub const MEMORY_PIPE_BYTES: u32 = 512 * 1024;

/// A pipe that holds less is not worth it.
pub const PIPE_BYTES_MIN: u32 = 64 * 1024;

/// The most empty pipes that a worker keeps open.
pub const PIPES_KEPT: usize = 16;

/// The most bytes of memory, in units of a pipe, that a worker copies bulk through where it has no
/// pipe: 16 MiB.
pub const MEMORY_PIPES_MAX: usize = 32;

/// How much of it is kept while nothing goes through it.
pub const MEMORY_PIPES_KEPT: usize = 2;

/// The most chunks that one send gathers.
pub const GATHER_CHUNKS: usize = 8;

/// For each buffer of an arena there is room for so many chunks that wait.
pub const WAITING_PART: usize = 2;

/// The most buffers that the kernel is shown at a time. Their ring counts as locked memory.
pub const POSTED_BUFFERS_MAX: usize = 4096;

/// Submission queue entries of a worker's ring; when it is full, it is submitted early.
pub const SQ_ENTRIES: u32 = 1024;

/// Completion queue entries of a worker's ring: a whole backlog and a busy turn fit.
pub const CQ_ENTRIES: u32 = 8 * 1024;

/// A worker that waits for a batch takes so many completions for one, or what there is at this time
/// after the first. Shorter windows cost more than they save.
pub const BATCH_COMPLETIONS: u32 = 64;
/// See [`BATCH_COMPLETIONS`].
pub const BATCH_WAIT: Duration = Duration::from_micros(100);

/// How long a worker that spins looks for completions before it sleeps.
pub const SPIN_TIME: Duration = Duration::from_micros(50);

/// How often both queues may be halved where locked memory is short.
pub const QUEUE_HALVINGS_MAX: u32 = 3;

/// The most connections that the kernel queues for one worker's listener, unless the configuration
/// says otherwise; the kernel cuts this to `net.core.somaxconn`.
pub const BACKLOG_MAX: i32 = 4096;

/// One part in this many of the descriptors is for pipes, at most.
pub const PIPES_PART: usize = 32;

/// The most clients that one listener accepts before others get their turn, where each needs a
/// place first.
pub const ACCEPTS_MAX: usize = 64;

/// The most workers of one process.
pub const WORKERS_MAX: usize = 1024;

/// The most listeners of one process.
pub const LISTENERS_MAX: usize = 256;

/// The most clusters of one process.
pub const CLUSTERS_MAX: usize = 1024;

/// The longest name of a listener, a cluster or an endpoint, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// The most bytes of all custom fields of a PROXY protocol header together.
pub const PROXY_CUSTOM_BYTES_MAX: usize = 1024;

/// The most pipes of one worker, and how many it has unless told otherwise. Each holds 1 MiB.
pub const PIPES_MAX: usize = 256;

/// The most endpoints of one cluster.
pub const ENDPOINTS_MAX: usize = 16 * 1024;

/// The greatest weight of an endpoint.
pub const WEIGHT_MAX: u32 = 10_000;

/// The most slots of a weighted round robin's cycle; shares are exact to one part in this many.
pub const CYCLE_SLOTS_MAX: usize = 4096;

/// The most connect attempts that one session may be configured to make.
pub const TRIES_MAX: usize = 8;

/// The greatest priority that may be configured for an endpoint; smaller ones go first.
pub const PRIORITY_MAX: u16 = 255;

/// The most successes or failures in a row that may be configured to change what is thought of an
/// endpoint.
pub const THRESHOLD_MAX: u32 = 1000;

/// The shortest interval at which an endpoint may be probed, or a name looked up.
pub const REPEAT_MIN: Duration = Duration::from_millis(10);

/// The longest time for which a recovered endpoint may have less than its share.
pub const SLOW_START_MAX: Duration = Duration::from_secs(24 * 3600);

/// The most bytes of any text or pattern that a probe sends or looks for.
pub const PROBE_TEXT_BYTES_MAX: usize = 4096;

/// The most statuses, or ranges of them, that one check may name.
pub const PROBE_STATUSES_MAX: usize = 64;

/// The most bytes of a secret.
pub const SECRET_BYTES_MAX: usize = 4096;

/// The most names that clients may address the admin interface by.
pub const ADMIN_HOSTS_MAX: usize = 64;

/// The most name servers that may be configured.
pub const DNS_SERVERS_MAX: usize = 8;

/// The longest that one name server may be configured to take for an answer.
pub const DNS_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// The most rounds in which all name servers are asked.
pub const DNS_ATTEMPTS_MAX: u8 = 10;

/// How often a session picks anew because another worker took the last place at the endpoint that
/// it had picked.
pub const PICKS_MAX: usize = 16;

/// Up to this many endpoints `least_conn` looks at all of them, above at four random ones.
pub const SCAN_ENDPOINTS_MAX: usize = 128;

/// How long a worker avoids an endpoint on which it has just seen a failure too many. Control ejects
/// it sooner, unless it is stalled.
pub const AVOID_TIME: Duration = Duration::from_secs(1);

/// The most endpoints of one cluster that a worker avoids at a time.
pub const AVOIDED_MAX: usize = 8;

/// An endpoint that finishes a connection on which neither side has spoken for so long is not to
/// blame: it has had enough of an idle client.
pub const SILENCE_TIME: Duration = Duration::from_secs(1);

/// How long a session may hold the permit to try an endpoint that was ejected.
pub const TRIAL_TIME: Duration = Duration::from_secs(15);

/// How many sessions a worker looks at in one turn when it ends those of an endpoint: 50 us.
pub const SWEEP_SESSIONS: usize = 1024;

/// In so many steps a new or recovered endpoint gets its share, where that is to be slow.
pub const RAMP_STEPS: u32 = 10;

/// How long after its time the order to end the sessions of a removed endpoint still stands, even
/// if it seems to have none.
pub const LEAVING_TIME: Duration = Duration::from_secs(10);

/// A worker that has not turned for so long, although it was nudged, is stalled.
pub const STALL_TIME: Duration = Duration::from_secs(3);

/// How often control looks at everything, asked or not.
pub const TICK_OF_CONTROL: Duration = Duration::from_secs(1);

/// Views are published at most so often.
pub const PUBLISH_INTERVAL: Duration = Duration::from_millis(20);

/// How long names may take to be looked up before workers begin without them.
pub const LOOKUP_PATIENCE: Duration = Duration::from_secs(3);

/// How long the first round of probes is waited for before it counts as ready.
pub const FIRST_ROUND_PATIENCE: Duration = Duration::from_secs(3);

/// How long whoever has changed something, a start too, waits for the workers to take it.
pub const ACKNOWLEDGE_WAIT: Duration = Duration::from_secs(2);

/// Submission queue entries of control's ring.
pub const CONTROL_RING_ENTRIES: u32 = 256;

/// The most orders of the process that may wait for control.
pub const ORDERS_MAX: usize = 64;

/// The most news that may wait for the process: one for each worker, and the end.
pub const NEWS_MAX: usize = WORKERS_MAX + 2;

/// The most requests of the admin interface that may wait for control.
pub const REQUESTS_MAX: usize = 128;

/// The most sessions a process allows itself, whatever its descriptors would allow.
pub const SESSIONS_MAX: usize = 4 * 1024 * 1024;

/// Descriptors that sessions cannot use: logs, rings, listeners, the admin interface.
pub const DESCRIPTORS_KEPT: u64 = 32;

/// The longest PROXY protocol header that is read or written, in bytes. The specification wants 536
/// to be enough; a certificate among its fields may be longer, and others read no more than this.
pub const PROXY_HEADER_BYTES_MAX: usize = 4096;

/// The most commands that may wait for one worker.
pub const COMMANDS_MAX: usize = 64;

/// The most events of workers that may wait for control.
pub const EVENTS_MAX: usize = 4096;

/// The most records of sessions that may wait to be written to the access log.
pub const ACCESS_RECORDS_MAX: usize = 8192;

/// The access log is written as soon as so many bytes of lines are ready.
pub const ACCESS_BATCH_BYTES: usize = 256 * 1024;

/// How long the access log sleeps between two batches, and how long it waits for a receiver of
/// datagrams that is busy. Whoever has to wake it up instead pays 8 us.
pub const ACCESS_PAUSE: Duration = Duration::from_millis(20);

/// After so long without a record the access log has to be woken up.
pub const ACCESS_QUIET: Duration = Duration::from_secs(1);

/// How often the access log tries again to open its file.
pub const ACCESS_REOPEN_RETRY: Duration = Duration::from_secs(1);

/// How often it is said, at most, that lines of the access log were lost.
pub const ACCESS_LOSS_TOLD: Duration = Duration::from_secs(10);

/// How long the end of the process waits for the access log.
pub const ACCESS_FLUSH_TIME: Duration = Duration::from_millis(500);

/// The most probes of endpoints that are under way at a time; further ones wait. There are never
/// more than there are endpoints, and each holds a descriptor.
pub const PROBES_MAX: usize = 256;

/// Submission queue entries of the prober's ring; its completion queue has twice as many. A probe
/// has one operation in flight and leaves at most two behind, a cancel and a close.
pub const PROBER_ENTRIES: u32 = 512;

/// The most reports of probes that may wait for control. Of what says nothing new there may be this
/// many, for 2,000 endpoints those of a minute.
pub const PROBE_REPORTS_MAX: usize = 64 * 1024;

/// The first round of probes is over after this time, if no interval is longer.
pub const PROBE_SPREAD: Duration = Duration::from_secs(1);

/// A probe whose timeout is noticed later than this, and later than one part in
/// [`PROBE_LATE_PART`] of the timeout, counts neither way.
pub const PROBE_LATE: Duration = Duration::from_millis(50);
/// See [`PROBE_LATE`].
pub const PROBE_LATE_PART: u32 = 4;

/// Nothing that the prober waits for is further away than this; it looks again then.
pub const PROBER_WAIT_MAX: Duration = Duration::from_secs(3600);

/// How long whoever ends the prober waits for its thread.
pub const PROBER_STOP_TIME: Duration = Duration::from_secs(1);

/// The most bytes of a probe's answer that are looked through for what is expected.
pub const PROBE_ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The longest head of a probe's HTTP answer, in bytes, and the most headers in it.
pub const PROBE_HEAD_BYTES_MAX: usize = 16 * 1024;
/// See [`PROBE_HEAD_BYTES_MAX`].
pub const PROBE_HEADERS_MAX: usize = 128;

/// The most bytes of an HTTP answer's body that are looked through.
pub const PROBE_BODY_BYTES_MAX: usize = 64 * 1024;

/// The most bytes of an HTTP answer in all: a body in small chunks is longer than what is in it.
pub const PROBE_HTTP_BYTES_MAX: usize = 256 * 1024;

/// The longest first line of a chunk of a body, in bytes.
pub const PROBE_CHUNK_LINE_BYTES_MAX: usize = 256;

/// What a probe reads at a time.
pub const PROBE_READ_BYTES: usize = 4 * 1024;

/// The most bytes of one configuration file.
pub const CONFIG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most files of a configuration folder.
pub const CONFIG_FILES_MAX: usize = 1024;

/// The most errors of a configuration that are told; further ones are counted.
pub const CONFIG_ERRORS_MAX: usize = 1000;

/// The most names that are looked up at a time; each has two sockets at most.
pub const LOOKUPS_MAX: usize = 16;

/// How long the look-up of one name may take in all.
pub const LOOKUP_TIME_MAX: Duration = Duration::from_secs(30);

/// The least time between two look-ups of one name, whatever its time to live.
pub const LOOKUP_PAUSE_MIN: Duration = Duration::from_millis(10);

/// The most time between two look-ups of one name, whatever its time to live.
pub const LOOKUP_PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The most time before a look-up that failed is tried again, unless the shortest use of an answer
/// is longer.
pub const LOOKUP_RETRY_MAX: Duration = Duration::from_secs(60);

/// The most addresses of one name, or of one service.
pub const ADDRESSES_MAX: usize = 256;

/// The most targets of one service.
pub const SERVICE_TARGETS_MAX: usize = 64;

/// The most aliases from a name to its addresses.
pub const ALIASES_MAX: usize = 8;

/// The largest answer that name servers are asked to send in a datagram, in bytes: it passes every
/// ordinary path in one piece. Larger ones come over TCP.
pub const DNS_PAYLOAD_BYTES: u16 = 1232;

/// The largest datagram of a name server that is read, in bytes.
pub const DNS_DATAGRAM_BYTES: usize = 4096;

/// After so many datagrams that are no answer to what was asked, a name server is given up.
pub const STRAY_ANSWERS_MAX: usize = 1024;

/// The most name servers of `resolv.conf` that are asked.
pub const NAME_SERVERS_MAX: usize = 3;

/// The most search domains of `resolv.conf`.
pub const SEARCH_DOMAINS_MAX: usize = 6;

/// The largest `ndots` of `resolv.conf`.
pub const NDOTS_MAX: u32 = 15;

/// The largest `attempts` of `resolv.conf`.
pub const NAME_ATTEMPTS_MAX: u32 = 5;

/// The most bytes of `resolv.conf` and of `hosts` that are read.
pub const NAME_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// How often it is looked, at most, whether they have changed.
pub const NAME_FILES_LOOK: Duration = Duration::from_secs(1);
/// The most clients of an admin interface on a Unix socket that wait to be accepted.
pub const ADMIN_BACKLOG: i32 = 128;

/// The most connections to the admin interface at a time.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Beyond them so many are told why they are turned away; further ones are closed.
pub const ADMIN_REFUSALS_MAX: usize = 16;

/// The most requests of one connection to the admin interface.
pub const ADMIN_REQUESTS_MAX: u32 = 1000;

/// The most bytes of a request's head, and of what is read ahead, in the admin interface.
pub const ADMIN_HEAD_BYTES_MAX: usize = 16 * 1024;

/// The most headers of a request to the admin interface.
pub const ADMIN_HEADERS_MAX: usize = 64;

/// The most bytes of a request's target in the admin interface: its path and its query.
pub const ADMIN_TARGET_BYTES_MAX: usize = 2 * 1024;

/// The most bytes of a request's body in the admin interface.
pub const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;

/// How long the head of a request to the admin interface may take.
pub const ADMIN_HEAD_TIME: Duration = Duration::from_secs(10);

/// How long its body may take.
pub const ADMIN_BODY_TIME: Duration = Duration::from_secs(30);

/// How long control may take to answer it.
pub const ADMIN_CONTROL_TIME: Duration = Duration::from_secs(5);

/// How long all of it may take, from its first byte to the last of its answer.
pub const ADMIN_REQUEST_TIME: Duration = Duration::from_secs(60);

/// How long a connection to the admin interface may go without a request.
pub const ADMIN_IDLE_TIME: Duration = Duration::from_secs(60);

/// How long, and for how many bytes, the admin interface listens on after its last answer. A socket
/// that is closed with bytes unread is reset, and the client may lose the answer.
pub const ADMIN_LINGER_TIME: Duration = Duration::from_secs(1);
/// See [`ADMIN_LINGER_TIME`].
pub const ADMIN_LINGER_BYTES: usize = 4 * 1024 * 1024;

/// How long the admin interface waits after it could not accept.
pub const ADMIN_ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The longest drain that a request may ask for, 45 days: the longest timeout of a configuration.
pub const ADMIN_DRAIN_MAX: Duration = Duration::from_secs(45 * 24 * 60 * 60);
/// How long a peak that a worker counted is told of, at least; at most twice as long.
pub const PEAK_TIME: Duration = Duration::from_secs(60);

/// The most series in one answer to a scrape: about 10 MB of text. Endpoints come last.
pub const METRIC_SERIES_MAX: usize = 100_000;

/// The step of a worker's timers.
pub const TICK: Duration = Duration::from_millis(10);

/// Ticks in one turn of the timer wheel (41 s); later timers go round more than once.
pub const WHEEL_TICKS: usize = 4096;

/// The age at which a session's socket to its endpoint gets the options that only matter to
/// sessions which last: 2 us that short ones never pay for.
pub const SETTLE_AGE: Duration = Duration::from_secs(2);

/// How long a session may be without any receive on one side before that side is watched for a
/// reset. Short sessions never pay for the watch.
pub const WATCH_DELAY: Duration = Duration::from_millis(50);

/// How long a worker that a burst has swollen waits before it gives memory back.
pub const REST_DELAY: Duration = Duration::from_secs(5);

/// An arena of which at most so many buffers were ever in use is not worth giving back: 8 MiB.
pub const RESTING_BUFFERS: usize = 512;

/// Tables of sessions that never held more are not worth giving back.
pub const RESTING_SESSIONS: usize = 1024;

/// The most records of operations that a resting worker keeps.
pub const RESTING_RECORDS: usize = 64;

/// How long bytes already received may take to leave before the reset that follows them is sent.
pub const FLUSH_TIME: Duration = Duration::from_secs(1);

/// How often a worker looks again when descriptors or sessions had run out.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// How long a stopping worker waits for the kernel to end operations that were told to end.
pub const JOIN_TIME: Duration = Duration::from_secs(5);

const _: () = {
    assert!(
        BUFFER_BYTES <= u16::MAX as usize,
        "a chunk counts its bytes in 16 bits"
    );
    assert!(
        ARENA_BUFFERS_MAX <= 32 * 1024,
        "the kernel's buffer ring has at most 32,768 entries"
    );
    assert!(ARENA_BUFFERS_MIN.is_power_of_two() && ARENA_BUFFERS_MAX.is_power_of_two());
    assert!(WAITING_PART * ARENA_BUFFERS_MAX < u16::MAX as usize);
    assert!(POSTED_BUFFERS_MAX.is_power_of_two() && POSTED_BUFFERS_MIN <= POSTED_BUFFERS_MAX);
    assert!(POSTED_BUFFERS_MIN <= ARENA_BUFFERS_MIN - ARENA_BUFFERS_MIN / RESERVE_PART);
    assert!(WINDOW_BYTES <= u32::MAX as usize);
    assert!(CQ_ENTRIES as usize >= 2 * BACKLOG_MAX as usize);
    assert!(
        WHEEL_TICKS.is_multiple_of(64),
        "the wheel's occupancy is kept in words of 64 bits"
    );
    assert!(
        PROXY_HEADER_BYTES_MAX <= BUFFER_BYTES,
        "a header fits one buffer"
    );
    assert!(
        2 * PROBER_ENTRIES as usize >= 4 * PROBES_MAX,
        "what all probes leave behind fits the prober's completion queue"
    );
    assert!(CYCLE_SLOTS_MAX <= u16::MAX as usize);
    assert!(DNS_PAYLOAD_BYTES as usize <= DNS_DATAGRAM_BYTES);
    assert!(ENDPOINTS_MAX <= u16::MAX as usize);
    assert!(
        CONFIG_BYTES_MAX < u32::MAX as usize,
        "a place in a configuration is kept in 32 bits"
    );
    assert!(
        ADMIN_HEAD_TIME.as_secs() + ADMIN_BODY_TIME.as_secs() + ADMIN_CONTROL_TIME.as_secs()
            < ADMIN_REQUEST_TIME.as_secs(),
        "some of a request's time is left for its answer"
    );
    assert!(
        ADMIN_HEAD_BYTES_MAX >= 8 * 1024,
        "hyper takes no smaller buffer"
    );
    assert!(ADMIN_TARGET_BYTES_MAX < ADMIN_HEAD_BYTES_MAX);
};
