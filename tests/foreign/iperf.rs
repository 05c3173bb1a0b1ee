//! iperf3 through Ringlane: each way, both ways at once, several streams.
#![forbid(unsafe_code)]

use crate::site::{Daemon, Site, balanced_by, free_port, run, wait_for_port};

#[test]
fn iperf_measures_through_sessions() {
    let site = Site::new("iperf");
    let port = free_port();
    let word = port.to_string();
    let words = ["-s", "-B", "127.0.0.1", "-p", &word, "--forceflush"];
    let _server = Daemon::start("iperf3", &words, site.folder());
    wait_for_port(port);
    // iperf3 knows its streams by the order in which they are accepted, which one worker keeps.
    let balancer = balanced_by("1", &[port]);
    let port = balancer.port.to_string();
    for more in [&[][..], &["-R"], &["--bidir"], &["-P", "4"]] {
        let words = ["-c", "127.0.0.1", "-p", &port, "-t", "1", "-J"];
        let report = run("iperf3", &[&words[..], more].concat());
        let report: serde_json::Value = serde_json::from_str(&report).unwrap_or_default();
        let sums = ["sum_received", "sum_received_bidir_reverse"];
        let expected = if more == ["--bidir"] { 2 } else { 1 };
        let bytes = sums.map(|sum| report["end"][sum]["bytes"].as_u64().unwrap_or(0));
        let moved = bytes.iter().filter(|bytes| **bytes > 0).count();
        assert_eq!(moved, expected, "{more:?}: {}", report["end"]);
    }
}
