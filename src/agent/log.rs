//! What the agent says of itself: one line for each thing that happened (AGENT-32). Never a nonce, credentials or a value of
//! an action's configuration (AGENT-33): nobody who writes a line has any of them in a text.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::event::stamp;

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something went as it should.
    Info,
    /// Something did not, and goes on all the same.
    Warning,
    /// Somebody has to act.
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people: time, level, words, and what they are about.
    Text,
    /// For programs: one JSON object.
    Json,
}

/// Takes a line with its end.
pub type Write = Arc<dyn Fn(&str) + Send + Sync>;

/// Where lines go.
#[derive(Clone)]
pub struct Log {
    form: Form,
    write: Write,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Log({:?})", self.form)
    }
}

/// What a line is about: pairs of name and value.
pub type About<'a> = &'a [(&'a str, &'a str)];

impl Log {
    /// Lines in this form, to be written so.
    #[must_use]
    pub fn new(form: Form, write: Write) -> Self {
        Self { form, write }
    }

    /// Something went as it should.
    pub fn info(&self, message: &str, about: About<'_>) {
        self.say(Level::Info, message, about);
    }

    /// Something did not, and goes on all the same.
    pub fn warn(&self, message: &str, about: About<'_>) {
        self.say(Level::Warning, message, about);
    }

    /// Somebody has to act.
    pub fn error(&self, message: &str, about: About<'_>) {
        self.say(Level::Error, message, about);
    }

    fn say(&self, level: Level, message: &str, about: About<'_>) {
        (self.write)(&line(self.form, stamp(), level, message, about));
    }
}

/// A moment as lines and records have it: RFC 3339, in UTC.
#[must_use]
pub fn moment(time: SystemTime) -> String {
    let timestamp = Timestamp::try_from(time).unwrap_or_default();
    format!("{timestamp:.3}")
}

fn line(form: Form, time: SystemTime, level: Level, message: &str, about: About<'_>) -> String {
    match form {
        Form::Text => {
            let mut line = format!("{} {:<7} {}", moment(time), level.name(), flat(message));
            for (name, value) in about.iter().filter(|(_, value)| !value.is_empty()) {
                let _ = write!(line, " {name}={}", quoted(value));
            }
            line.push('\n');
            line
        }
        Form::Json => {
            let mut object = Map::new();
            let mut add = |name: &str, value: &str| {
                object.insert(name.to_owned(), Value::from(value));
            };
            add("time", &moment(time));
            add("level", level.name());
            add("message", message);
            for (name, value) in about {
                add(name, value);
            }
            format!("{}\n", Value::Object(object))
        }
    }
}

/// In one line, whatever it is.
fn flat(text: &str) -> String {
    let mut flat = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => flat.push_str("; "),
            '\t' => flat.push(' '),
            c if c.is_control() => flat.extend(c.escape_default()),
            c => flat.push(c),
        }
    }
    flat
}

/// As it is, or in quotes where it could be taken for more than one thing.
fn quoted(text: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=';
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    // AGENT-32
    #[test]
    fn a_line_says_when_how_important_what_and_about_what() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_746_522_611);
        let about: About<'_> = &[("job", "1-2"), ("pipeline", "a b"), ("build", "")];
        assert_eq!(
            line(Form::Text, time, Level::Info, "took\na\tjob", about),
            "2025-05-06T09:10:11.000Z info    took; a job job=1-2 pipeline=\"a b\"\n"
        );
        assert_eq!(
            line(Form::Json, time, Level::Warning, "took\na job", about),
            "{\"time\":\"2025-05-06T09:10:11.000Z\",\"level\":\"warning\",\"message\":\"took\\na job\",\"job\":\"1-2\",\"pipeline\":\"a b\",\"build\":\"\"}\n"
        );
    }
}
