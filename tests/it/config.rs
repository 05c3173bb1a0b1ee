//! Configurations: what is wrong and what is said, fragments, which file is read, samples, keys.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

mod wrong;
mod wrong_health;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jsonc_parser::ast::Value;
use ringlane::bounds::{CONFIG_BYTES_MAX, CONFIG_ERRORS_MAX, PIPES_MAX};
use ringlane::config;
use ringlane::plan::admin::{PublicRoute, Secret};
use ringlane::plan::failure::{SessionPolicies, SessionPolicy};
use ringlane::plan::health::{Check, HealthPlan, HttpCheck, SendExpect};
use ringlane::plan::place::{Bind, Place};
use ringlane::plan::{EndpointPlan, Plan};

use crate::support::program::{Program, output, ringlane};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringlane-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file for the test");
        path
    }

    /// What is said about the folder, without the folder's own name.
    fn errors(&self) -> Vec<String> {
        let errors = config::check(&self.0).expect_err("wrong").to_string();
        let folder = format!("{}/", self.0.display());
        let lines = errors.lines().map(|line| line.replace(&folder, ""));
        lines.collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left_over = fs::remove_dir_all(&self.0);
    }
}

fn errors(text: impl AsRef<[u8]>) -> Vec<String> {
    match config::check_text("a", text.as_ref()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_string).collect(),
    }
}

fn plan(text: &str) -> Plan {
    config::check_text("a", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_all_of_it() {
    const CLUSTER: &str = r#""clusters": [{"name": "c", "endpoints": ["a:1"]}]"#;
    const LISTENER: &str = r#""listeners": [{"bind": "127.0.0.1:1"}]"#;
    let mut count = 0;
    let mut check = |cases: &[(&str, &[&str])], before: &str, after: &str| {
        for (text, expected) in cases {
            let actual = errors(format!("{before}{text}{after}"));
            let expected: Vec<String> = expected.iter().map(|line| format!("a:{line}")).collect();
            assert_eq!(actual, expected, "{text}");
            count += 1;
        }
    };
    check(wrong::WHOLE, "", "");
    let root = format!("{{{CLUSTER}, {LISTENER},\n");
    check(wrong::ROOT, &root, "}");
    check(wrong_health::ROOT, &root, "}");
    check(
        wrong::LISTENER,
        &format!("{{{CLUSTER}, \"listeners\": [{{\n"),
        "}]}",
    );
    let cluster = format!("{{{LISTENER}, \"clusters\": [{{\n");
    check(wrong::CLUSTER, &cluster, "}]}");
    check(wrong_health::CLUSTER, &cluster, "}]}");
    assert!(count > 200, "{count} configurations");
}

#[test]
fn what_is_no_text_is_told_with_its_place() {
    assert_eq!(
        errors(b"{\n  \"\xC3\xA4\": \"\xFF\" }"),
        ["a:2:9: this byte is not UTF-8; save the file as UTF-8"]
    );
    assert_eq!(
        errors(b"\xEF\xBB\xBF{ 1 }"),
        ["a:1:3: expected a key in double quotes"]
    );
}

#[test]
fn nesting_is_bounded() {
    let deep = "[".repeat(100_000);
    assert_eq!(
        errors(format!("{{\"log\": {deep}")),
        ["a:1:519: objects and lists are nested too deeply"]
    );
    // The deepest that is possible is no danger either.
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let expected = "a:1:9: expected an object, `{ ... }`, found a list";
    assert!(errors(format!("{{\"log\": {deep}}}")).contains(&expected.to_string()));
}

#[test]
fn too_many_errors_are_counted() {
    let keys: String = (0..CONFIG_ERRORS_MAX + 5)
        .map(|number| format!("\"k{number}\": 1,"))
        .collect();
    let lines = errors(format!("{{{keys}}}"));
    assert_eq!(lines.len(), CONFIG_ERRORS_MAX + 1);
    assert_eq!(lines.last().map(String::as_str), Some("and 5 more errors"));
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let folder = Folder::new("large");
    folder.write("a.json", vec![b' '; CONFIG_BYTES_MAX + 1]);
    assert_eq!(folder.errors(), ["a.json: the file is larger than 8 MiB"]);
}

#[test]
fn a_large_configuration_is_read() {
    let endpoints: Vec<String> = (0..16_384)
        .map(|number| format!("{{\"name\": \"e{number}\", \"address\": \"10.0.0.1:1\"}}"))
        .collect();
    let endpoints = endpoints.join(",");
    let text = format!(
        "{{\"listeners\": [{{\"bind\": \"127.0.0.1:1\"}}], \
         \"clusters\": [{{\"name\": \"c\", \"endpoints\": [{endpoints}]}}]}}"
    );
    assert_eq!(plan(&text).clusters[0].endpoints.len(), 16_384);
}

#[test]
fn what_is_left_out_has_its_default() {
    let text = r#"{"listeners": [{"bind": "127.0.0.1:1"}],
        "clusters": [{"name": "default", "endpoints": ["a:1"]}]}"#;
    let endpoint = "a:1".parse().expect("an endpoint");
    let expected = Plan::simple(&[([127, 0, 0, 1], 1).into()], vec![endpoint]);
    assert_eq!(plan(text), expected);
}

#[test]
fn every_key_reaches_the_plan() {
    let mut read = config::check(&root().join("config/reference.jsonc")).expect("right");
    let expected = Plan {
        process: ringlane::plan::ProcessPlan {
            user: Some("ringlane".into()),
            group: Some("ringlane".into()),
            pid_file: Some("/run/ringlane/ringlane.pid".into()),
            drain_timeout: Duration::from_secs(30),
        },
        max_sessions: Some(100_000),
        ..Plan::default()
    };
    assert_eq!(read.process, expected.process);
    assert_eq!(read.max_sessions, expected.max_sessions);
    assert_eq!(read.workers.count, None);
    assert_eq!(read.workers.pipes, PIPES_MAX);
    assert_eq!(read.workers.cpus, Some("0-3,6".parse().expect("CPUs")));
    let other = read.clusters.pop().expect("a second cluster");
    let plan = format!("{read:#?}");
    // Every field of the listener, the cluster and the log that may be left out is there.
    let absent = plan
        .lines()
        .filter(|line| line.trim_end().ends_with("None,"));
    let absent: Vec<&str> = absent.map(str::trim).collect();
    // An endpoint that is only an address, and the number of workers.
    assert_eq!(
        absent,
        [
            "count: None,",
            "name: None,",
            "max_connections: None,",
            "address: None,",
            "port: None,",
        ]
    );
    let listener = &read.listeners[0];
    assert_eq!(listener.name, "web");
    assert_eq!(
        listener.binds[2],
        Bind::Unix("/run/ringlane/web.sock".into())
    );
    assert_eq!(listener.options.socket.dscp, Some(18));
    assert_eq!(listener.options.unix_mode, Some(0o660));
    let cluster = &read.clusters[0];
    let send = cluster.send_proxy.as_ref().expect("a header");
    let custom = [(224, b"text".to_vec()), (225, vec![0, 255])];
    assert_eq!(send.custom, custom);
    assert!(send.checksum && send.unique_id && send.pass_on);
    assert_eq!(cluster.options.socket.dscp, Some(18));
    let service = Place::Service("_redis._tcp.example.com".into());
    assert_eq!(other.endpoints, [EndpointPlan::at(service)]);
    let ping = Check::SendExpect(SendExpect {
        send: b"PING\r\n".to_vec(),
        expect: b"+PONG".to_vec(),
    });
    assert_eq!(other.health, Some(HealthPlan::of(ping)));
    let sessions = SessionPolicies {
        unhealthy: SessionPolicy::Drain(Duration::from_secs(10)),
        disabled: SessionPolicy::Drain(Duration::from_secs(60)),
        ..SessionPolicies::default()
    };
    assert_eq!(other.sessions, sessions);
}

#[test]
fn what_is_left_out_fits_what_is_given() {
    let health = |text: &str| {
        let text = format!(
            r#"{{"listeners": [{{"bind": "127.0.0.1:1"}}],
                "clusters": [{{"name": "c", "endpoints": ["a:1"], "health": {text}}}]}}"#
        );
        plan(&text).clusters[0].health.clone().expect("a check")
    };
    let times = |text: &str| {
        let health = health(text);
        let times = [health.interval, health.fast_interval, health.timeout];
        times.map(|time| time.as_millis())
    };
    assert_eq!(times(r#""tcp""#), [2000, 1000, 1000]);
    assert_eq!(times(r#"{"type": "tcp"}"#), [2000, 1000, 1000]);
    let text = r#"{"type": "tcp", "interval": "10s"}"#;
    assert_eq!(times(text), [10_000, 5000, 1000]);
    let text = r#"{"type": "tcp", "interval": "300ms"}"#;
    assert_eq!(times(text), [300, 150, 300]);
    let text = r#"{"type": "tcp", "interval": "10ms"}"#;
    assert_eq!(times(text), [10, 10, 10]);
    let text = r#"{"type": "tcp", "interval": "10s", "fast_interval": "10s", "timeout": "10s"}"#;
    assert_eq!(times(text), [10_000; 3]);
    let http = Check::Http(HttpCheck::default());
    assert_eq!(health(r#""http""#), HealthPlan::of(http));
    let jitter = health(r#"{"type": "tcp", "jitter": 25}"#).jitter_percent;
    assert_eq!(jitter, 25);
    let text = r#"{"listeners": [{"bind": "127.0.0.1:1"}], "dns": {"max_ttl": "1s"},
        "clusters": [{"name": "c", "endpoints": ["a:1"], "breaker": {"open": "1h"}},
            {"name": "d", "endpoints": ["a:1"], "breaker": false},
            {"name": "e", "endpoints": ["a:1"], "breaker": "off"}]}"#;
    let text = text.replace(r#"1"}], "dns""#, r#"1", "cluster": "c"}], "dns""#);
    let plan = plan(&text);
    let second = Duration::from_secs(1);
    assert_eq!((plan.dns.min_ttl, plan.dns.max_ttl), (second, second));
    let breaker = plan.clusters[0].breaker.expect("it is on");
    assert_eq!(breaker.open_max, Duration::from_secs(3600));
    assert_eq!(plan.clusters[1].breaker, None);
    assert_eq!(plan.clusters[2].breaker, None);
}

#[test]
fn a_token_is_in_no_error_and_in_no_output() {
    let text = r#"{"listeners": [{"bind": "127.0.0.1:1"}],
        "clusters": [{"name": "c", "endpoints": ["a:1"]}],
        "admin": {"bind": "127.0.0.1:2", "token": TOKEN, "public": [], "hosts": "lb.example"}}"#;
    let read = plan(&text.replace("TOKEN", r#""a-secret-word""#));
    assert!(!format!("{read:?}").contains("a-secret-word"));
    let admin = read.admin.expect("it is there");
    assert_eq!(admin.token, Some(Secret::Inline("a-secret-word".into())));
    assert!(!admin.is_public(PublicRoute::Metrics));
    for (token, expected) in [
        (
            "76543210",
            r#"{ "env": "NAME" }, { "file": "/PATH" } or a text"#,
        ),
        (r#""a secret word""#, "no spaces"),
        (r#""""#, "must not be empty"),
    ] {
        let said = errors(text.replace("TOKEN", token)).join("\n");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("secret word") && !said.contains("7654"));
    }
}

#[test]
fn false_turns_off_what_is_on() {
    let text = r#"{"listeners": [{"bind": "127.0.0.1:1", "keepalive": false, "user_timeout": false}],
        "clusters": [{"name": "c", "endpoints": ["a:1"], "keepalive": {"probes": 1}}]}"#;
    let plan = plan(text);
    assert_eq!(plan.listeners[0].options.socket.keepalive, None);
    assert_eq!(plan.listeners[0].options.socket.user_timeout, None);
    let keepalive = plan.clusters[0].options.socket.keepalive.expect("it is on");
    assert_eq!(
        (keepalive.probes, keepalive.idle),
        (1, Duration::from_secs(60))
    );
}

#[test]
fn fragments_become_one() {
    let folder = Folder::new("fragments");
    folder.write(
        "20.jsonc",
        r#"{"clusters": [{"name": "b", "endpoints": ["b:1"]}]}"#,
    );
    folder.write(
        "10.json",
        r#"{"workers": {"count": 2}, "clusters": [{"name": "a", "endpoints": ["a:1"]}]}"#,
    );
    folder.write(
        "30.json",
        r#"{"workers": {"pipes": 1}, "listeners": [{"bind": "127.0.0.1:1", "cluster": "b"}]}"#,
    );
    folder.write("README.md", "no fragment");
    let plan = config::check(&folder.0).expect("right");
    let names: Vec<&str> = plan
        .clusters
        .iter()
        .map(|cluster| cluster.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((plan.workers.count, plan.workers.pipes), (Some(2), 1));
}

#[test]
fn what_collides_in_fragments_is_told_with_both_places() {
    let folder = Folder::new("collisions");
    folder.write(
        "1.json",
        "{\"workers\": {\"count\": 2},\n\"listeners\": [{\"name\": \"w\", \"bind\": \"127.0.0.1:1\"}],\n\
         \"clusters\": [{\"name\": \"c\", \"endpoints\": [\"a:1\"]}]}",
    );
    folder.write(
        "2.json",
        "{\"workers\": {\"count\": 2},\n\"listeners\": [{\"name\": \"w\", \"cluster\": \"c\", \
         \"bind\": [\"127.0.0.1:2\", \"127.0.0.1:1\"]}]}",
    );
    folder.write("3.json", "{\"listeners\": {}}");
    assert_eq!(
        folder.errors(),
        [
            "2.json:1:14: `count` is given twice (first at 1.json:1:14)",
            "2.json:2:24: two listeners are named `w` (first at 1.json:2:24)",
            "2.json:2:69: 127.0.0.1:1 and 127.0.0.1:1 are both port 1: bind it once (first at \
             1.json:2:37)",
            "3.json:1:2: `listeners` is given twice (first at 1.json:2:1)",
        ]
    );
}

#[test]
fn every_fragment_tells_its_errors() {
    let folder = Folder::new("broken");
    folder.write("1.json", "{");
    folder.write("2.json", "{\"frontends\": []}");
    folder.write("3.json", "[]");
    assert_eq!(
        folder.errors(),
        [
            "1.json:1:1: this `{` is never closed",
            "2.json:1:2: unknown key `frontends`; did you mean `listeners`?",
            "3.json:1:1: expected an object, `{ ... }`, found a list",
        ]
    );
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = Folder::new("empty");
    let path = folder.0.display();
    let said = config::check(&folder.0).expect_err("empty").to_string();
    assert_eq!(
        said,
        format!("{path}: the folder has no *.json and no *.jsonc")
    );
    let said = config::check(&folder.0.join("none")).expect_err("missing");
    assert_eq!(
        said.to_string(),
        format!("{path}/none: there is no such file or folder")
    );
}

#[test]
fn problems_of_the_machine_have_their_place_too() {
    let folder = Folder::new("machine");
    let text = "{\"workers\": {\n\"cpus\": \"8000\"}, \"listeners\": [{\"bind\": \"127.0.0.1:0\"}],\
                \"clusters\": [{\"name\": \"c\", \"endpoints\": [\"127.0.0.1:9\"]}]}";
    let path = folder.write("a.json", text);
    let mut command = ringlane();
    command.args(["run", "--config"]).arg(&path);
    let (code, said) = output(command);
    assert_eq!(code, Some(78), "{said}");
    let place = format!("{}:2:9: CPU 8000", path.display());
    assert!(said.lines().any(|line| line.starts_with(&place)), "{said}");
}

/// Runs the program with words, and maybe RINGLANE_CONFIG.
fn program(words: &[&str], variable: Option<&Path>) -> Command {
    let mut command = ringlane();
    command.args(words);
    if let Some(path) = variable {
        command.env("RINGLANE_CONFIG", path);
    }
    command
}

/// A configuration whose listener has this name.
fn serving(folder: &Folder, name: &str) -> String {
    let text = format!(
        "{{\"workers\": {{\"count\": 1}}, \"limits\": {{\"max_sessions\": 16}}, \
         \"listeners\": [{{\"name\": \"{name}\", \"bind\": \"127.0.0.1:0\"}}], \
         \"clusters\": [{{\"name\": \"c\", \"endpoints\": [\"127.0.0.1:9\"]}}]}}"
    );
    let path = folder.write(&format!("{name}.json"), text);
    path.display().to_string()
}

#[test]
fn the_environment_goes_before_the_option() {
    let folder = Folder::new("order");
    let (one, two) = (serving(&folder, "one"), serving(&folder, "two"));
    let check = |words: &[&str], variable: Option<&str>, parts: &[&str]| {
        let mut words = words.to_vec();
        words.insert(0, "run");
        let mut program = Program::start(program(&words, variable.map(Path::new)));
        let seen = program.seen().join("\n");
        for part in parts {
            assert!(seen.contains(part), "no `{part}` in: {seen}");
        }
        program.signal("TERM");
        assert!(program.await_exit().success());
    };
    check(&["--config", &one], None, &[&one, "named by --config"]);
    check(&[], Some(&two), &[&two, "named by RINGLANE_CONFIG"]);
    let over = format!("{two}, named by RINGLANE_CONFIG, which goes before --config {one}");
    check(&["--config", &one], Some(&two), &[&over]);
    check(&["--config", &one], Some(""), &["named by --config"]);
    let debug = ["--config", one.as_str(), "--log-level", "debug"];
    check(&debug, None, &[]);
}

/// Looks at how a command that cannot go on ends.
fn refused(command: Command, code: i32, parts: &[&str]) {
    let (actual, said) = output(command);
    assert_eq!(actual, Some(code), "{said}");
    for part in parts {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
}

#[test]
fn words_and_a_configuration_exclude_each_other() {
    let folder = Folder::new("words");
    let path = serving(&folder, "one");
    let words = ["run", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:9"];
    let either = "either --listen and --to say what to balance or a configuration does";
    refused(
        program(&[&words[..], &["--config", &path]].concat(), None),
        2,
        &[either, &path, "named by --config"],
    );
    refused(
        program(&words, Some(Path::new(&path))),
        2,
        &[either, "named by RINGLANE_CONFIG"],
    );
    refused(
        program(
            &[
                "run",
                "--config",
                &path,
                "--workers",
                "1",
                "--idle-timeout",
                "1h",
                "--health",
                "tcp",
                "--admin",
                "127.0.0.1:1",
            ],
            None,
        ),
        2,
        &[
            &path,
            "--workers, --idle-timeout, --health, --admin is for",
            "write what",
        ],
    );
}

#[test]
fn without_any_word_all_ways_are_named() {
    if Path::new("/etc/ringlane/ringlane.json").exists() {
        return;
    }
    let ways = [
        "--config FILE",
        "RINGLANE_CONFIG",
        "/etc/ringlane/ringlane.json",
        "--listen",
    ];
    refused(program(&["run"], None), 2, &ways);
    refused(program(&["check"], None), 2, &ways);
}

#[test]
fn a_wrong_configuration_is_refused_alike_by_check_and_run() {
    let folder = Folder::new("alike");
    let path = folder.write("a.json", "{\"frontends\": [],\n\"maxconn\": 1}");
    let name = path.display();
    let expected = format!(
        "{name}:1:2: unknown key `frontends`; did you mean `listeners`?\n\
         {name}:2:1: unknown key `maxconn`; did you mean `limits.max_sessions`?\n"
    );
    let words = name.to_string();
    for command in [
        program(&["check", &words], None),
        program(&["check"], Some(&path)),
        program(&["run", "--config", &words], None),
    ] {
        let (code, said) = output(command);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[test]
fn every_sample_passes_the_check() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("config"))
        .expect("samples")
        .flatten()
    {
        let path = entry.path().display().to_string();
        let (code, said) = output(program(&["check", &path], None));
        assert_eq!(code, Some(0), "{said}");
        assert!(said.starts_with(&format!("{path}: ok: ")), "{said}");
        assert!(said.ends_with(" endpoints\n"), "{said}");
        count += 1;
    }
    assert!(count >= 5, "{count} samples");
}

#[test]
fn every_key_is_in_the_reference_and_in_the_readme() {
    let reference = fs::read(root().join("config/reference.jsonc")).expect("the reference");
    let known: BTreeSet<String> = config::keys(&reference).into_iter().collect();
    assert!(known.len() > 80, "{known:?}");
    let text = String::from_utf8(reference).expect("a text");
    let tree = jsonc_parser::parse_to_ast(&text, &Default::default(), &Default::default());
    let root_value = tree.expect("JSON").value.expect("an object");
    let mut shown = BTreeSet::new();
    collect(&root_value, "", &mut shown);
    // Of two that exclude each other one is in a comment.
    assert!(text.contains(r#"{ "env": "NAME" }"#));
    shown.insert("admin.token.env".to_string());
    assert_eq!(
        known, shown,
        "what the reader knows, and config/reference.jsonc"
    );
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    assert_eq!(
        known,
        documented(&readme),
        "what the reader knows, and README.md"
    );
}

/// The paths of all keys below a value.
fn collect(value: &Value<'_>, path: &str, paths: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for property in &object.properties {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{}", property.name.as_str());
                collect(&property.value, &path, paths);
                paths.insert(path);
            }
        }
        Value::Array(array) => {
            for element in &array.elements {
                collect(element, &format!("{path}[]"), paths);
            }
        }
        _ => {}
    }
}

/// The keys of README's reference: a heading names objects, the rows below it their keys.
fn documented(readme: &str) -> BTreeSet<String> {
    let reference = readme
        .split("\n## ")
        .find(|part| part.starts_with("Configuration reference"));
    let mut objects = Vec::new();
    let mut keys = BTreeSet::new();
    for line in reference.expect("the reference").lines() {
        let quoted = |text: &str| -> Vec<String> {
            text.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_string)
                .collect()
        };
        if let Some(heading) = line.strip_prefix("### ") {
            objects = quoted(heading);
        } else if let Some(row) = line.strip_prefix("| `") {
            let first = format!("`{}", row.split(" | ").next().unwrap_or_default());
            for (object, key) in objects
                .iter()
                .flat_map(|object| quoted(&first).into_iter().map(move |key| (object, key)))
            {
                let mut path = format!("{object}.{key}");
                while let Some(at) = path.rfind('.') {
                    keys.insert(path.clone());
                    path.truncate(at);
                    path.truncate(path.trim_end_matches("[]").len());
                }
                keys.insert(path);
            }
        }
    }
    // What holds a list's elements ends in the list's name.
    keys.into_iter()
        .map(|key| key.trim_end_matches("[]").to_string())
        .collect()
}

#[test]
fn the_corpus_of_the_fuzz_target_does_no_harm() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("fuzz/corpus/config"))
        .expect("the corpus")
        .flatten()
    {
        let text = fs::read(entry.path()).expect("a file of the corpus");
        if let Err(errors) = config::check_text("a", &text) {
            assert!(!errors.errors.is_empty(), "{}", entry.path().display());
        }
        count += 1;
    }
    assert!(count >= 10, "{count} files");
}
