//! A report as it may be seen: without secrets, and without what would change a terminal or a page (REP-13).

use super::model::{MAX_MESSAGE, MAX_NAME, MAX_OUTPUT, Report};
use crate::redact::{Redactor, Secrets};

impl Report {
    /// Hides secrets in every text of it.
    pub fn hide(&mut self, secrets: &Secrets) {
        let name =
            |text: &mut String| *text = hidden(text, text.chars().count() >= MAX_NAME, secrets);
        name(&mut self.group);
        self.arn.iter_mut().for_each(name);
        self.suites.iter_mut().for_each(name);
        for case in &mut self.cases {
            name(&mut case.class);
            name(&mut case.name);
            if let Some(message) = &mut case.message {
                *message = hidden(message, message.chars().count() >= MAX_MESSAGE, secrets);
            }
            // What a reader puts together of several texts may have been cut before its end.
            case.output = hidden(&case.output, case.output.len() >= MAX_OUTPUT / 2, secrets);
        }
        self.coverage
            .iter_mut()
            .for_each(|file| name(&mut file.path));
        for problem in &mut self.problems {
            problem.file.iter_mut().for_each(name);
            name(&mut problem.message);
        }
    }
}

/// A text without secrets. Of one that was cut, what could be the beginning of a secret goes too: its rest is not there to
/// tell.
fn hidden(text: &str, was_cut: bool, secrets: &Secrets) -> String {
    let text = plain(text);
    if secrets.is_empty() {
        return text;
    }
    let mut stream = Redactor::new(secrets.clone());
    let mut bytes = stream.push(text.into_bytes());
    if !was_cut {
        bytes.extend(stream.flush());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text without control characters, and without the sequences that colour terminals. Lines and tabs stay.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.next();
                // Numbers and marks, up to a letter.
                while characters.peek().is_some_and(|c| matches!(c, ' '..='?')) {
                    characters.next();
                }
                characters.next_if(|c| matches!(c, '@'..='~'));
            }
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' => out.push('\n'),
            '\n' | '\t' => out.push(c),
            // Marks that turn the direction of writing around hide what a text says.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => {}
            _ if c.is_control() => {}
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_also_where_a_text_was_cut_or_coloured() {
        let secrets = Secrets::new([b"hunter2-secret".to_vec()]);
        let table = [
            ("the hunter2-secret is", false, "the *** is"),
            ("the hunter2-sec", false, "the hunter2-sec"),
            ("the hunter2-sec", true, "the "),
            ("hunter2\u{1b}[31m-secret\u{1b}[0m", false, "***"),
            (
                "a\u{1b}[1;31mb\u{1b}[0m\u{7}\tc\r\nd\re",
                false,
                "ab\tc\nd\ne",
            ),
            ("\u{1b}[", false, ""),
        ];
        for (text, was_cut, expected) in table {
            assert_eq!(hidden(text, was_cut, &secrets), expected, "{text:?}");
        }
    }
}
