//! Files that commands write, with what they write into them as far as that is written out.

use std::ops::Range;

use super::literals::Literals;
use super::shell::{Piece, Script, SimpleCommand};
use super::{Item, Subject};

/// One file that one command writes.
#[derive(Debug)]
pub struct Written<'s> {
    /// The number of the item.
    pub index: usize,
    /// The item.
    pub item: &'s Item<'s>,
    /// The command that writes, in the text of the item.
    pub range: Range<usize>,
    /// The path, variables in it resolved where that is possible.
    pub path: String,
    /// Whether it adds to what the file has.
    pub appends: bool,
    /// Whether it happens exactly once.
    pub once: bool,
    /// The text; `None` if a program makes it.
    pub text: Option<Vec<Piece>>,
    /// The word that holds all of the text, if there is one.
    pub word: Option<Range<usize>>,
}

impl Written<'_> {
    /// The last part of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// Every file that is written by `>`, `>>` or `tee`.
#[must_use]
pub fn files<'s>(subject: &'s Subject<'s>, literals: &Literals) -> Vec<Written<'s>> {
    let mut found = Vec::new();
    for (index, (item, script)) in subject.scripts().enumerate() {
        let mut add = |command: &SimpleCommand,
                       target: &str,
                       appends: bool,
                       writer: Option<&SimpleCommand>| {
            found.push(Written {
                index,
                item,
                range: command.range.clone(),
                path: literals.resolve((index, command.range.start), target),
                appends,
                once: !command.place.conditional && !command.place.in_function,
                text: writer.and_then(|writer| output(script, writer)),
                word: writer.and_then(only_word),
            });
        };
        for redirection in &script.redirections {
            let appends = redirection.operator.ends_with(">>");
            if !appends && ![">", ">|", "&>"].contains(&redirection.operator.as_str()) {
                continue;
            }
            if let Some(command) = last_of(script, &redirection.of) {
                add(command, &redirection.target.text, appends, Some(command));
            }
        }
        for tee in script
            .commands
            .iter()
            .filter(|one| one.program() == Some("tee"))
        {
            let appends = tee.has_option(&["-a", "--append"]);
            for target in tee.operands() {
                add(tee, &target.text, appends, before_in_pipe(script, tee));
            }
        }
    }
    found
}

/// The command whose output is that of the whole range: the last one, if there is no more than one or they are a pipe.
fn last_of<'s>(script: &'s Script, range: &Range<usize>) -> Option<&'s SimpleCommand> {
    let own = script
        .commands
        .iter()
        .filter(|command| range.start <= command.range.start && command.range.end <= range.end);
    let outer: Vec<&SimpleCommand> = own
        .filter(|command| !command.place.substituted || command.range == *range)
        .collect();
    let last = *outer.last()?;
    let pipe = |command: &SimpleCommand| command.place.pipe.map(|(start, _, _)| start);
    let one_pipe = outer.len() == 1
        || (pipe(last).is_some() && outer.iter().all(|one| pipe(one) == pipe(last)));
    one_pipe.then_some(last)
}

fn before_in_pipe<'s>(script: &'s Script, command: &SimpleCommand) -> Option<&'s SimpleCommand> {
    let (pipe, index, count) = command.place.pipe?;
    let before = Some((pipe, index.checked_sub(1)?, count));
    script
        .commands
        .iter()
        .find(|other| other.place.pipe == before)
}

/// What a command writes, if nothing but the shell is needed to tell.
fn output(script: &Script, command: &SimpleCommand) -> Option<Vec<Piece>> {
    match command.program()? {
        "echo" => Some(echo(script, command)),
        "printf" => printf(script, command),
        "cat" if command.operands().next().is_none() => {
            let texts = script.redirections.iter();
            let mut own =
                texts.filter(|one| one.of == command.range && one.operator.starts_with("<<"));
            match own.next_back() {
                Some(one) => Some(script.pieces(one.text.as_ref()?)),
                None => output(script, before_in_pipe(script, command)?),
            }
        }
        "jq" => jq(script, command),
        _ => None,
    }
}

/// The one word that becomes the text.
fn only_word(command: &SimpleCommand) -> Option<Range<usize>> {
    let mut operands = command.operands();
    let first = operands.next()?;
    let only = match command.program()? {
        "printf" => true,
        "echo" => operands.next().is_none(),
        _ => false,
    };
    only.then(|| first.range.clone())
}

fn echo(script: &Script, command: &SimpleCommand) -> Vec<Piece> {
    const OPTIONS: &[&str] = &["-n", "-e", "-E", "-ne", "-en"];
    let words = command.words[1..]
        .iter()
        .skip_while(|word| OPTIONS.contains(&word.text.as_str()));
    let interprets = command.words[1..]
        .iter()
        .take_while(|word| OPTIONS.contains(&word.text.as_str()))
        .any(|word| word.text.contains('e'));
    let mut pieces = Vec::new();
    for (number, word) in words.enumerate() {
        if number > 0 {
            pieces.push(Piece::Text(" ".to_owned()));
        }
        for piece in script.pieces(&word.range) {
            pieces.push(match piece {
                // Some shells resolve these without being asked, and for JSON a line break is as good as nothing.
                Piece::Text(text) if interprets => Piece::Text(escaped(&text)),
                Piece::Text(text) => Piece::Text(text.replace("\\n", "\n").replace("\\t", "\t")),
                other @ Piece::Expansion(_) => other,
            });
        }
    }
    pieces
}

/// A text with the escapes of `printf` and `echo -e` resolved, as far as JSON has a use for them.
fn escaped(text: &str) -> String {
    let mut resolved = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            resolved.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => resolved.push('\n'),
            Some('t') => resolved.push('\t'),
            Some('r') => resolved.push('\r'),
            Some(same @ ('\\' | '"' | '\'')) => resolved.push(same),
            Some(other) => resolved.extend(['\\', other]),
            None => resolved.push('\\'),
        }
    }
    resolved
}

/// A part of a format: text, or a place for the next word.
enum Part {
    Piece(Piece),
    Argument,
}

fn printf(script: &Script, command: &SimpleCommand) -> Option<Vec<Piece>> {
    let (format, arguments) = command.words.get(1..)?.split_first()?;
    if format.text.starts_with('-') {
        return None;
    }
    let mut parts = Vec::new();
    for piece in script.pieces(&format.range) {
        match piece {
            Piece::Text(text) => format_parts(&text, &mut parts)?,
            expansion @ Piece::Expansion(_) => parts.push(Part::Piece(expansion)),
        }
    }
    let mut arguments = arguments.iter();
    let mut pieces = Vec::new();
    loop {
        let before = arguments.len();
        for part in &parts {
            match part {
                Part::Piece(piece) => pieces.push(piece.clone()),
                Part::Argument => {
                    let word = arguments.next();
                    pieces.extend(word.into_iter().flat_map(|word| script.pieces(&word.range)));
                }
            }
        }
        // With words left, the format is used again; without a place for them they are ignored.
        if arguments.len() == 0 || arguments.len() == before {
            return Some(pieces);
        }
    }
}

fn format_parts(text: &str, parts: &mut Vec<Part>) -> Option<()> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        parts.push(Part::Piece(Piece::Text(escaped(&rest[..at]))));
        match rest[at + 1..].chars().next() {
            Some('%') => parts.push(Part::Piece(Piece::Text("%".to_owned()))),
            Some('s' | 'b' | 'd') => parts.push(Part::Argument),
            _ => return None,
        }
        rest = &rest[at + 2..];
    }
    parts.push(Part::Piece(Piece::Text(escaped(rest))));
    Some(())
}

/// `jq` makes what its program says. Of that no more is told than that `{ … }` is an object, and that `.` changes nothing.
fn jq(script: &Script, command: &SimpleCommand) -> Option<Vec<Piece>> {
    let from_nothing = command.words.iter().any(|word| {
        word.text == "--null-input"
            || (word.text.starts_with('-')
                && !word.text.starts_with("--")
                && word.text.contains('n'))
    });
    let program = command.words.last().filter(|word| word.literal)?;
    let text = program.text.trim();
    if from_nothing {
        return is_object(text).then(|| vec![Piece::Text("{}".to_owned())]);
    }
    let only = command.operands().count() == 1;
    if text == "." && only {
        return output(script, before_in_pipe(script, command)?);
    }
    None
}

/// Whether a program of `jq` is one `{ … }` and nothing else.
fn is_object(program: &str) -> bool {
    let mut depth = 0_usize;
    let mut in_text = false;
    let closed_at = program.char_indices().find(|(_, character)| {
        match character {
            '"' => in_text = !in_text,
            '{' if !in_text => depth += 1,
            '}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    });
    program.starts_with('{') && closed_at.is_some_and(|(at, _)| at + 1 == program.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that the last command of a script writes.
    fn text(script: &str) -> Option<String> {
        let script = Script::parse(script);
        let command = script.commands.last()?;
        let pieces = output(&script, command)?.into_iter();
        let texts = pieces.map(|piece| match piece {
            Piece::Text(text) => text,
            Piece::Expansion(written) => format!("<{written}>"),
        });
        Some(texts.collect())
    }

    #[test]
    fn what_is_written_is_put_together_as_the_shell_does() {
        for (script, expected) in [
            (
                "printf '[{\"a\":\"%s\"}]' $R:$T",
                Some("[{\"a\":\"<$R>:<$T>\"}]"),
            ),
            ("printf '%s=%s\\n' a 'b c'", Some("a=b c\n")),
            ("printf '{%s}' a b", Some("{a}{b}")),
            ("printf '{\\\"a\\\":\"%s\"}'", Some("{\"a\":\"\"}")),
            (
                "printf \"{\\\"a\\\":\\\"$X\\\"}\"",
                Some("{\"a\":\"<$X>\"}"),
            ),
            ("printf %05d 3", None),
            ("echo -n [{\"a\":\"b\"}]", Some("[{a:b}]")),
            ("echo '{' \"$A\" '}'", Some("{ <$A> }")),
            ("echo '[\\\"a\\\"]'", Some("[\\\"a\\\"]")),
            ("cat <<EOF\n[\"$A\"]\nEOF", Some("[\"<$A>\"]\n")),
            ("echo '[1]' | cat", Some("[1]")),
            ("echo '[1]' | jq .", Some("[1]")),
            ("jq -n --arg a b '{name: $a}'", Some("{}")),
            ("jq -n '{a: 1} | [.]'", None),
            ("jq '{a: .b}' x.json", None),
            ("aws ecs list", None),
        ] {
            assert_eq!(text(script).as_deref(), expected, "{script}");
        }
    }
}
