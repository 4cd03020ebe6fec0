//! The routes that are not hot: axum's.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{OPENAPI, Problem, Service, health::Question};
use crate::queue::Published;

/// What the routes answer from.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) service: Arc<Service>,
    pub(super) published: Arc<Published>,
}

/// `/livez` and `/readyz`, for both ports.
pub(super) fn health() -> Router<Instance> {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz))
}

/// The public routes beside the hot one.
pub(super) fn public(instance: Instance) -> Router {
    health().route("/openapi.json", get(openapi)).fallback(not_found).with_state(instance)
}

async fn livez(State(Instance { service, published }): State<Instance>) -> (StatusCode, &'static str) {
    service.health.answer(Question::Lives, &published)
}

async fn readyz(State(Instance { service, published }): State<Instance>) -> (StatusCode, &'static str) {
    service.health.answer(Question::IsReady, &published)
}

async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

pub(super) async fn not_found() -> Response {
    problem(&Problem::NotFound)
}

pub(super) fn problem(problem: &Problem) -> Response {
    (problem.status(), [(CONTENT_TYPE, "application/problem+json")], problem.body()).into_response()
}
