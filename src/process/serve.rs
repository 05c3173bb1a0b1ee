//! From ready to gone: signals, the drain, the end.
#![forbid(unsafe_code)]

use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, select, tick};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::error::CloseReason;
use crate::process::{ProcessError, Running};

/// Starts to listen for SIGTERM, SIGINT, SIGHUP and SIGUSR1. From here on they no longer end the process by
/// themselves.
///
/// Errors: the kernel's.
pub fn stop_signals() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    let (sender, receiver) = bounded(16);
    std::thread::Builder::new()
        .name("signals".to_string())
        .spawn(move || {
            for signal in signals.forever() {
                if sender.send(signal).is_err() {
                    break;
                }
            }
        })?;
    Ok(receiver)
}

/// Serves until a signal (or until `until`), then lets sessions end for `drain_timeout`; a second
/// signal ends them at once. `observe` is called once a second while serving.
///
/// Errors: [`ProcessError::WorkerFailed`] if it ended because a worker could not go on.
pub fn serve(
    mut running: Running,
    signals: &Receiver<i32>,
    drain_timeout: Duration,
    until: Option<Instant>,
    mut observe: impl FnMut(&Running),
) -> Result<(), ProcessError> {
    let ticks = tick(Duration::from_secs(1));
    let end = until.map_or_else(crossbeam_channel::never, crossbeam_channel::at);
    let news = running.control.news().clone();
    loop {
        select! {
            recv(signals) -> signal => match signal {
                Ok(SIGUSR1) => running.reopen_logs(),
                Ok(SIGHUP) => tracing::warn!("reload is not available in this version: restart to apply another configuration"),
                _ => break,
            },
            recv(news) -> news => match news {
                Ok(news) => running.handle_news(news),
                Err(_) => break,
            },
            recv(ticks) -> _ => observe(&running),
            recv(end) -> _ => break,
        }
        if running.is_over {
            return running.join();
        }
    }
    running.drain(drain_timeout);
    let open = running.session_limit().count();
    tracing::info!(sessions = open, timeout = ?drain_timeout, "stopping: sessions may end");
    while !running.is_over {
        select! {
            recv(signals) -> signal => {
                match signal {
                    Ok(SIGUSR1) => running.reopen_logs(),
                    Ok(SIGHUP) => {}
                    _ => {
                        running.stop();
                        tracing::info!("stopping at once");
                    }
                }
            }
            recv(news) -> news => match news {
                Ok(news) => running.handle_news(news),
                Err(_) => break,
            },
        }
    }
    let counters = running.counters().to_vec();
    running.join()?;
    for reason in CloseReason::ALL {
        let sessions: u64 = counters
            .iter()
            .map(|worker| worker.closed(*reason).value())
            .sum();
        if sessions > 0 {
            tracing::info!(reason = reason.word(), sessions, "sessions closed");
        }
    }
    tracing::info!("stopped");
    Ok(())
}
