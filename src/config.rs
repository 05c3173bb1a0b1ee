//! Configuration files: from text to a plan, or to every error with its place.
//!
//! A file is JSON with comments and trailing commas; a folder is its fragments, merged. Three steps
//! that each go on after an error: text becomes a `tree` that knows the place of everything in
//! it, the tree is read into a [`Plan`] area by area (`whole`, `listeners`, `clusters`, ...), and
//! what the plan itself finds impossible ([`Plan::problems`]) is led back to its place in the text.
//! Start and `ringlane check` both come here; nothing else reads configurations.
#![forbid(unsafe_code)]

mod admin;
mod clusters;
mod dns;
mod errors;
mod failure;
mod fields;
mod files;
mod health;
mod listeners;
mod locate;
mod log;
mod merge;
mod proxy;
mod sockets;
mod tree;
mod values;
mod whole;
mod words;

pub use errors::{ConfigError, ConfigErrors, Position};

use std::path::Path;

use crate::plan::Plan;
use crate::plan::problems::Problem;
use errors::Found;
use fields::Fields;
use files::Sources;
use tree::Node;

/// Reads a file, or a folder of fragments, into a plan that has no problems.
///
/// Errors: everything that is wrong with it, at most [`CONFIG_ERRORS_MAX`] of them.
///
/// [`CONFIG_ERRORS_MAX`]: crate::bounds::CONFIG_ERRORS_MAX
pub fn check(path: &Path) -> Result<Plan, ConfigErrors> {
    load(path).map(|config| config.plan)
}

/// As [`check`], for a text that is already there; `name` stands for the file in errors.
///
/// Errors: as for [`check`].
pub fn check_text(name: &str, text: &[u8]) -> Result<Plan, ConfigErrors> {
    let mut found = Found::default();
    let mut sources = Sources::default();
    sources.add(Path::new(name), text.to_vec());
    read(sources, &mut found).map(|config| config.plan)
}

/// As [`check`], and keeps what it takes to say where in the text a problem comes from.
///
/// Errors: as for [`check`].
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    read(Sources::open(path)?, &mut Found::default())
}

/// The keys that were looked for in a text, by their paths: `listeners[].timeouts.idle`. For a
/// text in which every object occurs these are all keys that there are.
pub fn keys(text: &[u8]) -> Vec<String> {
    let mut found = Found::default();
    let mut sources = Sources::default();
    sources.add(Path::new(""), text.to_vec());
    // Only what was asked for counts here.
    let _plan = read(sources, &mut found);
    found.into_asked()
}

/// A plan and where it comes from.
#[derive(Debug)]
pub struct Config {
    /// The plan.
    pub plan: Plan,
    /// The text that it was read from.
    pub origin: Origin,
}

/// The text of a plan, with the place of everything in it.
#[derive(Debug)]
pub struct Origin {
    root: Node,
    sources: Sources,
}

impl Origin {
    /// Gives problems that were found later in the plan their places in the text.
    pub fn locate(&self, problems: Vec<Problem>) -> ConfigErrors {
        let mut found = Found::default();
        for problem in problems {
            locate::add(&self.root, problem, &mut found);
        }
        found.take_errors(&self.sources)
    }
}

/// From texts to a plan.
fn read(sources: Sources, found: &mut Found) -> Result<Config, ConfigErrors> {
    let mut root: Option<Node> = None;
    let mut is_whole = true;
    for (file, text) in sources.texts() {
        match tree::parse(file, text, found) {
            Some(fragment) => match &mut root {
                None => root = Some(fragment),
                Some(root) => merge::merge(root, fragment, found),
            },
            None => is_whole = false,
        }
    }
    let Some(root) = root else {
        return Err(found.take_errors(&sources));
    };
    let plan = read_plan(&root, found);
    if is_whole {
        let readable = locate::Readable::new(&root, found);
        for problem in plan.problems() {
            if readable.is_certain(&problem) {
                locate::add(&root, problem, found);
            }
        }
    }
    if found.is_empty() {
        let origin = Origin { root, sources };
        Ok(Config { plan, origin })
    } else {
        Err(found.take_errors(&sources))
    }
}

fn read_plan(root: &Node, found: &mut Found) -> Plan {
    let mut plan = Plan::default();
    let Some(mut fields) = Fields::of(root, "", found) else {
        return plan;
    };
    if let Some(workers) = fields.read("workers", found, whole::workers) {
        plan.workers = workers;
    }
    if let Some(max_sessions) = fields.read("limits", found, whole::limits) {
        plan.max_sessions = max_sessions;
    }
    if let Some(process) = fields.read("process", found, whole::process) {
        plan.process = process;
    }
    let listeners = fields.take("listeners", found);
    if let Some(clusters) = fields.read("clusters", found, clusters::clusters) {
        plan.clusters = clusters;
    }
    if let Some(listeners) = listeners {
        plan.listeners = listeners::listeners(listeners, &plan.clusters, found);
    }
    if let Some(log) = fields.read("log", found, log::log) {
        plan.log = log;
    }
    plan.admin = fields.read("admin", found, admin::admin);
    fields.set("dns", &mut plan.dns, found, dns::dns);
    fields.finish(found);
    plan
}
