//! What looks like a secret: names, values, keys that services hand out.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// Whether a variable of this name holds something that nobody else may know. Names of places where a secret is kept
/// are no secrets.
#[must_use]
pub(super) fn is_secret_name(name: &str) -> bool {
    const ALONE: &[&str] = &[
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "pass",
        "pwd",
        "pat",
        "apikey",
    ];
    const PAIRS: &[(&str, &str)] = &[
        ("api", "key"),
        ("private", "key"),
        ("secret", "key"),
        ("access", "key"),
        ("auth", "key"),
        ("deploy", "key"),
        ("signing", "key"),
        ("encryption", "key"),
    ];
    let mut words = words(name);
    // A second one of its kind, as in `TOKEN_2`.
    while words
        .last()
        .is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
    {
        words.pop();
    }
    // The shell's own, and what only sounds like it.
    if words.len() == 1 && words[0] == "pwd" || name == "OLDPWD" {
        return false;
    }
    let Some(last) = words.last() else {
        return false;
    };
    let pair = words.len() >= 2
        && PAIRS
            .iter()
            .any(|(first, second)| words[words.len() - 2] == *first && last == second);
    ALONE.contains(&last.as_str()) || pair
}

/// The words of a name: `dbPassword`, `DB_PASSWORD` and `db-password` have two.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_is_lower = false;
    for character in name.chars() {
        let ends = !character.is_alphanumeric() || (before_is_lower && character.is_uppercase());
        if ends && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        if character.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(character.to_lowercase());
        }
        before_is_lower = character.is_lowercase() || character.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether the value of a variable with a secret's name is one: written out, and neither a reference to something else
/// nor the kind of word that stands where a secret will stand, or that only a test knows.
#[must_use]
pub(super) fn is_secret_value(name: &str, value: &str) -> bool {
    const HARMLESS: &[&str] = &[
        "secret",
        "password",
        "passw",
        "token",
        "key",
        "test",
        "mock",
        "fake",
        "dummy",
        "example",
        "sample",
        "change",
        "placeholder",
        "replace",
        "todo",
        "your",
        "none",
        "null",
        "true",
        "false",
        "postgres",
        "mysql",
        "root",
        "admin",
        "guest",
        "local",
        "default",
        "user",
        "redacted",
        "xxx",
        "***",
        "...",
        "enabled",
        "disabled",
        "value",
        "default",
    ];
    let low = value.to_lowercase();
    let named_as_test = ["mock", "fake", "dummy", "example", "sample"]
        .iter()
        .any(|word| name.to_lowercase().contains(word));
    let elsewhere = value.contains(['$', '{', '<', '%', ' ', '`', '/', '\\'])
        || value.starts_with("arn:")
        || value.starts_with("alias:")
        || value.contains("::");
    // A name in capitals is where to look it up.
    let is_name = value.contains('_')
        && value
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    let is_number = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    value.len() >= 6
        && !named_as_test
        && !elsewhere
        && !is_name
        && !is_number
        && !HARMLESS.iter().any(|word| low.contains(word))
}

/// A kind of key with a form of its own.
struct Form {
    prefix: &'static str,
    /// How many characters follow at least.
    length: usize,
    follows: fn(u8) -> bool,
    what: &'static str,
}

const FORMS: &[Form] = &[
    Form {
        prefix: "ghp_",
        length: 36,
        follows: is_word,
        what: "a personal access token of GitHub",
    },
    Form {
        prefix: "gho_",
        length: 36,
        follows: is_word,
        what: "an access token of GitHub",
    },
    Form {
        prefix: "ghs_",
        length: 36,
        follows: is_word,
        what: "an access token of GitHub",
    },
    Form {
        prefix: "github_pat_",
        length: 60,
        follows: is_word,
        what: "a personal access token of GitHub",
    },
    Form {
        prefix: "glpat-",
        length: 20,
        follows: is_token,
        what: "an access token of GitLab",
    },
    Form {
        prefix: "npm_",
        length: 36,
        follows: is_word,
        what: "an access token of npm",
    },
    Form {
        prefix: "xoxb-",
        length: 20,
        follows: is_token,
        what: "a token of Slack",
    },
    Form {
        prefix: "xoxp-",
        length: 20,
        follows: is_token,
        what: "a token of Slack",
    },
    Form {
        prefix: "sk_live_",
        length: 24,
        follows: is_word,
        what: "a key of Stripe",
    },
    Form {
        prefix: "sqp_",
        length: 40,
        follows: is_hex,
        what: "a token of SonarQube",
    },
    Form {
        prefix: "squ_",
        length: 40,
        follows: is_hex,
        what: "a token of SonarQube",
    },
    Form {
        prefix: "dckr_pat_",
        length: 20,
        follows: is_token,
        what: "an access token of Docker Hub",
    },
];

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_token(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

/// What stands in front of a private key.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// What keys are found by, all at once: most texts have none of it.
static MARKS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let prefixes = FORMS.iter().map(|form| form.prefix);
    AhoCorasick::new(prefixes.chain([PRIVATE_KEY])).expect("invariant: these few fit")
});

/// Keys in a text that their form gives away, and what each is.
#[must_use]
pub(super) fn find_tokens(text: &str) -> Vec<(Range<usize>, &'static str)> {
    let mut found = Vec::new();
    if !MARKS.is_match(text) {
        return found;
    }
    for form in FORMS {
        let mut end = 0;
        for (start, _) in text.match_indices(form.prefix) {
            // A text may be nothing but beginnings, and none of them is to be followed to its end more than once.
            if start < end || !stands_alone(text, start) {
                continue;
            }
            let rest = &text.as_bytes()[start + form.prefix.len()..];
            let length = rest
                .iter()
                .take_while(|byte| (form.follows)(**byte))
                .count();
            let varied = rest[..length].iter().any(|byte| *byte != rest[0]);
            if length >= form.length && varied {
                end = start + form.prefix.len() + length;
                found.push((start..end, form.what));
            }
        }
    }
    for (at, mark) in text.match_indices(PRIVATE_KEY) {
        let near = text.floor_char_boundary(at.saturating_sub(19));
        let Some(start) = text[near..at].rfind("BEGIN").map(|start| near + start) else {
            continue;
        };
        if looks_filled(&text[at + mark.len()..]) {
            found.push((start..at + mark.len(), "a private key"));
        }
    }
    found
}

/// Whether something follows the first line of a key, and no reference to it.
fn looks_filled(rest: &str) -> bool {
    let body = rest.trim_start_matches(['\\', 'n', '\n', '\r', ' ']);
    let length = body
        .bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
        .take(40)
        .count();
    length == 40
}

fn stands_alone(text: &str, start: usize) -> bool {
    !text[..start].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

/// Access key ids of AWS in a text. Those of its documentation are none.
#[must_use]
pub(super) fn find_access_keys(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for prefix in ["AKIA", "ASIA"] {
        for (start, _) in text.match_indices(prefix) {
            let rest = &text.as_bytes()[start + prefix.len()..];
            let length = rest
                .iter()
                .take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
                // One more than there may be.
                .take(17)
                .count();
            let ends = !rest.get(length).is_some_and(|byte| is_word(*byte));
            let key = &text[start..start + prefix.len() + length];
            let varied = rest[..length].iter().any(|byte| *byte != rest[0]);
            if length == 16
                && ends
                && varied
                && stands_alone(text, start)
                && !key.ends_with("EXAMPLE")
            {
                found.push(start..start + key.len());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known() {
        for name in [
            "DB_PASSWORD",
            "dbPassword",
            "TOKEN",
            "SONAR_TOKEN_2",
            "docker-pass",
            "STRIPE_API_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "privateKey",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "KMS_KEY_ID",
            "PWD",
            "TOKEN_URL",
            "SECRET_ARN",
            "PASSWORD_LENGTH",
            "KEY",
            "COMPASS",
            "CACHE_KEY",
            "",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn values_that_are_no_secrets_are_known() {
        for value in ["hunter22", "4d8cbd6b3b726c155d8d", "Zx9!kPq2"] {
            assert!(is_secret_value("DB_PASSWORD", value), "{value}");
        }
        for value in [
            "",
            "$X",
            "{{ x }}",
            "/app/db",
            "postgres",
            "changeme",
            "123456",
            "NAME_OF_IT",
            "arn:aws:ssm",
            "true",
            "two words",
            "myTestValue",
        ] {
            assert!(!is_secret_value("DB_PASSWORD", value), "{value}");
        }
        assert!(!is_secret_value("MOCK_TOKEN", "4d8cbd6b3b726c"));
    }

    #[test]
    fn keys_are_found_by_their_form() {
        let key = format!("AKIA{}", "Q3EXB5T7Z2WKLM4N");
        let text = format!("a={key} x{key} {key}Y AKIAIOSFODNN7EXAMPLE");
        assert_eq!(find_access_keys(&text).first(), Some(&(2..22)));
        assert_eq!(find_access_keys(&text).len(), 1);
        let token = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
        let found = find_tokens(&format!("git clone https://{token}@github.com/x ghp_short"));
        assert_eq!(found, [(18..58, "a personal access token of GitHub")]);
        let key = format!(
            "-----BEGIN RSA PRIVATE KEY-----\n{}",
            "MIIEpAIBAAKCAQEA".repeat(3)
        );
        assert_eq!(find_tokens(&key).len(), 1);
        assert!(find_tokens("echo '-----BEGIN PRIVATE KEY-----' $KEY").is_empty());
    }

    #[test]
    fn beginnings_of_keys_take_no_time() {
        for part in ["AKIA", "ghp_", "glpat-a-", "PRIVATE KEY-----"] {
            let text = part.repeat(200_000);
            assert!(find_access_keys(&text).is_empty(), "{part}");
            assert!(find_tokens(&text).len() < 2, "{part}");
        }
    }
}
