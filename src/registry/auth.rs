//! Credentials as the engine takes them, for one request.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Map, Value, json};

/// Who pushes or pulls.
#[derive(Clone, PartialEq, Eq)]
pub enum RegistryAuth {
    /// A user and a password, such as `AWS` and a token of Amazon ECR.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that stands for a user, as some registries give one out at a login.
    IdentityToken(String),
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username}, …)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(…)"),
        }
    }
}

/// The value of `X-Registry-Auth`: JSON in the alphabet of Base64 that is for URLs, with padding (IMG-11). Engines want it also from
/// those who have no credentials.
pub(super) fn header(auth: Option<&RegistryAuth>, server: &str) -> String {
    let value = auth.map_or_else(|| json!({}), |auth| value(auth, server));
    URL_SAFE.encode(value.to_string())
}

/// The value of `X-Registry-Config`, which a build takes: credentials for several registries, by the addresses that Docker
/// has for them.
#[must_use]
pub fn header_for_all(all: &[(String, RegistryAuth)]) -> String {
    let values = all
        .iter()
        .map(|(server, auth)| (server.clone(), value(auth, server)));
    let values: Map<String, Value> = values.collect();
    URL_SAFE.encode(Value::Object(values).to_string())
}

fn value(auth: &RegistryAuth, server: &str) -> Value {
    match auth {
        RegistryAuth::Password { username, password } => {
            json!({"username": username, "password": password, "serveraddress": server})
        }
        RegistryAuth::IdentityToken(token) => {
            json!({"identitytoken": token, "serveraddress": server})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(password: &str) -> RegistryAuth {
        RegistryAuth::Password {
            username: "AWS".to_owned(),
            password: password.to_owned(),
        }
    }

    // IMG-11
    #[test]
    fn credentials_travel_in_the_alphabet_for_urls() {
        // Bytes whose Base64 has the two letters that differ.
        let auth = password("\u{fb}\u{ff}\u{fe}>>>???");
        let value = header(Some(&auth), "host:1");
        assert!(
            !value.contains(['+', '/']) && value.contains(['-', '_']),
            "{value}"
        );
        let read: Value = serde_json::from_slice(&URL_SAFE.decode(value).unwrap()).unwrap();
        assert_eq!(read["username"], "AWS");
        assert_eq!(read["password"], "\u{fb}\u{ff}\u{fe}>>>???");
        assert_eq!(read["serveraddress"], "host:1");
        assert_eq!(header(None, "host"), "e30=");
        let token = header(Some(&RegistryAuth::IdentityToken("t".to_owned())), "h");
        let token = URL_SAFE.decode(token).unwrap();
        assert_eq!(token, br#"{"identitytoken":"t","serveraddress":"h"}"#);
        let all = header_for_all(&[("h".to_owned(), RegistryAuth::IdentityToken("t".to_owned()))]);
        let all = URL_SAFE.decode(all).unwrap();
        assert_eq!(all, br#"{"h":{"identitytoken":"t","serveraddress":"h"}}"#);
        assert_eq!(header_for_all(&[]), "e30=");
    }

    // IMG-11
    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!(
            "{:?} {:?}",
            password("hunter2"),
            RegistryAuth::IdentityToken("hunter2".to_owned())
        );
        assert_eq!(shown, "Password(AWS, …) IdentityToken(…)");
    }
}
