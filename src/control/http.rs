//! The routes of the admin address.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::access::Access;
use super::letters::{self, Chosen, LETTERS_MAX, Move, Moved, Window};
use super::listener::Guarded;
use super::status::StatusSource;
use crate::replay::{Queue, Refused};
use crate::telemetry::{Metrics, TEXT_FORMAT};

/// The largest request body.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long the queue may take to answer.
const QUEUE_ANSWER: Duration = Duration::from_secs(10);

/// How long requests in flight may take once the proxy shuts down.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the routes need.
#[derive(Debug)]
pub struct Admin {
    /// Who may ask.
    pub access: Access,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For the dead letters; none with a single cluster.
    pub queue: Option<Arc<dyn Queue>>,
    /// For `/status` and `/health/ready`.
    pub status: Arc<dyn StatusSource>,
}

type Shared = State<Arc<Admin>>;

/// Serves the admin address until `shutdown` becomes true or its sender is gone; then requests in
/// flight have two seconds.
///
/// # Errors
/// If the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    admin: Arc<Admin>,
    shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let server = axum::serve(Guarded::new(listener), routes(admin))
        .with_graceful_shutdown(leave(shutdown.clone()));
    let overdue = async {
        leave(shutdown).await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        done = server => done,
        () = overdue => Ok(()),
    }
}

async fn leave(mut shutdown: watch::Receiver<bool>) {
    // An error means that the sender is gone: nobody is left to say it.
    drop(shutdown.wait_for(|leave| *leave).await);
}

fn routes(admin: Arc<Admin>) -> Router {
    let changes = Router::new()
        .route("/dlq/requeue", post(requeue))
        .route("/dlq/purge", post(purge))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&admin),
            check_token,
        ));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/status", get(status))
        .route("/replay/status", get(replay_status))
        .route("/dlq", get(list))
        .route("/dlq/{number}", get(show))
        .merge(changes)
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&admin),
            check_host,
        ))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(admin)
}

/// Why a request was not served.
enum Fault {
    Asked(StatusCode, String),
    NoQueue,
    Ours(prometheus::Error),
    QueueSilent,
    QueueRefused(Refused),
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (code, text) = match self {
            Self::Asked(code, text) => (code, text),
            Self::NoQueue => {
                let text = "there is no replay queue: only one cluster is configured";
                (StatusCode::NOT_FOUND, text.to_owned())
            }
            Self::Ours(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            Self::QueueSilent => {
                let text = "the replay queue did not answer in time";
                (StatusCode::SERVICE_UNAVAILABLE, text.to_owned())
            }
            Self::QueueRefused(refused) => (StatusCode::SERVICE_UNAVAILABLE, refused.to_string()),
        };
        (code, Json(json!({ "error": text }))).into_response()
    }
}

impl From<JsonRejection> for Fault {
    fn from(rejection: JsonRejection) -> Self {
        Self::Asked(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Fault {
    fn from(rejection: PathRejection) -> Self {
        Self::Asked(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Fault {
    fn from(rejection: QueryRejection) -> Self {
        Self::Asked(rejection.status(), rejection.body_text())
    }
}

type Reply<T> = Result<T, Fault>;

async fn check_host(State(admin): Shared, request: Request, next: Next) -> Response {
    let host = named(&request, header::HOST).unwrap_or_default();
    if admin.access.knows_host(host) {
        return next.run(request).await;
    }
    let text = "the Host header names neither this address nor a listed host";
    Fault::Asked(StatusCode::MISDIRECTED_REQUEST, text.to_owned()).into_response()
}

async fn check_token(State(admin): Shared, request: Request, next: Next) -> Response {
    if admin
        .access
        .may_change(named(&request, header::AUTHORIZATION))
    {
        return next.run(request).await;
    }
    let text = "this needs the header `Authorization: Bearer TOKEN` with the admin token";
    Fault::Asked(StatusCode::UNAUTHORIZED, text.to_owned()).into_response()
}

/// The one value of this header; several are as good as none.
fn named(request: &Request, name: HeaderName) -> Option<&str> {
    let mut values = request.headers().get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

async fn nothing_here() -> Fault {
    Fault::Asked(StatusCode::NOT_FOUND, "there is nothing here".to_owned())
}

async fn metrics(State(admin): Shared) -> Reply<impl IntoResponse> {
    let text = admin.metrics.text().map_err(Fault::Ours)?;
    Ok(([(header::CONTENT_TYPE, TEXT_FORMAT)], text))
}

async fn live() -> impl IntoResponse {
    Json(json!({ "live": true }))
}

async fn ready(State(admin): Shared) -> impl IntoResponse {
    match admin.status.ready() {
        Ok(()) => (StatusCode::OK, Json(json!({ "ready": true }))),
        Err(reason) => {
            let body = json!({ "ready": false, "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}

async fn status(State(admin): Shared) -> impl IntoResponse {
    Json(admin.status.status())
}

async fn replay_status(State(admin): Shared) -> impl IntoResponse {
    Json(admin.status.status().replay)
}

async fn list(
    State(admin): Shared,
    window: Result<Query<Window>, QueryRejection>,
) -> Reply<Json<impl Serialize>> {
    let Query(window) = window?;
    in_time(letters::list(queue(&admin)?, window))
        .await
        .map(Json)
}

async fn show(
    State(admin): Shared,
    number: Result<Path<i64>, PathRejection>,
) -> Reply<Json<impl Serialize>> {
    let Path(number) = number?;
    let found = in_time(letters::find(queue(&admin)?, number)).await?;
    let none = || {
        Fault::Asked(
            StatusCode::NOT_FOUND,
            format!("there is no dead letter {number}"),
        )
    };
    found.map(Json).ok_or_else(none)
}

async fn requeue(
    State(admin): Shared,
    chosen: Result<Json<Chosen>, JsonRejection>,
) -> Reply<Json<Moved>> {
    shift(&admin, Move::Requeue, chosen?.0).await
}

async fn purge(
    State(admin): Shared,
    chosen: Result<Json<Chosen>, JsonRejection>,
) -> Reply<Json<Moved>> {
    shift(&admin, Move::Purge, chosen?.0).await
}

async fn shift(admin: &Admin, to: Move, chosen: Chosen) -> Reply<Json<Moved>> {
    let queue = queue(admin)?;
    let moved = match (chosen.numbers, chosen.all) {
        (None, Some(true)) => in_time(letters::shift_all(queue, to)).await?,
        (Some(numbers), None | Some(false)) if numbers.len() <= LETTERS_MAX => {
            in_time(letters::shift(queue, to, numbers)).await?
        }
        (Some(_), None | Some(false)) => {
            let text = format!("at most {LETTERS_MAX} numbers a request");
            return Err(Fault::Asked(StatusCode::BAD_REQUEST, text));
        }
        (None, None | Some(false)) | (Some(_), Some(true)) => {
            let text = "say either {\"numbers\": [..]} or {\"all\": true}".to_owned();
            return Err(Fault::Asked(StatusCode::BAD_REQUEST, text));
        }
    };
    tracing::info!(action = ?to, moved = moved.moved, "dead letters moved by an operator");
    Ok(Json(moved))
}

fn queue(admin: &Admin) -> Reply<&dyn Queue> {
    admin.queue.as_deref().ok_or(Fault::NoQueue)
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Refused>>) -> Reply<T> {
    match tokio::time::timeout(QUEUE_ANSWER, answer).await {
        Ok(answer) => answer.map_err(Fault::QueueRefused),
        Err(_elapsed) => Err(Fault::QueueSilent),
    }
}
