//! Asks the admin address.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::{Admin, Exit};

/// How long an answer may take; the proxy itself gives its queue 10 s.
const ANSWER: Duration = Duration::from_secs(15);

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("nothing listens on {0}: is helix-proxy running, and is this its admin address?")]
    NobodyThere(String),
    #[error("cannot ask {admin}: {error}")]
    Transport { admin: String, error: ureq::Error },
    #[error("{0}")]
    Refused(String),
    #[error("this change needs the admin token: name its environment variable with --token-env")]
    TokenNeeded,
    #[error("the answer is not one of helix-proxy's: {0}")]
    Shape(serde_json::Error),
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
    #[error("the environment variable {0} is not set")]
    TokenMissing(String),
    #[error("{0}")]
    Usage(String),
}

impl Fault {
    /// What the shell is told.
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::TokenMissing(_) | Self::Usage(_) => Exit::Usage,
            Self::NobodyThere(_)
            | Self::Transport { .. }
            | Self::Refused(_)
            | Self::TokenNeeded
            | Self::Shape(_)
            | Self::Output(_) => Exit::Failed,
        }
    }
}

/// A connection to one admin address.
pub(super) struct Client {
    agent: Agent,
    admin: String,
    token: Option<String>,
}

impl Client {
    /// To this address; the token is looked up now, so that a missing one is told before asking.
    pub(super) fn new(admin: &Admin, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let token = match &admin.token_env {
            Some(name) => Some(env(name).ok_or_else(|| Fault::TokenMissing(name.clone()))?),
            None => None,
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None) // this machine or a named one, never by way of a web proxy
            .timeout_global(Some(ANSWER))
            .build()
            .into();
        let admin = admin.admin.clone();
        Ok(Self {
            agent,
            admin,
            token,
        })
    }

    /// The answer to a question.
    pub(super) fn get(&self, path: &str) -> Result<Value, Fault> {
        self.answer(self.agent.get(self.url(path)).call())
    }

    /// The answer to a wish.
    pub(super) fn post(&self, path: &str, wish: &impl Serialize) -> Result<Value, Fault> {
        let mut request = self.agent.post(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.answer(request.send_json(wish))
    }

    /// Whether the proxy is ready, or why not.
    pub(super) fn ready(&self) -> Result<Result<(), String>, Fault> {
        let call = self.agent.get(self.url("/health/ready")).call();
        let mut response = call.map_err(|error| self.unreached(error))?;
        if response.status().is_success() {
            return Ok(Ok(()));
        }
        Ok(Err(told(&mut response, "reason")))
    }

    fn answer(&self, call: Result<Response<Body>, ureq::Error>) -> Result<Value, Fault> {
        let mut response = call.map_err(|error| self.unreached(error))?;
        match response.status() {
            StatusCode::OK => {
                let body = response.body_mut().read_to_string();
                let body = body.map_err(|error| self.unreached(error))?;
                serde_json::from_str(&body).map_err(Fault::Shape)
            }
            StatusCode::UNAUTHORIZED if self.token.is_none() => Err(Fault::TokenNeeded),
            _refused => Err(Fault::Refused(told(&mut response, "error"))),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    fn unreached(&self, error: ureq::Error) -> Fault {
        let admin = self.admin.clone();
        match error {
            ureq::Error::ConnectionFailed => Fault::NobodyThere(admin),
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                Fault::NobodyThere(admin)
            }
            error => Fault::Transport { admin, error },
        }
    }
}

/// What a refusal says under this key, or its HTTP status.
fn told(response: &mut Response<Body>, key: &str) -> String {
    let body = response.body_mut().read_to_string().unwrap_or_default();
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let told = body
        .get(key)
        .and_then(Value::as_str)
        .map(super::table::plain);
    told.unwrap_or_else(|| format!("the admin address answered {}", response.status()))
}
