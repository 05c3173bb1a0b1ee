//! Checks of the tree itself: layers, fences, leftovers, names, lengths, licences.
//!
//! Each failure says what to do instead. A bound here is a ratchet: lower it when it can be.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on fails with the reason"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The modules of each layer, from the lowest. A module may use those of the layers below and
/// those of its own layer that stand before it, so imports cannot be cyclic.
const LAYERS: [&[&str]; 5] = [
    &["bounds", "id", "error", "time"],
    &[
        "metrics", "buffers", "timer", "limits", "session", "balance", "plan", "health", "breaker",
        "standing", "view", "access", "update",
    ],
    &["sys", "ring"],
    &["worker", "control"],
    &["config", "process", "cli"],
];

/// Modules of one layer that must not know each other at all.
const STRANGERS: [(&str, &str); 1] = [("worker", "control")];

/// The modules that may contain unsafe code.
const FENCES: [&str; 2] = ["ring", "sys"];

/// Words that say nothing about a thing; the vocabulary has better ones.
const VAGUE: [&str; 10] = [
    "backend", "frontend", "server", "peer", "manager", "handler", "helper", "util", "data", "info",
];

const FILE_LINES_MAX: usize = 620;
const FUNCTION_LINES_MAX: usize = 70;

struct Source {
    path: PathBuf,
    /// Relative to the project.
    name: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)
            .expect("a folder of the project")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(root())
                    .expect("below the root")
                    .display()
                    .to_string();
                let text = fs::read_to_string(&path).expect("a text");
                found.push(Source { path, name, text });
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no sources");
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn everything() -> Vec<Source> {
    ["src", "tests", "bench"]
        .into_iter()
        .flat_map(sources)
        .collect()
}

/// The top module that a source file of `src` belongs to.
fn module(source: &Source) -> String {
    let relative = source
        .path
        .strip_prefix(root().join("src"))
        .expect("below src");
    let first = relative.components().next().expect("a file").as_os_str();
    first.to_string_lossy().trim_end_matches(".rs").to_string()
}

fn position(module: &str) -> Option<(usize, usize)> {
    LAYERS.iter().enumerate().find_map(|(layer, modules)| {
        let place = modules.iter().position(|known| *known == module)?;
        Some((layer, place))
    })
}

/// What is left of a file without its unit tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

#[test]
fn imports_go_down_only() {
    for source in sources("src") {
        let own = module(&source);
        if ["main", "lib"].contains(&own.as_str()) {
            continue;
        }
        let place = position(&own);
        assert!(
            place.is_some(),
            "{}: give `{own}` a place in LAYERS",
            source.name
        );
        // Comments may speak of whatever explains a thing.
        let code = source
            .text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code: String = code.collect::<Vec<_>>().join("\n");
        for part in code.split("crate::").skip(1) {
            let used: String = part
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if used == own || used.is_empty() {
                continue;
            }
            assert!(
                position(&used) < place,
                "{}: `{own}` must not use `{used}`, which is not below it in LAYERS",
                source.name
            );
            let met = STRANGERS.iter().any(|(one, other)| {
                (own == *one && used == *other) || (own == *other && used == *one)
            });
            assert!(
                !met,
                "{}: `{own}` and `{used}` must not know each other",
                source.name
            );
        }
    }
}

#[test]
fn unsafe_code_stays_behind_the_fences() {
    for source in sources("src") {
        let fenced = FENCES.contains(&module(&source).as_str());
        let forbids = source.text.contains("#![forbid(unsafe_code)]");
        let opening: String = source.text.split_whitespace().collect();
        let expects = opening.contains("#![expect(unsafe_code,reason=");
        let only_modules = source.text.lines().all(|line| {
            line.is_empty()
                || line.starts_with("//!")
                || line.starts_with("pub mod ")
                || line.starts_with("mod ")
                || line.starts_with("#!")
        });
        let is_right = if fenced {
            forbids || expects || only_modules
        } else {
            forbids || only_modules
        };
        assert!(
            is_right,
            "{}: begin it with #![forbid(unsafe_code)]",
            source.name
        );
    }
}

#[test]
fn every_file_says_what_it_is() {
    for source in everything() {
        assert!(
            source.text.starts_with("//! "),
            "{}: begin it with a //! header",
            source.name
        );
    }
}

#[test]
fn nothing_is_left_over() {
    let leftovers = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("#[ign", "ore"),
    ];
    for source in everything() {
        for leftover in leftovers {
            assert!(
                !source.text.contains(leftover),
                "{}: `{leftover}` is left over",
                source.name
            );
        }
    }
}

#[test]
fn tests_wait_for_conditions() {
    for source in sources("tests") {
        assert!(
            !source.text.contains(concat!("thread::", "sleep")),
            "{}: wait for a condition with a deadline (support::wait_until) instead",
            source.name
        );
    }
}

#[test]
fn names_are_the_vocabulary_s() {
    for source in sources("src") {
        for line in source.text.lines().map(str::trim_start) {
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            let named = words.find_map(|word| {
                ["struct", "enum", "trait", "mod", "type"]
                    .contains(&word)
                    .then_some(())
            });
            let Some(name) = named.and_then(|()| words.next()) else {
                continue;
            };
            if line.starts_with("//") {
                continue;
            }
            let snake: String = name
                .chars()
                .flat_map(|c| {
                    if c.is_uppercase() {
                        vec!['_', c.to_ascii_lowercase()]
                    } else {
                        vec![c]
                    }
                })
                .collect();
            for word in snake.split('_') {
                assert!(
                    !VAGUE.contains(&word),
                    "{}: `{name}` says nothing: `{word}`",
                    source.name
                );
            }
        }
    }
}

#[test]
fn files_and_functions_fit_a_reader() {
    for source in sources("src") {
        let lines = source.text.lines().count();
        assert!(
            lines <= FILE_LINES_MAX,
            "{}: {lines} lines; look for the second noun",
            source.name
        );
        let mut start: Option<(usize, String, String)> = None;
        for (number, line) in without_tests(&source.text).lines().enumerate() {
            let indent: String = line.chars().take_while(|c| *c == ' ').collect();
            let code = line.trim_start();
            let is_function = code.starts_with("fn ")
                || code.starts_with("pub fn ")
                || (code.starts_with("pub(") && code.contains(" fn "));
            if is_function && !code.ends_with(';') {
                start = Some((number, indent.clone(), code.to_string()));
            }
            if let Some((first, of, name)) = &start
                && line == format!("{of}}}")
            {
                let lines = number - first + 1;
                assert!(
                    lines <= FUNCTION_LINES_MAX,
                    "{}: {lines} lines: {name}: take a part of it out",
                    source.name
                );
                start = None;
            }
        }
    }
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let folder = root()
        .parent()
        .expect("the project is in a folder")
        .display()
        .to_string();
    for source in everything() {
        let names_it = folder.len() > 1 && source.text.contains(&format!("\"{folder}/"));
        assert!(!names_it, "{}: a path of this machine", source.name);
    }
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    const ALLOWED: [&str; 8] = [
        "MIT",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Unicode-3.0",
        "Zlib",
    ];
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert!(packages.len() > 10);
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or("none");
        let allowed = licence
            .split(['/'])
            .flat_map(|part| part.split(" OR "))
            .any(|choice| {
                choice
                    .trim_matches(['(', ')', ' '])
                    .split(" AND ")
                    .all(|part| ALLOWED.contains(&part.trim_matches(['(', ')', ' '])))
            });
        assert!(
            allowed,
            "{name}: the licence `{licence}` is not among those allowed"
        );
    }
}
