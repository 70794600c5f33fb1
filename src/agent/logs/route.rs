//! How the log of a build goes: directly, or through the proxy of the agent's environment, as its buildspec says (AGENT-102).

use std::sync::{Arc, OnceLock};

use aws_sdk_cloudwatchlogs::Client;

use crate::event::EventKind;
use crate::proxy::{NoAddress, Variables};

/// A way to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Through no proxy.
    Directly,
    /// Through the proxy that the agent's environment names, if it names one.
    ThroughProxy,
}

/// The way of one build's log. It is found in the build's events, so the next agent finds it there again.
#[derive(Clone, Debug, Default)]
pub struct Chosen(Arc<OnceLock<Route>>);

impl Chosen {
    /// The way, once it is known.
    #[must_use]
    pub fn get(&self) -> Option<Route> {
        self.0.get().copied()
    }

    /// Learns from an event. The buildspec says it; what does more than begin before that has none that can be read.
    pub fn learn(&self, event: &EventKind) {
        match event {
            EventKind::BuildspecRead(read) if read.proxy.logs => self.choose(Route::ThroughProxy),
            EventKind::BuildStarted(_)
            | EventKind::PhaseStarted { .. }
            | EventKind::SourceReady(_)
            | EventKind::BuildspecFound { .. }
            | EventKind::StopRequested { .. }
            | EventKind::Warning(_) => {}
            _ => self.choose(Route::Directly),
        }
    }

    /// There are no more events to learn from.
    pub fn end(&self) {
        self.choose(Route::Directly);
    }

    /// The first one counts: a retry reads the same buildspec again.
    fn choose(&self, route: Route) {
        let _ = self.0.get_or_init(|| route);
    }
}

/// Clients of CloudWatch Logs for both ways.
#[derive(Debug)]
pub struct Clients {
    direct: Client,
    variables: Variables,
    /// Made when the first log wants it.
    proxied: OnceLock<Result<Client, NoAddress>>,
}

impl Clients {
    /// A client, and the variables that name the proxy of another one.
    #[must_use]
    pub const fn new(direct: Client, variables: Variables) -> Self {
        Self {
            direct,
            variables,
            proxied: OnceLock::new(),
        }
    }

    /// The client that goes this way. An error says what is wrong with the variables: no log goes directly instead.
    pub fn client(&self, route: Route) -> Result<&Client, &NoAddress> {
        match route {
            Route::Directly => Ok(&self.direct),
            Route::ThroughProxy => self.proxied.get_or_init(|| self.through_proxy()).as_ref(),
        }
    }

    fn through_proxy(&self) -> Result<Client, NoAddress> {
        let Some(proxy) = self.variables.proxy()? else {
            return Ok(self.direct.clone());
        };
        let config = self.direct.config().to_builder();
        Ok(Client::from_conf(
            config.http_client(proxy.client()).build(),
        ))
    }
}
