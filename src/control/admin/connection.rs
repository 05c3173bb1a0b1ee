//! One connection to the admin interface, from its first byte to its last.
#![forbid(unsafe_code)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::server::conn::http1::Builder;
use monoio::time::{sleep_until, timeout};
use monoio_compat::hyper::MonoioIo;
use monoio_compat::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::bounds::{ADMIN_HEAD_BYTES_MAX, ADMIN_HEADERS_MAX, ADMIN_LINGER_BYTES};
use crate::control::admin::calls::{Calls, Desk};
use crate::control::admin::fault::Fault;
use crate::control::admin::guard::Door;
use crate::control::admin::reply::Reply;
use crate::control::admin::watch::{Watch, Watched};

/// Serves one connection until one of the two sides has had enough.
pub(super) async fn serve<S>(stream: S, door: Door, desk: Rc<Desk>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = desk.limits();
    let watch = Rc::new(Watch::new(limits));
    let io = Watched::new(MonoioIo::new(stream), Rc::clone(&watch));
    let calls = Calls::new(desk, door, Rc::clone(&watch));
    let mut connection = Builder::new()
        .half_close(true)
        .max_buf_size(ADMIN_HEAD_BYTES_MAX)
        .max_header_size(ADMIN_HEAD_BYTES_MAX)
        .max_headers(ADMIN_HEADERS_MAX)
        .serve_connection(io, calls);
    let end = until_due(&watch, |cx| connection.poll_without_shutdown(cx)).await;
    let fault = match end {
        Some(Ok(())) => None,
        Some(Err(error)) if error.is_parse() && watch.is_before_request() => {
            Some(malformed(&error))
        }
        None if watch.is_amid_head() => Some(Fault::timeout("head")),
        Some(Err(_)) | None => return,
    };
    let stream = connection.into_parts().io.into_inner().inner();
    let leave = leave(stream, fault.as_ref(), watch.has_ended());
    let _in_time = timeout(limits.linger, leave).await;
}

/// Tells one client too many that it is one.
pub(super) async fn refuse<S>(stream: S, desk: &Desk)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let fault = Fault::unavailable("there are too many connections to the admin interface");
    let leave = leave(stream, Some(&fault), false);
    let _in_time = timeout(desk.limits().linger, leave).await;
}

/// Polls a connection, and gives it up when it is late.
async fn until_due<T>(
    watch: &Watch,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let mut due = watch.due();
    let mut late = pin!(sleep_until(due));
    poll_fn(|cx| {
        if let Poll::Ready(end) = poll(cx) {
            return Poll::Ready(Some(end));
        }
        if due != watch.due() {
            due = watch.due();
            late.as_mut().reset(due);
        }
        late.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Says the last word, and waits until the client has taken it.
async fn leave<S>(mut stream: S, fault: Option<&Fault>, has_ended: bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(fault) = fault {
        let bytes = Reply::fault(fault).closing().to_bytes();
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
    if has_ended || stream.shutdown().await.is_err() {
        return;
    }
    let mut room = [0; 4096];
    let mut left = ADMIN_LINGER_BYTES;
    while left > 0 {
        match stream.read(&mut room).await {
            Ok(bytes) if bytes > 0 => left = left.saturating_sub(bytes),
            _ => return,
        }
    }
}

fn malformed(error: &hyper::Error) -> Fault {
    if error.is_parse_too_large() {
        return Fault::head_size(ADMIN_HEAD_BYTES_MAX, ADMIN_HEADERS_MAX);
    }
    Fault::invalid(None, format!("this is no HTTP/1.1 request: {error}"))
}
