//! An explicit proxy, as `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name it, for requests that are to go through it (ENV-56).
//!
//! What such a variable says may have a password in it. So only a proxy's scheme, host and port are ever shown.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls;
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;

/// What a proxy answers to whoever has to say first who he is. No service of AWS answers so.
const WANTS_CREDENTIALS: u16 = 407;

/// Names of the variables, in the order in which they count.
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const NONE: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A proxy for each scheme, where there is one, and hosts that are reached without.
#[derive(Clone)]
pub struct Proxy {
    http: Option<ProxyConfig>,
    https: Option<ProxyConfig>,
    matcher: Arc<Matcher>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy(…)")
    }
}

/// A variable that should name a proxy and does not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is no address of an HTTP proxy: it has to be like `http://HOST:PORT`")]
pub struct NoAddress {
    /// Which.
    pub variable: &'static str,
}

/// The variables of an environment that can name a proxy, as they stand there: they are looked at when one is wanted.
#[derive(Clone, Default)]
pub struct Variables(Vec<(OsString, OsString)>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables(…)")
    }
}

impl Variables {
    /// Those of an environment.
    #[must_use]
    pub fn of(environment: &[(OsString, OsString)]) -> Self {
        let names = [HTTP, HTTPS, NONE];
        let is_meant = |name: &OsString| names.iter().flatten().any(|known| name == known);
        let meant = environment.iter().filter(|(name, _)| is_meant(name));
        Self(meant.cloned().collect())
    }

    /// The proxy that they name, if they name one.
    pub fn proxy(&self) -> Result<Option<Proxy>, NoAddress> {
        Proxy::named(|name| {
            let found = self.0.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.to_string_lossy().into_owned())
        })
    }
}

impl Proxy {
    /// The proxy that variables name, if they name one. `variable` gives the value of one; an empty one says nothing.
    pub fn named(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, NoAddress> {
        let first = |names: [&'static str; 2]| {
            let mut values = names.into_iter().map(|name| (name, variable(name)));
            values.find_map(|(name, value)| {
                let value = value.filter(|value| !value.is_empty())?;
                Some((name, value))
            })
        };
        let mut matcher = Matcher::builder();
        let mut http = None;
        if let Some((name, value)) = first(HTTP) {
            let address = address(name, &value)?;
            http = Some(config(ProxyConfig::http, name, &address)?);
            matcher = matcher.http(address);
        }
        let mut https = None;
        if let Some((name, value)) = first(HTTPS) {
            let address = address(name, &value)?;
            https = Some(config(ProxyConfig::https, name, &address)?);
            matcher = matcher.https(address);
        }
        if http.is_none() && https.is_none() {
            return Ok(None);
        }
        if let Some((_, hosts)) = first(NONE) {
            // To the matcher an asterisk means every name, and no address.
            if hosts.split(',').any(|host| host.trim() == "*") {
                return Ok(None);
            }
            matcher = matcher.no(hosts);
        }
        Ok(Some(Self {
            http,
            https,
            matcher: Arc::new(matcher.build()),
        }))
    }

    /// The way to a service through it. Hosts that need none are reached directly.
    #[must_use]
    pub fn client(&self) -> SharedHttpClient {
        SharedHttpClient::new(Ways {
            matcher: Arc::clone(&self.matcher),
            direct: way(ProxyConfig::disabled()),
            http: self.http.clone().map(way),
            https: self.https.clone().map(way),
        })
    }
}

/// An address with its scheme, which may be left out.
fn address(variable: &'static str, value: &str) -> Result<String, NoAddress> {
    let address = if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    };
    let known = address.parse::<Uri>().ok();
    let known = known.filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    });
    known.map(|_| address).ok_or(NoAddress { variable })
}

fn config<E>(
    make: impl Fn(String) -> Result<ProxyConfig, E>,
    variable: &'static str,
    address: &str,
) -> Result<ProxyConfig, NoAddress> {
    make(address.to_owned()).map_err(|_| NoAddress { variable })
}

fn way(config: ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = Connector::builder().proxy_config(config.clone());
        builder.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            builder.set_sleep_impl(components.sleep_impl());
        }
        builder
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::Ring,
            ))
            .build()
    })
}

/// The ways of a client.
#[derive(Debug)]
struct Ways {
    matcher: Arc<Matcher>,
    direct: SharedHttpClient,
    http: Option<SharedHttpClient>,
    https: Option<SharedHttpClient>,
}

impl HttpClient for Ways {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(Connectors {
            matcher: Arc::clone(&self.matcher),
            direct: connector(&self.direct),
            http: self.http.as_ref().map(connector),
            https: self.https.as_ref().map(connector),
        })
    }
}

/// The ways of one kind of requests.
#[derive(Debug)]
struct Connectors {
    matcher: Arc<Matcher>,
    direct: SharedHttpConnector,
    http: Option<SharedHttpConnector>,
    https: Option<SharedHttpConnector>,
}

impl HttpConnector for Connectors {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri: Option<Uri> = request.uri().parse().ok();
        let proxy = uri.as_ref().and_then(|uri| self.matcher.intercept(uri));
        let is_secret = request.uri().starts_with("https:");
        let way = if is_secret { &self.https } else { &self.http };
        let (Some(proxy), Some(way)) = (proxy, way) else {
            return self.direct.call(request);
        };
        let call = way.call(request);
        let name = shown(proxy.uri());
        HttpConnectorFuture::new(async move {
            let answer = call.await.map_err(|error| by_proxy(name.clone(), error))?;
            if answer.status().as_u16() == WANTS_CREDENTIALS {
                let why = "it wants credentials that its variable does not have".into();
                return Err(by_proxy(name, ConnectorError::other(why, None)));
            }
            Ok(answer)
        })
    }
}

/// A proxy without what whoever uses it has to say.
fn shown(proxy: &Uri) -> String {
    let scheme = proxy.scheme_str().unwrap_or("http");
    let host = proxy.host().unwrap_or_default();
    match proxy.port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// A request that came to nothing on its way through a proxy.
#[derive(Debug, thiserror::Error)]
#[error("the proxy {proxy} did not carry the request")]
struct NotCarried {
    proxy: String,
    source: Box<dyn Error + Send + Sync>,
}

/// The same error, of the same kind, with the proxy's name.
fn by_proxy(proxy: String, error: ConnectorError) -> ConnectorError {
    let (is_timeout, is_user, is_io) = (error.is_timeout(), error.is_user(), error.is_io());
    let kind = error.as_other();
    let source = error.into_source();
    let error = Box::new(NotCarried { proxy, source });
    match (is_timeout, is_user, is_io) {
        (true, _, _) => ConnectorError::timeout(error),
        (_, true, _) => ConnectorError::user(error),
        (_, _, true) => ConnectorError::io(error),
        _ => ConnectorError::other(error, kind),
    }
}

/// Whether it is a proxy that a request did not get through.
#[must_use]
pub fn is_to_blame(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (*error).source())
        .any(|error| error.downcast_ref::<NotCarried>().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(variables: &[(&str, &str)]) -> Result<Option<Proxy>, NoAddress> {
        Proxy::named(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn way_to(variables: &[(&str, &str)], uri: &'static str) -> Option<String> {
        let proxy = named(variables).unwrap()?;
        let intercept = proxy.matcher.intercept(&Uri::from_static(uri))?;
        Some(shown(intercept.uri()))
    }

    #[test]
    fn variables_name_a_proxy_for_each_scheme() {
        let both = [("HTTP_PROXY", "one:1"), ("HTTPS_PROXY", "http://u:p@two:2")];
        let some = |proxy: &str| Some(proxy.to_owned());
        assert_eq!(way_to(&both, "http://s3.test/"), some("http://one:1"));
        assert_eq!(way_to(&both, "https://s3.test/"), some("http://two:2"));
        let small = [("https_proxy", "https://two")];
        assert_eq!(way_to(&small, "https://s3.test/"), some("https://two"));
        assert_eq!(way_to(&small, "http://s3.test/"), None);
        let order = [("https_proxy", "small:1"), ("HTTPS_PROXY", "large:1")];
        assert_eq!(way_to(&order, "https://s3.test/"), some("http://large:1"));
    }

    #[test]
    fn hosts_that_need_none_are_reached_directly() {
        for (hosts, host, is_direct) in [
            ("s3.test", "https://s3.test/", true),
            ("s3.test", "https://bucket.s3.test/", true),
            (".test", "https://s3.test/", true),
            ("*", "https://s3.test/", true),
            ("*", "https://127.0.0.1:9/", true),
            ("127.0.0.0/8, other", "https://127.0.0.1:9/", true),
            ("3.test", "https://s3.test/", false),
            ("", "https://s3.test/", false),
        ] {
            let variables = [("HTTPS_PROXY", "proxy:1"), ("NO_PROXY", hosts)];
            assert_eq!(way_to(&variables, host).is_none(), is_direct, "{hosts}");
        }
    }

    #[test]
    fn what_is_no_address_is_said_without_it() {
        assert!(named(&[]).unwrap().is_none());
        assert!(named(&[("HTTP_PROXY", "")]).unwrap().is_none());
        assert!(named(&[("NO_PROXY", "*")]).unwrap().is_none());
        for value in [
            "socks5://u:hidden@p:1",
            "http://",
            "http://u:hidden@",
            "a b:1",
        ] {
            let error = named(&[("HTTPS_PROXY", value)]).unwrap_err();
            assert_eq!(error.variable, "HTTPS_PROXY", "{value}");
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
        let proxy = named(&[("HTTPS_PROXY", "http://u:hidden@p:1")]);
        assert!(!format!("{proxy:?}").contains("hidden"), "{proxy:?}");
    }
}
