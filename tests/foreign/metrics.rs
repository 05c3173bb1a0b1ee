//! promtool over the metrics of a balancer that has something to do.
#![forbid(unsafe_code)]

use crate::site::{Site, free_port, run, steered};

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    let site = Site::new("metrics");
    let ports = [free_port(), free_port()];
    let _daemons = ports.map(|port| crate::redis(&site, port));
    // One is well, one is none, and names with what has to be escaped.
    let config = format!(
        r#"{{ "listeners": [{{ "name": "in \"quotes\"", "bind": "127.0.0.1:0", "max_sessions": 500 }}],
              "clusters": [{{ "name": "back\\slash", "health": "tcp",
                              "endpoints": ["127.0.0.1:{}", "127.0.0.1:{}", "127.0.0.1:9",
                                            "nowhere.invalid:80"] }}],
              "dns": {{ "servers": "127.0.0.1:9", "attempts": 1 }} }}"#,
        ports[0], ports[1]
    );
    let balancer = steered(&site, &config);
    let port = balancer.port.to_string();
    let load = std::thread::spawn(move || {
        let words = ["-h", "127.0.0.1", "-p", &port, "-n", "40000", "-c", "20"];
        run(
            "redis-benchmark",
            &[&words[..], &["-t", "set", "-q"]].concat(),
        )
    });
    let socket = site.folder().join("admin.sock").display().to_string();
    let scrape = |promtool: &str| {
        let url = "http://localhost/metrics";
        let script = format!(
            "curl -sS --fail --unix-socket {socket} {url} > metrics.txt && {promtool} < metrics.txt"
        );
        let script = format!("cd {} && {script}", site.folder().display());
        run("sh", &["-eu", "-c", &script])
    };
    // Warnings of its linter end with an error, too.
    let mut scrapes = 0;
    while !load.is_finished() || scrapes < 3 {
        scrape("promtool check metrics");
        scrapes += 1;
    }
    let report = load.join().unwrap_or_default();
    assert!(report.contains("requests per second"), "{report}");
    let text = scrape("cat");
    assert!(text.contains("ringlane_sessions_closed_total"), "{text}");
    assert!(text.contains(r#"cluster="back\\slash""#), "{text}");
}
