//! What `runner.toml` says of flags (CONF-4 to CONF-6).

use clap::{Arg, Command, CommandFactory as _};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::table::{self, Table, key, why_fixed};
use super::value::{Kind, Origin, Setting, refusal, switch, token};
use crate::cli::args::Args;
use crate::diagnostic::{Code, Diagnostic, nearest};
use crate::source::{SourceText, Span};

type Value<'t> = Spanned<DeValue<'t>>;

/// A setting with its place.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) setting: Setting,
    pub(super) span: Span,
}

/// What is wrong with what a file says of flags, in any table. What is no TOML is for others to say.
pub(in crate::cli) fn problems(source: &SourceText) -> Vec<Diagnostic> {
    let mut root = Args::command();
    table::ALL
        .iter()
        .flat_map(|table| read(source, &mut root, table).1)
        .collect()
}

/// What a file says in one table, and what is wrong there.
pub(super) fn read(
    source: &SourceText,
    root: &mut Command,
    table: &Table,
) -> (Vec<Placed>, Vec<Diagnostic>) {
    root.build();
    let flags: Vec<Arg> = table.flags(root).into_iter().cloned().collect();
    let mut reader = Reader {
        source,
        root,
        table,
        flags,
        found: Vec::new(),
        problems: Vec::new(),
    };
    if let Ok(file) = DeTable::parse(source.text()) {
        for (name, value) in file.get_ref() {
            if name.get_ref().as_ref() == table.name {
                reader.table(value);
            }
        }
    }
    (reader.found, reader.problems)
}

struct Reader<'r> {
    source: &'r SourceText,
    root: &'r mut Command,
    table: &'r Table,
    flags: Vec<Arg>,
    found: Vec<Placed>,
    problems: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn table(&mut self, value: &Value<'_>) {
        let Some(table) = value.get_ref().as_table() else {
            // The linter says so of its own.
            if self.table.name != "validate" {
                let expected = format!("`{}` has to be a table", self.table.name);
                self.wrong_kind(value, &expected);
            }
            return;
        };
        for (name, value) in table {
            let is_it = |arg: &&Arg| key(arg) == Some(name.get_ref().as_ref());
            match self.flags.iter().find(is_it).cloned() {
                _ if self.table.is_of_linter(name.get_ref()) => {}
                Some(arg) => self.setting(&arg, name.get_ref(), value),
                None => self.unknown(name),
            }
        }
    }

    fn setting(&mut self, arg: &Arg, key: &str, value: &Value<'_>) {
        let Some((tokens, values)) = self.said(arg, key, value) else {
            return;
        };
        let span = span(value);
        let place = self.source.start_of(span);
        let origin = Origin::File {
            file: self.source.name().to_owned(),
            line: place.line,
            column: place.column,
        };
        let setting = Setting {
            key: key.to_owned(),
            tokens,
            values,
            is_last: arg.is_last_set(),
            origin,
        };
        self.found.push(Placed { setting, span });
    }

    fn said(
        &mut self,
        arg: &Arg,
        key: &str,
        value: &Value<'_>,
    ) -> Option<(Vec<std::ffi::OsString>, Vec<String>)> {
        let kind = Kind::of(arg);
        match (kind, value.get_ref()) {
            (Kind::Switch | Kind::OneOrNone, DeValue::Boolean(is_on)) => {
                let tokens = if *is_on {
                    vec![switch(key)]
                } else {
                    Vec::new()
                };
                Some((tokens, Vec::new()))
            }
            (Kind::Switch, _) => {
                self.wrong_kind(value, &format!("`{key}` has to be true or false"));
                None
            }
            (Kind::Many, DeValue::Array(items)) => self.many(arg, key, items),
            (Kind::Many, _) => {
                self.wrong_kind(value, &format!("`{key}` has to be a list"));
                None
            }
            (Kind::One | Kind::OneOrNone, _) => {
                let text = self.one(arg, key, value)?;
                Some((vec![token(arg, key, &text)], vec![text]))
            }
        }
    }

    fn many(
        &mut self,
        arg: &Arg,
        key: &str,
        items: &DeArray<'_>,
    ) -> Option<(Vec<std::ffi::OsString>, Vec<String>)> {
        // All that is wrong is said, not only the first.
        let texts: Vec<Option<String>> =
            items.iter().map(|item| self.one(arg, key, item)).collect();
        let texts: Vec<String> = texts.into_iter().collect::<Option<_>>()?;
        Some((
            texts.iter().map(|text| token(arg, key, text)).collect(),
            texts,
        ))
    }

    /// A value as it would be written behind the flag, if the flag takes it.
    fn one(&mut self, arg: &Arg, key: &str, value: &Value<'_>) -> Option<String> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            _ => {
                self.wrong_kind(value, &format!("`{key}` takes text or a number"));
                return None;
            }
        };
        if let Some(why) = refusal(self.root, self.table.path(), arg, &token(arg, key, &text)) {
            self.problem(span(value), format!("`{key}` cannot be this: {why}"));
            return None;
        }
        Some(text)
    }

    fn unknown(&mut self, name: &Spanned<toml::de::DeString<'_>>) {
        let span = Span::new(name.span().start, name.span().end);
        let name = name.get_ref();
        if let Some(why) = why_fixed(name) {
            self.problem(span, format!("`{name}` cannot be configured: {why}"));
            return;
        }
        // The linter says it of its own table.
        if self.table.name == "validate" {
            return;
        }
        let near = nearest(name, self.flags.iter().filter_map(key));
        let help = near.map_or_else(
            || format!("its keys are the flags of `runner {}`", self.table.name),
            |near| format!("did you mean `{near}`?"),
        );
        let message = format!("unexpected key `{name}` in `[{}]`", self.table.name);
        self.problem(span, message).help = Some(help);
    }

    fn wrong_kind(&mut self, value: &Value<'_>, expected: &str) {
        let kind = value.get_ref().type_str();
        self.problem(
            span(value),
            format!("{expected}, and this is of type {kind}"),
        );
    }

    fn problem(&mut self, span: Span, message: String) -> &mut Diagnostic {
        self.problems
            .push(Diagnostic::new(Code::Configuration, span, message));
        self.problems.last_mut().expect("invariant: one was pushed")
    }
}

fn span(value: &Value<'_>) -> Span {
    Span::new(value.span().start, value.span().end)
}
