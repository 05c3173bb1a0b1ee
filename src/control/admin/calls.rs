//! Requests: each is checked, read, asked of control and answered.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use futures_channel::oneshot;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::Service;
use hyper::{Request as HttpRequest, Response};
use monoio::time::timeout;

use crate::bounds::ADMIN_BODY_BYTES_MAX;
use crate::control::admin::fault::Fault;
use crate::control::admin::guard::{self, Door};
use crate::control::admin::reply::Reply;
use crate::control::admin::route::Resource;
use crate::control::admin::watch::{Told, Watch};
use crate::control::admin::{Admin, Limits};
use crate::control::request::{Answer, Request, RequestSender, Wanted};

/// What all connections share: the way to control.
pub(super) struct Desk {
    admin: Rc<Admin>,
    /// Out of its cell only while it sends. One for all: each clone would have a place of its own in
    /// the queue.
    requests: Cell<Option<RequestSender>>,
}

impl Desk {
    /// The way to control.
    pub(super) fn new(admin: Rc<Admin>, requests: RequestSender) -> Self {
        let requests = Cell::new(Some(requests));
        Self { admin, requests }
    }

    /// How much and how long.
    pub(super) fn limits(&self) -> Limits {
        self.admin.limits
    }

    /// Asks control.
    ///
    /// Errors: what control refuses, and that it has no time.
    async fn ask(&self, wanted: Wanted) -> Result<Answer, Fault> {
        let busy = || Fault::unavailable("control is busy; try again");
        let (reply, answer) = oneshot::channel();
        let mut requests = self.requests.take().ok_or_else(busy)?;
        let sent = requests.try_send(Request { wanted, reply });
        self.requests.set(Some(requests));
        sent.map_err(|_| busy())?;
        match timeout(self.admin.limits.control, answer).await {
            Ok(Ok(answer)) => Ok(answer?),
            Ok(Err(_)) => Err(Fault::unavailable("control has dropped the request")),
            Err(_) => Err(Fault::unavailable(
                "control has not answered in time; a change may still be made",
            )),
        }
    }
}

/// The requests of one connection.
pub(super) struct Calls {
    client: Rc<Client>,
}

impl Calls {
    /// The requests of a connection that came in by a door.
    pub(super) fn new(desk: Rc<Desk>, door: Door, watch: Rc<Watch>) -> Self {
        let left = Cell::new(desk.limits().requests);
        let client = Client {
            desk,
            door,
            watch,
            left,
        };
        Self {
            client: Rc::new(client),
        }
    }
}

impl Service<HttpRequest<Incoming>> for Calls {
    type Response = Response<Full<Told>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Full<Told>>, Infallible>>>>;

    fn call(&self, request: HttpRequest<Incoming>) -> Self::Future {
        self.client.watch.on_request();
        let client = Rc::clone(&self.client);
        Box::pin(async move { Ok(client.answer(request).await) })
    }
}

struct Client {
    desk: Rc<Desk>,
    door: Door,
    watch: Rc<Watch>,
    /// The requests that the connection may still bring.
    left: Cell<u32>,
}

impl Client {
    async fn answer(&self, request: HttpRequest<Incoming>) -> Response<Full<Told>> {
        let (head, body) = request.into_parts();
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        let mut reply = match self.check(&head) {
            Ok(resource) => self.carry_out(&resource, &head, body).await,
            // Whatever of the body is under way would be taken for the next request's head.
            Err(fault) if guard::has_body(&head.headers) => Reply::fault(&fault).closing(),
            Err(fault) => Reply::fault(&fault),
        };
        if left == 0 {
            reply = reply.closing();
        }
        let told = Told::new(reply.text, Rc::clone(&self.watch));
        let mut response = Response::new(Full::new(told));
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        response
    }

    /// All that can be said before the body is read.
    fn check(&self, head: &Parts) -> Result<Resource, Fault> {
        let guard = &self.desk.admin.guard;
        guard.check_origin(head, self.door)?;
        let resource = Resource::at(head.uri.path());
        // Without the token nobody learns what there is.
        let route = resource.as_ref().ok().and_then(Resource::public);
        guard.check_token(&head.headers, route)?;
        let resource = resource?;
        resource.check_method(&head.method)?;
        guard::check_content(head)?;
        Ok(resource)
    }

    async fn carry_out(&self, resource: &Resource, head: &Parts, body: Incoming) -> Reply {
        let bytes = match timeout(self.desk.limits().body, read(body)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(fault)) => return Reply::fault(&fault).closing(),
            Err(_) => return Reply::fault(&Fault::timeout("body")).closing(),
        };
        let wanted = match resource.wanted(&head.method, head.uri.query(), &bytes) {
            Ok(wanted) => wanted,
            Err(fault) => return Reply::fault(&fault),
        };
        match self.desk.ask(wanted).await {
            Ok(answer) => Reply::of(resource, &head.method, answer),
            Err(fault) => Reply::fault(&fault),
        }
    }
}

/// Reads a body as long as it is short enough.
async fn read(mut body: Incoming) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Fault::invalid(None, format!("the body cannot be read: {error}")))?;
        let Some(part) = frame.data_ref() else {
            continue;
        };
        if bytes.len() + part.len() > ADMIN_BODY_BYTES_MAX {
            return Err(Fault::body_size(ADMIN_BODY_BYTES_MAX));
        }
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}
