//! Who pushes and pulls: credentials of one registry.

use std::fs;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::engine;
use crate::registry::{Reference, RegistryAuth};

/// Credentials for the registry of an image: what `docker login` has left in Docker's configuration.
pub(super) fn credentials(image: &Reference) -> Result<Option<RegistryAuth>, String> {
    let Some(directory) = engine::docker_configuration() else {
        return Ok(None);
    };
    let path = directory.join("config.json");
    let unusable =
        |reason: &dyn std::fmt::Display| format!("could not read {}: {reason}", path.display());
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(&error)),
    };
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let read: Value = serde_json::from_slice(&text).map_err(|error| unusable(&error))?;
    let entry = &read["auths"][image.server()];
    if let Some(token) = entry["identitytoken"]
        .as_str()
        .filter(|token| !token.is_empty())
    {
        return Ok(Some(RegistryAuth::IdentityToken(token.to_owned())));
    }
    let Some(encoded) = entry["auth"].as_str().filter(|auth| !auth.is_empty()) else {
        return Ok(None);
    };
    decode(encoded).map(Some).ok_or_else(|| {
        unusable(&format!(
            "`auth` of {} is no Base64 of USER:PASSWORD",
            image.server()
        ))
    })
}

fn decode(encoded: &str) -> Option<RegistryAuth> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(RegistryAuth::Password {
        username: username.to_owned(),
        password: password.to_owned(),
    })
}
