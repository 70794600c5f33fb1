//! What git says to a helper, and a helper to git: lines of `key=value`, and an empty one at the end.

/// Longest question, in bytes.
pub const LONGEST: u64 = 64 * 1024;

/// What a helper says that wants nobody else to be asked, at a terminal neither.
pub const STOP: &str = "quit=1\n";

/// What git asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) protocol: String,
    pub(super) host: String,
    /// The user that the URL names.
    pub(super) username: Option<String>,
}

impl Question {
    /// Reads a question; `None` if it is none. Of a key that stands twice the last word counts, as with git.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut question = Self::default();
        for line in text.lines().take_while(|line| !line.is_empty()) {
            let (key, value) = line.split_once('=')?;
            match key {
                "protocol" => value.clone_into(&mut question.protocol),
                "host" => value.clone_into(&mut question.host),
                "username" => question.username = Some(value.to_owned()),
                _ => {}
            }
        }
        Some(question)
    }
}

/// A user and what opens the site for them. Neither may break the line.
pub(super) fn answer(user: &str, password: &str) -> Option<String> {
    let is_plain = |text: &str| !text.is_empty() && !text.contains(['\n', '\r', '\0']);
    (is_plain(user) && is_plain(password))
        .then(|| format!("username={user}\npassword={password}\n"))
}

/// User and password as another helper says them.
pub(super) fn said(text: &str) -> Option<(String, String)> {
    let value = |key: &str| {
        let mut lines = text.lines().rev();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    Some((value("username")?.to_owned(), value("password")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read() {
        let question = |protocol: &str, host: &str, username: Option<&str>| {
            Some(Question {
                protocol: protocol.to_owned(),
                host: host.to_owned(),
                username: username.map(str::to_owned),
            })
        };
        let table = [
            ("protocol=https\nhost=h\n\n", question("https", "h", None)),
            (
                "capability[]=authtype\nprotocol=https\nhost=h:1\nusername=a=b\npath=x\n\nhost=other\n",
                question("https", "h:1", Some("a=b")),
            ),
            ("host=a\nhost=b\n", question("", "b", None)),
            ("", question("", "", None)),
            ("nonsense\n", None),
        ];
        for (text, expected) in table {
            assert_eq!(Question::read(text), expected, "{text}");
        }
    }

    #[test]
    fn an_answer_breaks_no_line() {
        assert_eq!(
            answer("u", "p").as_deref(),
            Some("username=u\npassword=p\n")
        );
        for (user, password) in [
            ("u\nquit=1", "p"),
            ("u", "p\n"),
            ("u", ""),
            ("", "p"),
            ("u", "\0"),
        ] {
            assert_eq!(answer(user, password), None);
        }
        let said = said("protocol=https\nusername=me\npassword=a=b\n");
        assert_eq!(said, Some(("me".to_owned(), "a=b".to_owned())));
    }
}
