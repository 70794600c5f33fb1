//! Who asks AWS, told without asking AWS: where the credentials come from (REG-5).
//!
//! A token of ECR's belongs to a principal, so a cache of tokens has to tell principals apart. The access key does not: that
//! of a role is another one after each renewal, and a cache by it would never be of use. So the key of the cache is what
//! leads to the credentials, found in the order in which the SDK looks for them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

/// Variables that name other places to ask than AWS's own.
const PLACES: &[&str] = &[
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_ENDPOINT_URL_STS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
];

/// Hashes what tells one principal from another. Each part has its length in front, so that no two lists are alike.
struct Hasher(Sha256);

impl Hasher {
    fn add(&mut self, part: impl AsRef<OsStr>) {
        let part = part.as_ref().as_bytes();
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }
}

/// A name for whoever these variables make a caller of AWS: 64 hexadecimal digits, in which no secret can be found.
/// A `profile` that was said wins over keys and AWS_PROFILE (CRED-34): two profiles are never one caller.
pub(super) fn principal(variables: &[(OsString, OsString)], profile: Option<&str>) -> String {
    let get = |name: &str| {
        let mut values = variables.iter().rev();
        values
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty())
    };
    let mut hasher = Hasher(Sha256::new());
    for place in PLACES {
        hasher.add(get(place).map_or(OsStr::new(""), OsString::as_os_str));
    }
    let key = get("AWS_ACCESS_KEY_ID").or_else(|| get("AWS_ACCESS_KEY"));
    if let (Some(key), None) = (key, profile) {
        // Variables do not renew themselves: the key is the same as long as they are.
        hasher.add("variables");
        hasher.add(key);
    } else {
        let home = get("HOME").map(PathBuf::from).unwrap_or_default();
        let profile = profile.map(OsString::from);
        let profile = profile.or_else(|| get("AWS_PROFILE").cloned());
        let profile = profile.unwrap_or_else(|| "default".into());
        let texts = ["config", "credentials"].map(|name| {
            let variable = match name {
                "config" => "AWS_CONFIG_FILE",
                _ => "AWS_SHARED_CREDENTIALS_FILE",
            };
            let named = get(variable).map(|path| match path.to_str() {
                Some(text) if text.starts_with("~/") => home.join(&text[2..]),
                _ => PathBuf::from(path),
            });
            let path = named.unwrap_or_else(|| home.join(".aws").join(name));
            std::fs::read_to_string(path).unwrap_or_default()
        });
        hasher.add("profile");
        hasher.add(&profile);
        hasher.add(profile_description(&texts, &profile.to_string_lossy()));
        // A profile may say nothing but a region, and leave the rest to the machine.
        add_surroundings(&mut hasher, &get);
    }
    crate::units::hex(&hasher.0.finalize())
}

/// What is asked where a profile does not say it all: a web identity, a container's agent, the machine's.
fn add_surroundings<'v>(hasher: &mut Hasher, get: &impl Fn(&str) -> Option<&'v OsString>) {
    let names = [
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ];
    for name in names {
        hasher.add(get(name).map_or(OsStr::new(""), OsString::as_os_str));
    }
    // Homes are shared between machines, and every machine may have a role of its own.
    for file in ["/proc/sys/kernel/hostname", "/etc/machine-id"] {
        hasher.add(std::fs::read_to_string(file).unwrap_or_default());
    }
}

/// Sections that lead to a profile's credentials, without what is secret or renewed: its own, in both files, and those it
/// refers to.
fn profile_description(texts: &[String; 2], profile: &str) -> String {
    let mut description = String::new();
    let mut wanted = vec![profile.to_owned()];
    let mut next = 0;
    // Profiles may refer to each other in a circle; each is looked at once.
    while let Some(name) = wanted.get(next).cloned() {
        next += 1;
        let lines: Vec<(String, String)> =
            texts.iter().flat_map(|text| section(text, &name)).collect();
        let temporary = lines.iter().any(|(key, _)| key == "aws_session_token");
        let renewed = lines.iter().any(|(key, _)| {
            [
                "role_arn",
                "sso_session",
                "sso_account_id",
                "credential_process",
            ]
            .contains(&key.as_str())
        });
        for (key, value) in lines {
            if ["source_profile", "sso_session"].contains(&key.as_str()) && !wanted.contains(&value)
            {
                wanted.push(value.clone());
            }
            let secret = ["aws_secret_access_key", "aws_session_token"].contains(&key.as_str());
            // Keys that are pasted or written into the file by a tool tell whose they are, even if they end soon.
            let passing = key == "aws_access_key_id" && temporary && renewed;
            if !secret && !passing {
                description.push_str(&format!("{name}\0{key}\0{value}\n"));
            }
        }
    }
    description
}

/// Keys and values of a section, `[NAME]`, `[profile NAME]` or `[sso-session NAME]`.
fn section(text: &str, name: &str) -> Vec<(String, String)> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(head) = trimmed.strip_prefix('[') {
            let head = head.split(']').next().unwrap_or_default().trim();
            let words = head
                .strip_prefix("profile ")
                .or_else(|| head.strip_prefix("sso-session "))
                .unwrap_or(head);
            inside = words.trim().trim_matches(['"', '\'']) == name;
        } else if inside
            && !trimmed.starts_with(['#', ';'])
            && let Some((key, value)) = trimmed.split_once('=')
        {
            lines.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> String {
        let variables: Vec<(OsString, OsString)> = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        principal(&variables, None)
    }

    fn home(config: &str, credentials: &str) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/config"), config).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        home
    }

    fn of_home(home: &tempfile::TempDir, profile: &str) -> String {
        of(&[
            ("HOME", home.path().to_str().unwrap()),
            ("AWS_PROFILE", profile),
        ])
    }

    const ROLE: &str = "[profile ci]\nrole_arn = arn:aws:iam::1:role/ci\nsource_profile = base\n";

    #[test]
    fn principals_are_told_apart_by_where_their_credentials_come_from() {
        let keys = "[base]\naws_access_key_id = AKIA1\naws_secret_access_key = s\n";
        let home = home(&format!("{ROLE}[profile other]\nrole_arn = x\n"), keys);
        let path = home.path().to_str().unwrap();
        let all = [
            of(&[]),
            of(&[("AWS_ACCESS_KEY_ID", "AKIA1")]),
            of(&[("AWS_ACCESS_KEY_ID", "AKIA2")]),
            of(&[
                ("AWS_ACCESS_KEY_ID", "AKIA1"),
                ("AWS_ENDPOINT_URL", "http://x"),
            ]),
            of_home(&home, "ci"),
            of_home(&home, "base"),
            of_home(&home, "other"),
            of(&[("AWS_ROLE_ARN", "a"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "f")]),
            of(&[("AWS_ROLE_ARN", "b"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "f")]),
            of(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/1")]),
            of(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/2")]),
            of(&[
                ("HOME", path),
                ("AWS_PROFILE", "ci"),
                ("AWS_ACCESS_KEY_ID", "AKIA3"),
            ]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert_eq!(one.len(), 64);
            assert!(!all[..index].contains(one), "{index}");
        }
    }

    // CRED-34
    #[test]
    fn a_profile_that_was_said_is_who_asks_whatever_keys_there_are() {
        let keys = "[a]\naws_access_key_id = AKIAA\n[b]\naws_access_key_id = AKIAB\n";
        let home = home("", keys);
        let key = |key: &str| {
            let home = ("HOME".into(), home.path().into());
            vec![home, ("AWS_ACCESS_KEY_ID".into(), key.into())]
        };
        let [a, b] = ["a", "b"].map(|profile| principal(&key("AKIA1"), Some(profile)));
        assert_ne!(a, b);
        assert_eq!(a, principal(&key("AKIA2"), Some("a")));
        assert_ne!(a, principal(&key("AKIA1"), None));
    }

    #[test]
    fn a_role_is_the_same_after_its_credentials_were_renewed() {
        let renewed = |key: &str| {
            let keys =
                format!("[base]\naws_access_key_id = AKIA1\naws_secret_access_key = {key}\n");
            let temporary = format!("[ci]\naws_access_key_id = {key}\naws_session_token = {key}\n");
            of_home(&home(ROLE, &format!("{keys}{temporary}")), "ci")
        };
        assert_eq!(renewed("ASIA1"), renewed("ASIA2"));
        // Keys that nothing renews are those of whoever put them there.
        let pasted = |key: &str| {
            let text = format!("[ci]\naws_access_key_id = {key}\naws_session_token = {key}\n");
            of_home(&home("", &text), "ci")
        };
        assert_ne!(pasted("ASIA1"), pasted("ASIA2"));
    }

    #[test]
    fn a_change_of_what_a_profile_refers_to_makes_another_principal() {
        let with = |key: &str, role: &str| {
            let config = ROLE.replace("role/ci", role);
            let keys = format!("[base]\naws_access_key_id = {key}\nsource_profile = ci\n");
            of_home(&home(&config, &keys), "ci")
        };
        assert_ne!(with("AKIA1", "role/a"), with("AKIA2", "role/a"));
        assert_ne!(with("AKIA1", "role/a"), with("AKIA1", "role/b"));
        let sso = |account: &str| {
            let config = format!(
                "[profile ci]\nsso_session = corp\nsso_account_id = {account}\n[sso-session corp]\nsso_start_url = https://x\n"
            );
            of_home(&home(&config, ""), "ci")
        };
        assert_ne!(sso("1"), sso("2"));
    }
}
