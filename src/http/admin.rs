//! The admin port: metrics and health, for those who operate the instance.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use subtle::ConstantTimeEq;
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::oneshot,
};
use tower::ServiceExt;

use super::{
    Hints, Problem, Service,
    connection::{self, ConnectionLimits, Draining},
    listener::Listener,
    respond::AnswerBody,
    routes::{self, Instance},
    strain::Strain,
};
use crate::{metrics, queue::Published};

/// The admin port, on a thread of its own, so that it answers however busy the workers are.
#[derive(Debug)]
pub struct Admin {
    /// Its listening socket.
    pub listener: TcpListener,
    /// What a request must bear, if anything: `Authorization: Bearer TOKEN`. Health needs none.
    pub token: Option<String>,
    /// What it answers from.
    pub service: Arc<Service>,
    /// What the spool tells everybody.
    pub published: Arc<Published>,
    /// What its connections may do.
    pub connections: ConnectionLimits,
}

/// An admin port that is served.
#[derive(Debug)]
pub struct AdminHandle {
    /// Where it listens.
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Admin {
    /// Starts the port's thread. It ends when its handle is told to stop, or dropped.
    ///
    /// # Errors
    /// The operating system's, if there is no thread or no runtime to be had.
    pub fn spawn(self) -> io::Result<AdminHandle> {
        let address = self.listener.local_addr()?;
        self.listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("admin".into()).spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(self.run(stopped)),
                Err(error) => tracing::error!(%error, "the admin port cannot be served"),
            }
        })?;
        Ok(AdminHandle { address, stop, thread })
    }

    async fn run(self, mut stop: oneshot::Receiver<()>) {
        let metrics = Arc::clone(&self.service.metrics);
        let mut listener = match Listener::new(self.listener, metrics.counter(&metrics::ACCEPT_ERRORS, &[])) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the admin port cannot be served"),
        };
        let draining = Rc::new(Draining::default());
        let limits = Rc::new(self.connections);
        let routes = router(Instance { service: self.service, published: self.published }, self.token);
        let open = Rc::new(());
        loop {
            let stream = tokio::select! {
                stream = listener.accept(|| Problem::Internal.last_words(&Hints::default())) => stream,
                _ = &mut stop => return,
            };
            if Rc::strong_count(&open) > limits.most {
                continue;
            }
            let (routes, draining, limits, metrics) =
                (routes.clone(), Rc::clone(&draining), Rc::clone(&limits), Arc::clone(&metrics));
            let counted = Rc::clone(&open);
            tokio::task::spawn_local(async move {
                let answer = |request| {
                    let routes = routes.clone();
                    async move {
                        let response: Response = match routes.oneshot(request).await {
                            Ok(response) => response,
                            Err(never) => match never {},
                        };
                        response.map(AnswerBody::Right)
                    }
                };
                connection::serve(stream, answer, &limits, &draining, (&Strain::new(Arc::default()), &metrics)).await;
                drop(counted);
            });
        }
    }
}

impl AdminHandle {
    /// Closes the port, and waits until that is done.
    pub fn stop(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the admin port panicked");
        }
    }
}

fn router(instance: Instance, token: Option<String>) -> Router {
    let guarded = Router::new().route("/metrics", get(scrape)).layer(middleware::from_fn_with_state(token, authorize));
    guarded.merge(routes::health()).fallback(routes::not_found).with_state(instance)
}

async fn scrape(State(instance): State<Instance>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], instance.service.metrics.render())
}

async fn authorize(State(token): State<Option<String>>, request: Request, next: Next) -> Response {
    let bears = |header: &HeaderValue, token: &str| {
        let expected = format!("Bearer {token}");
        bool::from(header.as_bytes().ct_eq(expected.as_bytes()))
    };
    match (token, request.headers().get(AUTHORIZATION)) {
        (None, _) => next.run(request).await,
        (Some(token), Some(header)) if bears(header, &token) => next.run(request).await,
        (Some(_), header) => {
            let problem = if header.is_some() { Problem::UnknownKey } else { Problem::MissingKey };
            let mut response = routes::problem(&problem);
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            response
        }
    }
}
