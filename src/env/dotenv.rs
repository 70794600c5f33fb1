//! Files of `NAME=value` lines, as `--env-file` takes them (CLI-6).
//!
//! The common ground of the dotenv dialects: comments, blank lines, `export`, single quotes that keep everything,
//! double quotes with `\n`, `\r`, `\t`, `\"`, `\\`, `\$` and a backquote, values over several lines inside quotes. Nothing is
//! expanded: a `$` stays a `$`, as in a project's variables on CodeBuild.

use super::check_name;

/// Why a file cannot be used, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct DotenvError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

/// Reads the text of a file. Of one name given twice the last counts, as the caller's environment builder has it.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, DotenvError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        rest: text,
        line: 1,
    };
    let mut variables = Vec::new();
    while let Some(variable) = reader.assignment()? {
        variables.push(variable);
    }
    Ok(variables)
}

/// Writes variables so that [`parse`] reads them, and a POSIX shell as well: nothing in a value is expanded by either. Names
/// have to be names of variables.
#[must_use]
pub fn render<'v>(variables: impl IntoIterator<Item = (&'v str, &'v str)>) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        text.push_str(&format!("{name}={}\n", quoted(value)));
    }
    text
}

fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    if !value.contains('\'') {
        return format!("'{value}'");
    }
    let mut quoted = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

struct Reader<'t> {
    rest: &'t str,
    line: usize,
}

impl Reader<'_> {
    /// The next assignment, or `None` at the end.
    fn assignment(&mut self) -> Result<Option<(String, String)>, DotenvError> {
        self.skip_blank_lines();
        if self.rest.is_empty() {
            return Ok(None);
        }
        let line = self.line;
        let name_end = self.rest.find(['=', '\n']).unwrap_or(self.rest.len());
        if !self.rest[name_end..].starts_with('=') {
            return Err(error(line, "expected `NAME=value`"));
        }
        let name = self.rest[..name_end].trim();
        let name = name
            .strip_prefix("export ")
            .map_or(name, str::trim_start)
            .to_owned();
        if let Err(problem) = check_name(&name) {
            return Err(error(
                line,
                &format!(
                    "`{}` cannot be the name of a variable: {problem}",
                    name.escape_debug()
                ),
            ));
        }
        self.advance(name_end + 1);
        self.skip_blanks();
        let value = match self.rest.chars().next() {
            Some('\'') => self.single_quoted()?,
            Some('"') => self.double_quoted()?,
            _ => return Ok(Some((name, self.bare()))),
        };
        self.end_of_line(line)?;
        Ok(Some((name, value)))
    }

    /// Up to the end of the line, without a comment that a blank sets apart, and without blanks around.
    fn bare(&mut self) -> String {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let raw = &self.rest[..end];
        let comment = raw
            .match_indices('#')
            .find(|(at, _)| *at == 0 || raw[..*at].ends_with([' ', '\t']));
        let value = raw[..comment.map_or(raw.len(), |(at, _)| at)]
            .trim()
            .to_owned();
        self.advance(end);
        value
    }

    fn single_quoted(&mut self) -> Result<String, DotenvError> {
        let line = self.line;
        self.advance(1);
        let Some(end) = self.rest.find('\'') else {
            return Err(error(line, "a single quote is not closed"));
        };
        let value = self.rest[..end].to_owned();
        self.advance(end + 1);
        Ok(value)
    }

    fn double_quoted(&mut self) -> Result<String, DotenvError> {
        let line = self.line;
        self.advance(1);
        let mut value = String::new();
        loop {
            let Some(c) = self.rest.chars().next() else {
                return Err(error(line, "a double quote is not closed"));
            };
            self.advance(c.len_utf8());
            match c {
                '"' => return Ok(value),
                '\\' => {
                    let escaped = self.rest.chars().next();
                    self.advance(escaped.map_or(0, char::len_utf8));
                    match escaped {
                        Some('n') => value.push('\n'),
                        Some('r') => value.push('\r'),
                        Some('t') => value.push('\t'),
                        Some(kept @ ('"' | '\\' | '$' | '`')) => value.push(kept),
                        Some(other) => value.extend(['\\', other]),
                        None => value.push('\\'),
                    }
                }
                _ => value.push(c),
            }
        }
    }

    /// After a closing quote only a comment may follow.
    fn end_of_line(&mut self, line: usize) -> Result<(), DotenvError> {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let tail = self.rest[..end].trim();
        if !tail.is_empty() && !tail.starts_with('#') {
            return Err(error(line, "text after the closing quote"));
        }
        self.advance(end);
        Ok(())
    }

    fn skip_blank_lines(&mut self) {
        loop {
            let end = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
            let line = self.rest[..end].trim();
            if end == 0 || !(line.is_empty() || line.starts_with('#')) {
                return;
            }
            self.advance(end);
        }
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len();
        self.advance(blanks);
    }

    fn advance(&mut self, bytes: usize) {
        self.line += self.rest[..bytes].matches('\n').count();
        self.rest = &self.rest[bytes..];
    }
}

fn error(line: usize, problem: &str) -> DotenvError {
    DotenvError {
        line,
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }

    #[test]
    fn values_are_read_bare_and_quoted() {
        let table = [
            ("A=1", "1"),
            ("A=", ""),
            ("  A = 1  ", "1"),
            ("export A=1", "1"),
            ("A=a b c", "a b c"),
            ("A=a#b", "a#b"),
            ("A=a # b", "a"),
            ("A=# b", ""),
            ("A='a # $b \\n'", "a # $b \\n"),
            ("A=\"a\\tb\\\"c\\\\ \\$d $e\" # note", "a\tb\"c\\ $d $e"),
            ("A=\"one\ntwo\"", "one\ntwo"),
            ("A='one\ntwo'", "one\ntwo"),
            ("A=\"\\q\"", "\\q"),
            ("A=x=y", "x=y"),
            ("A=1\r\n", "1"),
            ("\u{feff}# note\n\nA=1", "1"),
            ("A=$(rm -rf /)", "$(rm -rf /)"),
        ];
        for (text, expected) in table {
            assert_eq!(
                pairs(text),
                [("A".to_owned(), expected.to_owned())],
                "{text:?}"
            );
        }
    }

    proptest::proptest! {
        // ENV-44
        #[test]
        fn what_is_written_is_read(value in "[ -~\n\té'\"$`\\\\#]{0,12}") {
            let text = render([("A", value.as_str()), ("B", "next")]);
            let expected = [("A".to_owned(), value.clone()), ("B".to_owned(), "next".to_owned())];
            proptest::prop_assert_eq!(pairs(&text), expected, "{:?}", text);
        }
    }

    #[test]
    fn several_lines_keep_their_order() {
        assert_eq!(
            pairs("A=1\n# no\nB='2'\nexport  C=\"3\"\n"),
            [("A", "1"), ("B", "2"), ("C", "3")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(pairs("\n  \n# only comments"), []);
    }

    #[test]
    fn mistakes_are_placed() {
        let table = [
            ("A=1\nB", 2, "expected `NAME=value`"),
            (
                "A=1\n\n9B=2",
                3,
                "a shell reads letters, digits and `_`, and no digit first",
            ),
            ("=1", 1, "it is empty"),
            ("A='x\ny\n", 1, "a single quote is not closed"),
            ("A=1\nB=\"x", 2, "a double quote is not closed"),
            ("A=\"x\" y", 1, "text after the closing quote"),
        ];
        for (text, line, problem) in table {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}");
            assert!(error.problem.contains(problem), "{text:?}: {error}");
        }
    }
}
