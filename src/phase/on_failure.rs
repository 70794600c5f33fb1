//! `on-failure` of a phase: what it says, and when a retry is due.

use regex::{Regex, RegexBuilder};

/// `on-failure` of a phase (PHASE-6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// `ABORT`: nothing more runs.
    Abort,
    /// `CONTINUE`: the next phase runs.
    Continue,
    /// `RETRY…`: the build runs again (PHASE-12).
    Retry(Retry),
}

/// The parts of `RETRY`, `RETRY-<count>`, `RETRY-<regex>` and `RETRY-<count>-<regex>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often at most, 0 to 100.
    pub count: u8,
    /// Which messages call for it.
    pub pattern: String,
}

impl Retry {
    /// Whether a failure with this message calls for another retry, after so many (PHASE-13). The pattern may match
    /// anywhere in the message.
    #[must_use]
    pub fn is_due(&self, used: u8, message: &str) -> bool {
        used < self.count && compiled(&self.pattern).is_ok_and(|pattern| pattern.is_match(message))
    }
}

/// A pattern, with a bound for what it can make this program hold; matching takes time linear in the message.
fn compiled(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build()
}

/// Most bytes that a pattern takes when it is compiled.
const MAX_PATTERN: usize = 1 << 20;

/// What a retry runs again (PHASE-14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RetryScope {
    /// The whole build.
    #[default]
    Build,
    /// The phase that failed.
    Phase,
}

impl RetryScope {
    /// Name for people and machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Phase => "phase",
        }
    }
}

/// Why a text is no `on-failure`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnFailureError {
    /// None of the known words.
    #[error(
        "expected `ABORT`, `CONTINUE`, `RETRY`, `RETRY-<count>`, `RETRY-<regex>` or `RETRY-<count>-<regex>`"
    )]
    Unknown,
    /// A count above 100.
    #[error("a retry count is 0 to 100, not {0}")]
    Count(u16),
    /// A pattern that does not compile.
    #[error("the pattern is not a regular expression: {0}")]
    Pattern(String),
}

impl OnFailure {
    /// Reads an `on-failure` value in any casing (PHASE-6). After `RETRY-`, up to three digits that are followed by `-`
    /// or by the end are the count; what remains is the pattern.
    pub fn parse(text: &str) -> Result<Self, OnFailureError> {
        let word = text.to_ascii_uppercase();
        match word.as_str() {
            "ABORT" => return Ok(Self::Abort),
            "CONTINUE" => return Ok(Self::Continue),
            "RETRY" => {
                return Ok(Self::Retry(Retry {
                    count: 3,
                    pattern: ".*".to_owned(),
                }));
            }
            _ => {}
        }
        let Some(rest) = word.strip_prefix("RETRY-").map(|_| &text["RETRY-".len()..]) else {
            return Err(OnFailureError::Unknown);
        };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (count, pattern) = match (digits, rest.get(digits..)) {
            (1..=3, Some("")) => (Some(&rest[..digits]), ""),
            (1..=3, Some(tail)) if tail.starts_with('-') => (Some(&rest[..digits]), &tail[1..]),
            _ => (None, rest),
        };
        let count = match count {
            None => 3,
            Some(count) => match count.parse::<u16>().unwrap_or(u16::MAX) {
                count @ 0..=100 => u8::try_from(count).unwrap_or(100),
                count => return Err(OnFailureError::Count(count)),
            },
        };
        let pattern = if pattern.is_empty() { ".*" } else { pattern };
        if let Err(error) = compiled(pattern) {
            let reason = error.to_string();
            let reason = reason
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned();
            return Err(OnFailureError::Pattern(reason));
        }
        Ok(Self::Retry(Retry {
            count,
            pattern: pattern.to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_failure_is_read_in_every_form() {
        let retry = |count, pattern: &str| {
            Ok(OnFailure::Retry(Retry {
                count,
                pattern: pattern.to_owned(),
            }))
        };
        let table = [
            ("ABORT", Ok(OnFailure::Abort)),
            ("abort", Ok(OnFailure::Abort)),
            ("Continue", Ok(OnFailure::Continue)),
            ("RETRY", retry(3, ".*")),
            ("Retry-5", retry(5, ".*")),
            ("RETRY-0", retry(0, ".*")),
            ("RETRY-100", retry(100, ".*")),
            ("RETRY-timeout|reset", retry(3, "timeout|reset")),
            ("RETRY-2-exit status 1", retry(2, "exit status 1")),
            ("RETRY-2-", retry(2, ".*")),
            ("RETRY-503", Err(OnFailureError::Count(503))),
            ("RETRY-200", Err(OnFailureError::Count(200))),
            ("RETRY-1234", retry(3, "1234")),
            ("RETRY-5xx", retry(3, "5xx")),
            ("RETRYING", Err(OnFailureError::Unknown)),
            ("", Err(OnFailureError::Unknown)),
        ];
        for (text, expected) in table {
            assert_eq!(OnFailure::parse(text), expected, "{text}");
        }
        assert!(matches!(
            OnFailure::parse("RETRY-("),
            Err(OnFailureError::Pattern(_))
        ));
    }

    // PHASE-13
    #[test]
    fn a_retry_is_due_while_the_message_calls_for_it_and_the_count_lasts() {
        let message = "Error while executing command: make\nall. Reason: exit status 2";
        let table = [
            ("RETRY", 0, true),
            ("RETRY", 2, true),
            ("RETRY", 3, false),
            ("RETRY-0", 0, false),
            ("RETRY-1", 0, true),
            ("RETRY-1", 1, false),
            ("RETRY-100", 99, true),
            ("RETRY-exit status [12]", 0, true),
            ("RETRY-exit status [12]$", 2, true),
            ("RETRY-exit status [12]$", 3, false),
            ("RETRY-exit status 3", 0, false),
            ("RETRY-5-timed out", 0, false),
            ("RETRY-5-all", 4, true),
            ("RETRY-5-ALL", 0, false),
            ("RETRY-5-(?i)ALL", 0, true),
            ("RETRY-^make", 0, false),
            ("RETRY-(?m)^all", 0, true),
        ];
        for (text, used, due) in table {
            let Ok(OnFailure::Retry(retry)) = OnFailure::parse(text) else {
                panic!("{text}");
            };
            assert_eq!(retry.is_due(used, message), due, "{text} after {used}");
        }
        let huge = "RETRY-(a{1000}){1000}";
        assert!(matches!(
            OnFailure::parse(huge),
            Err(OnFailureError::Pattern(_))
        ));
    }
}
