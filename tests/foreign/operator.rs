//! curl at the admin interface: what README.md says, as it says it, and who is turned away.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use serde_json::Value;

use crate::site::{Daemon, Site, free_port, run, wait_for_port};

const README: &str = include_str!("../../README.md");

/// The blocks of code of a section.
fn blocks(section: &str) -> Vec<&'static str> {
    let (_, text) = README.split_once(section).expect("there is the section");
    let text = text.split("\n## ").next().unwrap_or(text);
    let parts = text.split("\n```").skip(1).step_by(2);
    parts
        .filter_map(|part| part.split_once('\n').map(|(_, code)| code))
        .collect()
}

/// With ports that are free, and the program where it is.
fn here(text: &str, ports: &[(&str, u16)]) -> String {
    let mut text = text.replace("target/release/ringlane", env!("CARGO_BIN_EXE_ringlane"));
    for (known, free) in ports {
        text = text.replace(known, &free.to_string());
    }
    text
}

#[test]
fn the_readme_s_commands_do_what_it_says() {
    let site = Site::new("readme");
    let ports: Vec<(&str, u16)> = ["9001", "9002", "9003", "8080", "9900"]
        .map(|known| (known, free_port()))
        .to_vec();
    let blocks = blocks("\n## Admin interface\n");
    let [start, commands] = [0, 1].map(|place| here(blocks[place], &ports));
    let programs = start.lines().map(|line| {
        let words: Vec<&str> = line.trim_end_matches('&').split_whitespace().collect();
        Daemon::start(words[0], &words[1..], site.folder())
    });
    let _programs: Vec<Daemon> = programs.collect();
    ports.iter().for_each(|(_, port)| wait_for_port(*port));
    // Twice: once for what is answered, and once for the statuses.
    let answers = run("sh", &["-eu", "-c", &commands]);
    let answers: Vec<&str> = answers.lines().collect();
    let json: Vec<Value> = answers
        .iter()
        .map_while(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(json.len(), 9, "{answers:#?}");
    assert_eq!(json[0]["endpoints"], 2);
    assert_eq!(json[1]["endpoints"].as_array().map(Vec::len), Some(2));
    assert_eq!(json[2]["name"], "a");
    assert_eq!(json[3]["endpoint"]["origin"], "api");
    assert_eq!(json[4]["endpoint"]["weight"], 5);
    assert_eq!(json[5]["endpoint"]["reason"], "draining");
    assert_eq!(json[6]["endpoint"]["state"], "enabled");
    assert_eq!(json[7]["pending_workers"], Value::Array(Vec::new()));
    assert_eq!(json[8]["status"], "ready");
    assert!(answers[9].starts_with("# HELP "), "{:?}", answers.get(9));
    let counted = format!(
        "curl() {{ command curl -o /dev/null -w '%{{http_code}}\\n' \"$@\"; }}\n{commands}"
    );
    let statuses = run("sh", &["-eu", "-c", &counted]);
    let promised: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.split_once("  # "))
        .filter_map(|(_, comment)| comment.split(':').next())
        .collect();
    assert_eq!(promised.len(), 10);
    assert_eq!(statuses.lines().collect::<Vec<_>>(), promised);
}

#[test]
fn the_readme_s_sample_is_a_configuration() {
    let site = Site::new("sample");
    let sample = blocks("\n## Health, breaker and names\n")[0];
    let path = site.write("sample.jsonc", sample.as_bytes());
    let words = ["check", &path.display().to_string()];
    let said = run(env!("CARGO_BIN_EXE_ringlane"), &words);
    assert!(said.contains("4 clusters"), "{said}");
}

#[test]
fn curl_is_turned_away_where_it_has_to_be() {
    let site = Site::new("turned-away");
    let token = site.write("token", b"let-me-in\n").display().to_string();
    let [port, admin] = [free_port(), free_port()];
    let config = format!(
        r#"{{ "listeners": [{{ "bind": "127.0.0.1:{port}" }}],
              "clusters": [{{ "name": "c", "endpoints": ["127.0.0.1:9"] }}],
              "admin": {{ "bind": "127.0.0.1:{admin}", "token": {{ "file": "{token}" }},
                          "public": ["healthz"], "hosts": ["lb.example"] }} }}"#
    );
    let config = site.write("ringlane.json", config.as_bytes());
    let words = ["run", "--config", &config.display().to_string()];
    let _ringlane = Daemon::start(env!("CARGO_BIN_EXE_ringlane"), &words, site.folder());
    wait_for_port(admin);
    let check = |path: &str, more: &[&str], expected: &str| {
        let url = format!("http://127.0.0.1:{admin}{path}");
        let words = ["-sS", "-o", "/dev/null", "-w", "%{http_code}", &url];
        let status = run("curl", &[&words[..], more].concat());
        assert_eq!(status, expected, "{path} {more:?}");
    };
    let token = "Authorization: Bearer let-me-in";
    let json = "Content-Type: application/json";
    check("/v1/clusters", &[], "401");
    check("/v1/clusters", &["-H", "Authorization: Bearer no"], "401");
    check("/v1/clusters", &["-H", token], "200");
    check("/healthz", &[], "200");
    check("/readyz", &[], "401");
    check("/healthz", &["-H", "Host: lb.example"], "200");
    check("/healthz", &["-H", "Host: other.example"], "421");
    check("/healthz", &["-H", "Origin: http://other.example"], "403");
    check("/healthz", &["-H", "Sec-Fetch-Site: cross-site"], "403");
    check("/healthz", &["-X", "PUT"], "405");
    check("/v1", &["-H", token], "404");
    let endpoints = "/v1/clusters/c/endpoints";
    let endpoint = r#"{"address":"127.0.0.1:9"}"#;
    check(endpoints, &["-H", token, "-d", endpoint], "415");
    check(endpoints, &["-H", token, "-H", json, "-d", endpoint], "409");
    check(endpoints, &["-H", token, "-H", json, "-d", "{}"], "400");
    let long = site.write("long", &vec![b' '; 65 * 1024]);
    let long = format!("@{}", long.display());
    check(
        endpoints,
        &["-H", token, "-H", json, "--data-binary", &long],
        "413",
    );
    let path = format!("/healthz?{}", "x".repeat(2048));
    check(&path, &[], "414");
}
