//! Credentials for git in a build, by git's own protocol (CRED-20 to CRED-29).
//!
//! Git in a command starts this program under the name [`HELPER_NAME`], which asks the runner of the build through a private
//! socket. What the runner answers comes from where the caller said ([`Grant`]), and is for the host it belongs to: no
//! command has a token in its arguments or variables, and no file of the user's is touched.

mod grant;
mod keeper;
mod protocol;
mod site;

pub use grant::{Grant, Origin, Token};
pub use keeper::Keeper;
pub use protocol::{LONGEST, STOP};
pub use site::Site;

use std::path::Path;

/// Name under which this program is git's credential helper.
pub const HELPER_NAME: &str = "git-credential-runner";

/// Variable of a build with the socket that the helper asks.
pub const VARIABLE: &str = "RUNNER_GIT_SOCKET";

/// Variable with the number of settings that git has from its environment.
pub const COUNT: &str = "GIT_CONFIG_COUNT";

/// Variables that make the helper at this path the only one for these sites, behind `known` settings that the environment
/// has already (CRED-21). A helper of the user's would be given the token to keep it.
#[must_use]
pub fn settings(sites: &[Site], helper: &Path, known: usize) -> Vec<(String, String)> {
    let quoted = helper.display().to_string().replace('\'', r"'\''");
    let mut variables = Vec::new();
    let mut number = known;
    for site in sites {
        // Nothing takes away what was set before.
        for value in [String::new(), format!("!'{quoted}'")] {
            let key = format!("credential.{}.helper", site.url());
            variables.push((format!("GIT_CONFIG_KEY_{number}"), key));
            variables.push((format!("GIT_CONFIG_VALUE_{number}"), value));
            number += 1;
        }
    }
    variables.push((COUNT.to_owned(), number.to_string()));
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    // CRED-21
    #[test]
    fn settings_stand_behind_those_that_are_there() {
        let site = Site::parse("github.com").expect("a site");
        let found = settings(&[site], Path::new("/a b/it's"), 2);
        let expected = [
            ("GIT_CONFIG_KEY_2", "credential.https://github.com.helper"),
            ("GIT_CONFIG_VALUE_2", ""),
            ("GIT_CONFIG_KEY_3", "credential.https://github.com.helper"),
            ("GIT_CONFIG_VALUE_3", r"!'/a b/it'\''s'"),
            ("GIT_CONFIG_COUNT", "4"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, expected);
    }
}
