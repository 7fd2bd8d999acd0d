//! The answers' forms, the same for all makes.
//! Absent on purpose: what is in them.

use axum::body::Body;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

pub(super) fn set(answer: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().append(name, value);
    }
}

fn of(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(super) fn html(content: &str) -> Response<Body> {
    of(
        StatusCode::OK,
        "text/html;charset=UTF-8",
        Body::from(format!("<!doctype html><html><body>{content}</body></html>")),
    )
}

pub(super) fn json(body: Body) -> Response<Body> {
    of(StatusCode::OK, "application/json;charset=UTF-8", body)
}

pub(super) fn value(value: &Value) -> Response<Body> {
    json(Body::from(value.to_string()))
}

pub(super) fn xml(text: String) -> Response<Body> {
    of(StatusCode::OK, "text/xml;charset=UTF-8", Body::from(text))
}

/// With an HTML page, as servers of the `KoCoBox`'s kind have one for each status.
pub(super) fn status(status: StatusCode) -> Response<Body> {
    of(status, "text/html;charset=UTF-8", Body::from("<html></html>"))
}

/// A status and nothing else.
pub(super) fn bare(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// A refusal with a JSON body.
pub(super) fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    let body = serde_json::json!({"result": "ERROR", "message": message});
    of(status, "application/json;charset=UTF-8", Body::from(body.to_string()))
}

pub(super) fn redirect(to: &str) -> Response<Body> {
    let mut answer = of(StatusCode::FOUND, "text/html;charset=UTF-8", Body::empty());
    set(&mut answer, header::LOCATION, to);
    answer
}
