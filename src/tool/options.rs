//! Options of a command line, read by a table.

/// One option that a command knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    /// Its name, without dashes.
    pub(super) long: &'static str,
    /// Its letter.
    pub(super) short: Option<char>,
    /// Whether it has a value; a switch may still be written `--name=false`.
    pub(super) takes_value: bool,
}

/// An option with a value.
pub(super) const fn value(long: &'static str) -> Spec {
    Spec {
        long,
        short: None,
        takes_value: true,
    }
}

/// An option without one.
pub(super) const fn switch(long: &'static str) -> Spec {
    Spec {
        long,
        short: None,
        takes_value: false,
    }
}

impl Spec {
    /// The same with a letter.
    pub(super) const fn or(self, short: char) -> Self {
        Self {
            short: Some(short),
            ..self
        }
    }
}

/// What was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    options: Vec<(&'static str, String)>,
    /// What is no option, in its order.
    pub(super) operands: Vec<String>,
}

/// Why a command line cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// An option that the table does not have.
    Unknown(String),
    /// An option that wants a value has none.
    NoValue(String),
    /// A switch has a value that is neither true nor false.
    NotABool(String),
}

impl Parsed {
    /// The last value of an option.
    pub(super) fn value(&self, long: &str) -> Option<&str> {
        let last = self.options.iter().rfind(|(name, _)| *name == long);
        last.map(|(_, value)| value.as_str())
    }

    /// All values of an option, in their order.
    pub(super) fn values<'p>(&'p self, long: &'p str) -> impl Iterator<Item = &'p str> {
        let of_name = move |(name, _): &&(&str, String)| *name == long;
        self.options
            .iter()
            .filter(of_name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, long: &str) -> bool {
        self.value(long) == Some("true")
    }
}

/// Reads words by a table. Options and operands may be mixed; `--` ends the options.
pub(super) fn parse(specs: &[Spec], words: &[String]) -> Result<Parsed, Problem> {
    let mut parsed = Parsed::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            parsed.operands.extend(words.by_ref().cloned());
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let spec = specs.iter().find(|spec| spec.long == name);
            let spec = spec.ok_or_else(|| Problem::Unknown(format!("--{name}")))?;
            parsed.options.push(option(*spec, value, &mut words)?);
        } else if word.len() > 1 && word.starts_with('-') {
            letters(specs, &word[1..], &mut words, &mut parsed)?;
        } else {
            parsed.operands.push(word.clone());
        }
    }
    Ok(parsed)
}

/// `-q`, `-qf FILE`, `-fFILE`, `-f=FILE`
fn letters<'w>(
    specs: &[Spec],
    letters: &str,
    words: &mut impl Iterator<Item = &'w String>,
    parsed: &mut Parsed,
) -> Result<(), Problem> {
    let mut rest = letters.chars();
    while let Some(letter) = rest.next() {
        let spec = specs.iter().find(|spec| spec.short == Some(letter));
        let spec = *spec.ok_or_else(|| Problem::Unknown(format!("-{letter}")))?;
        let behind = rest.as_str();
        let assigned = behind.strip_prefix('=').map(str::to_owned);
        if assigned.is_some() || (spec.takes_value && !behind.is_empty()) {
            let value = assigned.unwrap_or_else(|| behind.to_owned());
            parsed.options.push(option(spec, Some(value), words)?);
            return Ok(());
        }
        parsed.options.push(option(spec, None, words)?);
    }
    Ok(())
}

fn option<'w>(
    spec: Spec,
    value: Option<String>,
    words: &mut impl Iterator<Item = &'w String>,
) -> Result<(&'static str, String), Problem> {
    let name = || format!("--{}", spec.long);
    let value = match (spec.takes_value, value) {
        (true, Some(value)) => value,
        (true, None) => words
            .next()
            .cloned()
            .ok_or_else(|| Problem::NoValue(name()))?,
        (false, None) => "true".to_owned(),
        (false, Some(value)) => match value.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => "true".to_owned(),
            "false" | "f" | "0" => "false".to_owned(),
            _ => return Err(Problem::NotABool(format!("{}={value}", name()))),
        },
    };
    Ok((spec.long, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: &[Spec] = &[
        value("tag").or('t'),
        value("file").or('f'),
        switch("quiet").or('q'),
        switch("pull"),
    ];

    fn read(line: &str) -> Result<(String, Vec<String>), Problem> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        parse(SPECS, &words).map(|parsed| {
            let options = parsed
                .options
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            (options.collect::<Vec<String>>().join(" "), parsed.operands)
        })
    }

    #[test]
    fn every_way_to_write_an_option() {
        let table = [
            (
                "-t a --tag b --tag=c -td -t=e .",
                "tag=a tag=b tag=c tag=d tag=e",
                ".",
            ),
            (". -q -t x", "quiet=true tag=x", "."),
            ("-qf F .", "quiet=true file=F", "."),
            ("-qfF .", "quiet=true file=F", "."),
            (
                "--pull=false --pull=TRUE --pull .",
                "pull=false pull=true pull=true",
                ".",
            ),
            ("-f - -", "file=-", "-"),
            ("-q -- -t x", "quiet=true", "-t x"),
            ("--tag --quiet .", "tag=--quiet", "."),
        ];
        for (line, options, operands) in table {
            let (found, rest) = read(line).unwrap_or_else(|problem| panic!("{line}: {problem:?}"));
            assert_eq!(
                (found.as_str(), rest.join(" ").as_str()),
                (options, operands),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_options() {
        assert_eq!(
            read("--secret id=x ."),
            Err(Problem::Unknown("--secret".to_owned()))
        );
        assert_eq!(read("-qz ."), Err(Problem::Unknown("-z".to_owned())));
        assert_eq!(read(". -t"), Err(Problem::NoValue("--tag".to_owned())));
        assert_eq!(
            read("--pull=always ."),
            Err(Problem::NotABool("--pull=always".to_owned()))
        );
    }
}
