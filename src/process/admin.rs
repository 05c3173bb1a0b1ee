//! The admin interface's listening socket and its secret, had before privileges are given up.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::path::Path;
use std::sync::Once;

use crate::bounds::ADMIN_BACKLOG;
use crate::control::AdminSetup;
use crate::control::admin::AdminListener;
use crate::plan::admin::AdminPlan;
use crate::plan::place::Bind;
use crate::plan::problems::Problem;
use crate::process::listeners::{SocketFile, listen_unix, retry_in_use};
use crate::process::{ProcessError, secret};

/// Opens the interface, if there is to be one. Its file goes to the others.
///
/// Errors: [`ProcessError::Plan`] for a token that cannot be read, [`ProcessError::Bind`].
pub(super) fn open(
    plan: Option<&AdminPlan>,
    files: &mut Vec<SocketFile>,
) -> Result<Option<(Bind, AdminSetup)>, ProcessError> {
    let Some(plan) = plan else {
        return Ok(None);
    };
    let token = plan.token.as_ref().map(secret::read).transpose();
    let token =
        token.map_err(|reason| ProcessError::Plan(vec![Problem::new("admin.token", reason)]))?;
    let refused = |error| ProcessError::bind(&plan.bind, &error);
    let (bind, listener) = match &plan.bind {
        Bind::Tcp(addr) => {
            // The listener of an instance that was killed lives on for some milliseconds.
            let retried = retry_in_use(|| TcpListener::bind(addr));
            let listener = retried.map_err(refused)?;
            listener.set_nonblocking(true).map_err(refused)?;
            let bound = listener.local_addr().map_err(refused)?;
            (Bind::Tcp(bound), AdminListener::Tcp(listener))
        }
        Bind::Unix(path) => {
            let listener = listen_unix(path, Some(UNIX_MODE), ADMIN_BACKLOG).map_err(refused)?;
            files.push(file(path));
            (plan.bind.clone(), AdminListener::Unix(listener.into()))
        }
    };
    let setup = AdminSetup {
        listener,
        plan: plan.clone(),
        token,
    };
    Ok(Some((bind, setup)))
}

fn file(path: &Path) -> SocketFile {
    SocketFile {
        path: path.to_path_buf(),
        removed: Once::new(),
    }
}

/// Whoever can open the socket steers the balancer, so not everybody can.
const UNIX_MODE: u32 = 0o660;
