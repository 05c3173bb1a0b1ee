//! Becoming an ordinary user once everything that needs privileges has been done.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::path::Path;

use nix::unistd::{Group, User, initgroups, setgid, setuid};

use crate::plan::ProcessPlan;
use crate::plan::problems::Problem;
use crate::process::ProcessError;

/// Becomes the user and group of the plan, in every thread, if it names one. The access log's file
/// goes to that user.
///
/// Errors: there is no such user or group; this process may not become it.
/// Source: setuid(2), initgroups(3).
pub(super) fn drop_to(plan: &ProcessPlan, log: Option<&Path>) -> Result<(), ProcessError> {
    let Some(name) = &plan.user else {
        return Ok(());
    };
    let problem = |key: &str, message: String| {
        let path = format!("process.{key}");
        ProcessError::Plan(vec![Problem::new(path, message)])
    };
    let user = match User::from_name(name) {
        Ok(Some(user)) => user,
        Ok(None) => return Err(problem("user", format!("there is no user `{name}`"))),
        Err(errno) => return Err(problem("user", errno.desc().to_string())),
    };
    let gid = match &plan.group {
        None => user.gid,
        Some(group) => match Group::from_name(group) {
            Ok(Some(found)) => found.gid,
            Ok(None) => return Err(problem("group", format!("there is no group `{group}`"))),
            Err(errno) => return Err(problem("group", errno.desc().to_string())),
        },
    };
    if nix::unistd::geteuid() == user.uid && nix::unistd::getegid() == gid {
        return Ok(());
    }
    let refused = |errno: nix::errno::Errno| {
        problem(
            "user",
            format!("this process may not become `{name}`: {}", errno.desc()),
        )
    };
    if let Some(log) = log {
        // So that it can be opened again after a rotation.
        let given = std::os::unix::fs::chown(log, Some(user.uid.as_raw()), Some(gid.as_raw()));
        given.map_err(|error| problem("user", format!("{}: {error}", log.display())))?;
    }
    let plain = CString::new(name.as_str())
        .map_err(|_| problem("user", "it has a zero byte".to_string()))?;
    initgroups(&plain, gid).map_err(refused)?;
    setgid(gid).map_err(refused)?;
    setuid(user.uid).map_err(refused)
}
