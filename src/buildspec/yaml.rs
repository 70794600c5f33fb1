//! YAML text to a tree in which every key and every value knows where it stands.
//!
//! The grammar is libyaml's, from which CodeBuild's own parser descends, so that what is refused there is refused here,
//! with the same sentence. Events are pulled one at a time and the tree is built on an explicit stack: no input can
//! overflow the call stack, and the bounds below hold while reading, not after.
//!
//! Scalars keep the text that was written: `3.10` stays `3.10` and `yes` stays `yes`. What a scalar means is the
//! business of whoever asks for it.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libyaml_safer::{Event, EventData, Mark, Parser, ScalarStyle};

use super::mend;
use crate::diagnostic::{Code, Diagnostic, Fix};
use crate::source::{MAX_BYTES, SourceText, Span, Spanned};

/// Deepest nesting that is read (SPEC-3). A buildspec needs eight levels.
pub const MAX_DEPTH: usize = 64;

/// Most nodes that aliases may add to a document (SPEC-3). Real files add a few dozen; an alias bomb adds billions.
pub const MAX_ALIASED_NODES: usize = 100_000;

/// One node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Where it was written; for an aliased node, where its anchor is.
    pub span: Span,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Text, a number, a flag or nothing.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys and values in the order of the file, merge keys resolved, no key twice.
    Mapping(Vec<Entry>),
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key; its text is in `key.value`.
    pub key: Spanned<String>,
    /// The value.
    pub value: Node,
}

/// A scalar as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text, with quotes, folding and escapes resolved as YAML says, line ends as `\n`.
    pub text: String,
    /// Whether it was written without quotes and not as a block, so that `~`, `null` and nothing mean null.
    pub plain: bool,
}

impl Scalar {
    /// Whether it stands for "no value".
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

impl Node {
    /// Whether it stands for "no value", as with a key that ends in a bare colon.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, NodeKind::Scalar(scalar) if scalar.is_null())
    }

    /// What the node is, in words for a message.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            NodeKind::Scalar(scalar) if scalar.is_null() => "nothing",
            NodeKind::Scalar(_) => "a single value",
            NodeKind::Sequence(_) => "a list",
            NodeKind::Mapping(_) => "a mapping",
        }
    }
}

/// What could be read of a text.
#[derive(Clone, Debug)]
pub struct Document {
    /// The root of the first document; `None` for a text without one.
    pub root: Option<Node>,
    /// Whether the tree holds all of the text. After a syntax error it holds what stood before, so that other problems
    /// there are reported in the same run; nothing may be said about what is missing.
    pub complete: bool,
    /// Where aliases stand, in the order of the file.
    pub aliases: Vec<Span>,
}

/// Reads a text. Never fails: what is wrong with it is in the diagnostics.
#[must_use]
pub fn read(source: &SourceText) -> (Document, Vec<Diagnostic>) {
    if source.text().len() > MAX_BYTES {
        let message = format!("the file is larger than {} MiB", MAX_BYTES / (1024 * 1024));
        let diagnostic = Diagnostic::new(Code::LimitExceeded, Span::at(0), message);
        return (
            Document {
                root: None,
                complete: false,
                aliases: Vec::new(),
            },
            vec![diagnostic],
        );
    }
    let mut builder = Builder::new(source);
    let complete = builder.run();
    (
        Document {
            root: builder.finish(),
            complete,
            aliases: std::mem::take(&mut builder.aliases),
        },
        builder.diagnostics,
    )
}

/// A container whose end has not come yet.
struct Open {
    start: usize,
    anchor: Option<String>,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<RawEntry>,
        key: Option<Node>,
    },
}

struct RawEntry {
    key: Node,
    value: Node,
}

/// What an alias stands for, and how many nodes that is.
struct Anchor {
    node: Node,
    size: usize,
}

struct Builder<'s> {
    source: &'s SourceText,
    stack: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<String, Anchor>,
    aliased_nodes: usize,
    aliases: Vec<Span>,
    diagnostics: Vec<Diagnostic>,
}

/// Reading cannot go on; the reason is among the diagnostics.
struct Halt;

/// libyaml's words for a colon where no key can be.
const MISPLACED_COLON: &str = "mapping values are not allowed in this context";

/// libyaml's words for a text that ends inside something.
const END_OF_STREAM: &str = "found unexpected end of stream";

impl<'s> Builder<'s> {
    fn new(source: &'s SourceText) -> Self {
        Self {
            source,
            stack: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            aliased_nodes: 0,
            aliases: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    /// Pulls events until the end of the first document or the first error. True if the end was reached.
    fn run(&mut self) -> bool {
        let text = with_final_newline(self.source.text());
        let mut input = text.as_bytes();
        let mut parser = Parser::new();
        parser.set_encoding(libyaml_safer::Encoding::Utf8);
        parser.set_input_string(&mut input);
        let mut documents = 0;
        let mut read_up_to = 0;
        loop {
            let event = match guarded(|| parser.parse()) {
                Some(Ok(event)) => event,
                Some(Err(error)) => {
                    self.syntax_error(&error);
                    return false;
                }
                None => {
                    self.tag_without_value(read_up_to);
                    return false;
                }
            };
            read_up_to = offset(event.end_mark);
            match event.data {
                EventData::StreamEnd => return true,
                EventData::DocumentStart { .. } => {
                    documents += 1;
                    if documents == 2 {
                        self.second_document(event.start_mark);
                        return true;
                    }
                }
                EventData::StreamStart { .. } | EventData::DocumentEnd { .. } => {}
                _ => {
                    if self.node_event(event).is_err() {
                        return false;
                    }
                }
            }
        }
    }

    fn node_event(&mut self, event: Event) -> Result<(), Halt> {
        // A node without a text may stand behind the newline that was added.
        let start = offset(event.start_mark).min(self.source.text().len());
        let end = offset(event.end_mark);
        match event.data {
            EventData::Alias { anchor } => self.alias(&anchor, Span::new(start, end)),
            EventData::Scalar {
                anchor,
                tag,
                value,
                style,
                ..
            } => {
                self.check_tag(tag.as_deref(), start, end);
                let value = self.without_added_newline(value, style, start, end);
                let span = self.trimmed(start, end);
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let node = Node {
                    kind: NodeKind::Scalar(Scalar { text: value, plain }),
                    span,
                };
                self.remember(anchor, &node);
                self.place(node);
                Ok(())
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                self.check_tag(tag.as_deref(), start, end);
                self.open(start, anchor, Content::Sequence(Vec::new()))
            }
            EventData::MappingStart { anchor, tag, .. } => {
                self.check_tag(tag.as_deref(), start, end);
                self.open(
                    start,
                    anchor,
                    Content::Mapping {
                        entries: Vec::new(),
                        key: None,
                    },
                )
            }
            EventData::SequenceEnd | EventData::MappingEnd => {
                self.close(end);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, start: usize, anchor: Option<String>, content: Content) -> Result<(), Halt> {
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("nesting deeper than {MAX_DEPTH} levels");
            self.diagnostics.push(Diagnostic::new(
                Code::LimitExceeded,
                Span::at(start),
                message,
            ));
            return Err(Halt);
        }
        self.stack.push(Open {
            start,
            anchor,
            content,
        });
        Ok(())
    }

    /// Ends the innermost container. `end` is used for flow containers only: the end event of a block one stands at
    /// the token that follows, often on a later line, so a block ends where its last child does.
    fn close(&mut self, end: usize) {
        let Some(open) = self.stack.pop() else { return };
        let end = self.container_end(open.start, end);
        let (kind, last_child) = match open.content {
            Content::Sequence(items) => {
                let last = items.last().map(|item| item.span.end());
                (NodeKind::Sequence(items), last)
            }
            Content::Mapping { mut entries, key } => {
                if let Some(key) = key {
                    // Only after a syntax error: the key's value was never read.
                    let value = Node {
                        kind: NodeKind::Scalar(null()),
                        span: Span::at(key.span.end()),
                    };
                    entries.push(RawEntry { key, value });
                }
                let last = entries
                    .last()
                    .map(|entry| entry.value.span.end().max(entry.key.span.end()));
                (NodeKind::Mapping(self.resolve(entries)), last)
            }
        };
        let end = end.or(last_child).unwrap_or(open.start).max(open.start);
        let node = Node {
            kind,
            span: Span::new(open.start, end),
        };
        self.remember(open.anchor, &node);
        self.place(node);
    }

    /// The end of a flow container: just after its closing bracket.
    fn container_end(&self, start: usize, end: usize) -> Option<usize> {
        let text = self.source.text().as_bytes();
        let flow = matches!(
            end.checked_sub(1).and_then(|last| text.get(last)),
            Some(b']' | b'}')
        ) && end > start;
        flow.then_some(end)
    }

    fn place(&mut self, node: Node) {
        match self.stack.last_mut().map(|open| &mut open.content) {
            None => self.root = self.root.take().or(Some(node)),
            Some(Content::Sequence(items)) => items.push(node),
            Some(Content::Mapping { entries, key }) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push(RawEntry { key, value: node }),
            },
        }
    }

    fn remember(&mut self, anchor: Option<String>, node: &Node) {
        if let Some(anchor) = anchor {
            self.anchors.insert(
                anchor,
                Anchor {
                    node: node.clone(),
                    size: size(node),
                },
            );
        }
    }

    fn alias(&mut self, name: &str, span: Span) -> Result<(), Halt> {
        let Some(anchor) = self.anchors.get(name) else {
            let diagnostic = Diagnostic::new(
                Code::YamlSyntax,
                span,
                format!("found undefined alias `{name}`"),
            )
            .labelled(format!("no `&{name}` stands before it"))
            .with_help("an item that begins with `*` has to be quoted")
            .with_codebuild_message(codebuild_syntax(
                "found undefined alias",
                self.source.line(span.start()) - 1,
            ));
            self.diagnostics.push(diagnostic);
            return Err(Halt);
        };
        self.aliased_nodes += anchor.size;
        if self.aliased_nodes > MAX_ALIASED_NODES {
            let message = format!("aliases expand to more than {MAX_ALIASED_NODES} nodes");
            self.diagnostics
                .push(Diagnostic::new(Code::LimitExceeded, span, message));
            return Err(Halt);
        }
        let node = anchor.node.clone();
        self.aliases.push(span);
        self.place(node);
        Ok(())
    }

    /// Keys as text, merge keys resolved, equal keys reported.
    fn resolve(&mut self, raw: Vec<RawEntry>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::with_capacity(raw.len());
        let mut places: HashMap<String, usize> = HashMap::with_capacity(raw.len());
        let mut merged = Vec::new();
        for RawEntry { key, value } in raw {
            if is_merge_key(&key) {
                merged.push((key.span, value));
                continue;
            }
            let Some(name) = self.key_text(key) else {
                continue;
            };
            if let Some(&first) = places.get(&name.value) {
                self.duplicate(&name, entries[first].key.span);
                continue;
            }
            places.insert(name.value.clone(), entries.len());
            entries.push(Entry { key: name, value });
        }
        for (span, value) in merged {
            self.merge(span, value, &mut entries, &mut places);
        }
        entries
    }

    /// What `<<` brings in: entries whose keys the mapping does not have itself.
    fn merge(
        &mut self,
        key: Span,
        value: Node,
        entries: &mut Vec<Entry>,
        places: &mut HashMap<String, usize>,
    ) {
        let sources = match value.kind {
            NodeKind::Mapping(from) => vec![from],
            NodeKind::Sequence(items)
                if items
                    .iter()
                    .all(|item| matches!(item.kind, NodeKind::Mapping(_))) =>
            {
                items
                    .into_iter()
                    .filter_map(|item| match item.kind {
                        NodeKind::Mapping(from) => Some(from),
                        _ => None,
                    })
                    .collect()
            }
            _ => {
                let diagnostic =
                    Diagnostic::new(Code::WrongType, value.span, "`<<` merges mappings only")
                        .with_secondary(key, "merged here");
                self.diagnostics.push(diagnostic);
                return;
            }
        };
        for entry in sources.into_iter().flatten() {
            if !places.contains_key(&entry.key.value) {
                places.insert(entry.key.value.clone(), entries.len());
                entries.push(entry);
            }
        }
    }

    fn key_text(&mut self, key: Node) -> Option<Spanned<String>> {
        match key.kind {
            NodeKind::Scalar(scalar) => Some(Spanned::new(scalar.text, key.span)),
            _ => {
                let message = format!(
                    "a key has to be a single value, and this is {}",
                    key.describe()
                );
                self.diagnostics
                    .push(Diagnostic::new(Code::WrongType, key.span, message));
                None
            }
        }
    }

    fn duplicate(&mut self, key: &Spanned<String>, first: Span) {
        let diagnostic = Diagnostic::new(
            Code::DuplicateKey,
            key.span,
            format!("`{}` is given twice", key.value),
        )
        .labelled("again here")
        .with_secondary(first, "first here")
        .with_help("merge the two, or remove one");
        self.diagnostics.push(diagnostic);
    }

    fn check_tag(&mut self, tag: Option<&str>, start: usize, end: usize) {
        let Some(tag) = tag else { return };
        if tag == "!" || tag.starts_with("tag:yaml.org,2002:") {
            return;
        }
        let span = self.tag_span(start, end);
        let diagnostic = Diagnostic::new(Code::UnknownTag, span, format!("unknown tag `{tag}`"))
            .with_help("tags such as `!Sub` are resolved by templates, not in a buildspec; resolve it, or quote the text");
        self.diagnostics.push(diagnostic);
    }

    /// Where a tag is written in front of a node. An anchor may stand before it.
    fn tag_span(&self, start: usize, end: usize) -> Span {
        let end = end.min(self.source.text().len());
        let text = &self.source.text()[start..end];
        let before_tag = |word: &&str| !word.starts_with('!');
        let anchor: usize = text
            .split_inclusive(char::is_whitespace)
            .take_while(before_tag)
            .map(str::len)
            .sum();
        let rest = &text[anchor..];
        let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
        Span::new(start + anchor, start + anchor + length)
    }

    /// A block scalar at the very end of a file without a final newline does not end in one either.
    fn without_added_newline(
        &self,
        mut value: String,
        style: ScalarStyle,
        start: usize,
        end: usize,
    ) -> String {
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if block && end > self.source.text().len() && value.ends_with('\n') {
            let written = &self.source.text()[start..];
            if ends_in_last_line(written, &value) {
                value.pop();
            }
        }
        value
    }

    /// A span without the blank lines that libyaml counts to the end of a block scalar.
    fn trimmed(&self, start: usize, end: usize) -> Span {
        let end = end.max(start).min(self.source.text().len());
        let text = &self.source.text()[start..end];
        Span::new(start, start + text.trim_end_matches(is_blank).len())
    }

    fn second_document(&mut self, mark: Mark) {
        let start = offset(mark);
        let end = (start + 3).min(self.source.text().len());
        let diagnostic = Diagnostic::new(
            Code::MultiDocument,
            Span::new(start, end),
            "a second document begins here",
        )
        .labelled("this and what follows is not used")
        .with_help("a file holds one buildspec; move the other to a file of its own");
        self.diagnostics.push(diagnostic);
    }

    /// The one input on which libyaml-safer 0.3 panics where libyaml reads an empty scalar: a tag directly before a
    /// comma, as in `[!!str, a]`. Nothing in a buildspec needs it, so it is refused.
    fn tag_without_value(&mut self, read_up_to: usize) {
        let text = self.source.text();
        let from = floor_char_boundary(text, read_up_to);
        let at = text[from..].find('!').map_or(from, |tag| from + tag);
        let diagnostic =
            Diagnostic::new(Code::YamlSyntax, self.visible(at), "a tag without a value")
                .with_help("give it a value, or remove it");
        self.diagnostics.push(diagnostic);
    }

    fn syntax_error(&mut self, error: &libyaml_safer::Error) {
        let problem = error.problem();
        let at = match error.problem_mark() {
            Some(mark) => offset(mark),
            // The reader names no place: a character that YAML does not allow anywhere.
            None => self.source.text().find(is_forbidden).unwrap_or(0),
        };
        let at = floor_char_boundary(self.source.text(), at);
        // The end of a text without a final newline is one line further down to libyaml.
        let line = error.problem_mark().map_or_else(
            || self.source.line(at) - 1,
            |mark| usize::try_from(mark.line).unwrap_or(usize::MAX),
        );
        let codebuild = codebuild_syntax(problem, line);
        let context = error
            .context()
            .zip(error.context_mark())
            .map(|(context, mark)| {
                let at = floor_char_boundary(self.source.text(), offset(mark));
                (context, at)
            });
        if let Some(("while scanning an alias", start)) = context
            && let Some((pattern, fix)) = mend::quote_glob(self.source, start)
        {
            self.glob_without_quotes(pattern, fix, codebuild);
            return;
        }
        let diagnostic = self.explained(problem, at, context);
        self.diagnostics
            .push(diagnostic.with_codebuild_message(codebuild));
    }

    /// A syntax error with what is known of its cause.
    fn explained(
        &mut self,
        problem: &str,
        at: usize,
        context: Option<(&str, usize)>,
    ) -> Diagnostic {
        let glued = (problem == MISPLACED_COLON)
            .then(|| self.forget_scalar_before(at))
            .flatten();
        let mut diagnostic = match self.cause(problem, at, context, glued) {
            Some((span, text)) => Diagnostic::new(Code::YamlSyntax, span, problem)
                .labelled(text)
                .with_secondary(self.visible(at), "noticed here"),
            None => self.labelled_syntax_error(problem, at, context),
        };
        let made_here = diagnostic.primary.span.start() == at && problem != END_OF_STREAM;
        diagnostic.fix = made_here
            .then(|| mend::quote_test(self.source, at))
            .flatten();
        diagnostic.help = if diagnostic.fix.is_some() {
            Some("put the whole command in quotes".to_owned())
        } else {
            self.syntax_help(problem, at, glued)
        };
        diagnostic
    }

    fn labelled_syntax_error(
        &self,
        problem: &str,
        at: usize,
        context: Option<(&str, usize)>,
    ) -> Diagnostic {
        let diagnostic = Diagnostic::new(Code::YamlSyntax, self.visible(at), problem);
        match context {
            Some((context, start)) if self.source.line(start) != self.source.line(at) => {
                diagnostic.with_secondary(self.visible(start), context)
            }
            Some((context, _)) => diagnostic.labelled(context),
            None => diagnostic,
        }
    }

    /// Where the mistake is, if that is certain and not in the line in which libyaml stops, and what is wrong there.
    fn cause(
        &self,
        problem: &str,
        at: usize,
        context: Option<(&str, usize)>,
        glued: Option<Span>,
    ) -> Option<(Span, &'static str)> {
        let (start, text) = match (problem, context) {
            (END_OF_STREAM, Some(("while scanning a quoted scalar", start))) => {
                (start, "this quote is never closed")
            }
            ("could not find expected ':'", Some((_, start))) => {
                (start, "no `:` behind this, and no `-` before it")
            }
            ("did not find expected <document start>", _) => {
                let root = self.root.as_ref()?.span.start();
                (root, "this is indented deeper than what follows")
            }
            ("did not find expected key", _) if self.source.text()[at..].starts_with("- ") => {
                (self.text_above(at)?, "no `-` before this")
            }
            // A value that runs on is indented too little or too much: the line that is too much is the one with the colon.
            (MISPLACED_COLON, _) if self.is_key(glued?) => (glued?.start(), "no `:` behind this"),
            _ => return None,
        };
        let elsewhere = self.source.line(start) != self.source.line(at);
        elsewhere.then(|| (self.rest_of_line(start), text))
    }

    /// Whether a text that was forgotten stood where a key stands.
    fn is_key(&self, text: Span) -> bool {
        !matches!(
            self.stack.last().map(|open| &open.content),
            Some(Content::Mapping { key: Some(key), .. }) if key.span.end() <= text.start()
        )
    }

    /// The plain text right above an item of a list that stands in the same column, if it is the value that the list was
    /// meant to be.
    fn text_above(&self, at: usize) -> Option<usize> {
        let Some(Content::Mapping { entries, .. }) = self.stack.last().map(|open| &open.content)
        else {
            return None;
        };
        let value = &entries.last()?.value;
        let plain =
            matches!(&value.kind, NodeKind::Scalar(scalar) if scalar.plain && !scalar.is_null());
        let start = value.span.start();
        let same_column = mend::column(self.source, start)
            .is_some_and(|own| mend::column(self.source, at) == Some(own));
        (plain && same_column).then_some(start)
    }

    /// What stands in a line from here on.
    fn rest_of_line(&self, at: usize) -> Span {
        let rest = &self.source.text()[at..];
        let line = rest.split(['\n', '\r']).next().unwrap_or_default();
        Span::new(at, at + line.trim_end().len())
    }

    fn glob_without_quotes(&mut self, pattern: Span, fix: Option<Fix>, codebuild: String) {
        let mut diagnostic = Diagnostic::new(
            Code::GlobWithoutQuotes,
            pattern,
            "a pattern that begins with `*` has to be quoted",
        )
        .labelled("to YAML this begins an alias")
        .with_codebuild_message(codebuild);
        diagnostic.fix = fix;
        self.diagnostics.push(diagnostic);
    }

    /// A text in front of a misplaced colon was meant as a key: `version: 0.2` and an indented `phases:` below it are read
    /// as the one text `0.2 phases`. It is not what its author wrote, so nothing is said about it.
    fn forget_scalar_before(&mut self, at: usize) -> Option<Span> {
        let glued = |node: &Node| {
            matches!(&node.kind, NodeKind::Scalar(scalar) if scalar.plain) && node.span.end() == at
        };
        let forgotten = match self.stack.last_mut().map(|open| &mut open.content) {
            None => self.root.take_if(|root| glued(root)),
            Some(Content::Sequence(items)) => items.pop_if(|item| glued(item)),
            Some(Content::Mapping { entries, key }) => {
                entries.pop_if(|entry| glued(&entry.value)).map(|entry| {
                    *key = Some(entry.key);
                    entry.value
                })
            }
        };
        forgotten.map(|node| node.span)
    }

    /// What usually lies behind a syntax error at this place, where that is certain.
    fn syntax_help(&self, problem: &str, at: usize, glued: Option<Span>) -> Option<String> {
        let rest = &self.source.text()[at..];
        let first = rest.chars().next();
        match (problem, first) {
            ("found character that cannot start any token", Some('\t')) => {
                Some("YAML is indented with blanks, not with tabs".to_owned())
            }
            ("found character that cannot start any token", Some(c @ ('%' | '@' | '`'))) => {
                Some(format!("a value that begins with `{c}` has to be quoted"))
            }
            ("did not find expected alphabetic or numeric character", _) => {
                Some("a value that begins with `*` or `&` has to be quoted".to_owned())
            }
            (MISPLACED_COLON, _)
                if glued.is_some_and(|text| self.source.slice(text).contains(['\n', '\r'])) =>
            {
                let help = if glued.is_some_and(|text| self.is_key(text)) {
                    "give that line its colon"
                } else {
                    "the line before runs on into this one: indent this one less"
                };
                Some(help.to_owned())
            }
            (MISPLACED_COLON, _) => Some(
                "quote a value that contains `: `, or write it as a block after `|`".to_owned(),
            ),
            ("did not find expected ',' or ']'", _) => {
                Some("a command that begins with `[` has to be quoted".to_owned())
            }
            _ => None,
        }
    }

    /// The character at an offset, so that there is something to underline.
    fn visible(&self, at: usize) -> Span {
        let length = self.source.text()[at..]
            .chars()
            .next()
            .map_or(0, |c| if c == '\n' { 0 } else { c.len_utf8() });
        Span::new(at, at + length)
    }

    /// The root, with containers that a syntax error left open closed where they were.
    fn finish(&mut self) -> Option<Node> {
        while !self.stack.is_empty() {
            self.close(0);
        }
        self.root.take()
    }
}

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a call whose panic is caught and reported as a diagnostic; a panic hook that writes
/// bug reports stays silent then.
#[must_use]
pub fn is_guarded() -> bool {
    GUARDED.get()
}

/// The result of a call, or `None` if it panicked.
fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    GUARDED.set(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(false);
    result.ok()
}

/// libyaml-safer 0.3 panics at the end of a text that ends inside a block scalar or an escape; a newline keeps it from
/// getting there. Offsets stay as they are.
fn with_final_newline(text: &str) -> Cow<'_, str> {
    if text.ends_with('\n') {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{text}\n"))
    }
}

/// Whether the last line break of a block's value belongs to the last line as written, which has none. Not if that line
/// is nothing but indentation: then it is the line before that ends the value, with a line break of its own.
fn ends_in_last_line(written: &str, value: &str) -> bool {
    let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    let last = written.rsplit(breaks).next().unwrap_or_default();
    let kept_empty_line = value.ends_with("\n\n") || value == "\n";
    let width = |line: &str| line.len() - line.trim_start_matches(' ').len();
    // Up to its first text a block has as many lines in its value as in the file.
    let indentation = || {
        let (index, first) = value
            .lines()
            .enumerate()
            .find(|(_, line)| !line.is_empty())?;
        let mut block = written
            .lines()
            .skip_while(|line| !line.contains(['|', '>']));
        let first_written = block.nth(index + 1)?;
        Some(width(first_written).saturating_sub(width(first)))
    };
    !last.trim_start_matches(' ').is_empty()
        || kept_empty_line
        || indentation().is_some_and(|indentation| last.len() > indentation)
}

fn null() -> Scalar {
    Scalar {
        text: String::new(),
        plain: true,
    }
}

fn is_merge_key(key: &Node) -> bool {
    matches!(&key.kind, NodeKind::Scalar(scalar) if scalar.plain && scalar.text == "<<")
}

fn size(node: &Node) -> usize {
    match &node.kind {
        NodeKind::Scalar(_) => 1,
        NodeKind::Sequence(items) => 1 + items.iter().map(size).sum::<usize>(),
        NodeKind::Mapping(entries) => {
            1 + entries
                .iter()
                .map(|entry| 1 + size(&entry.value))
                .sum::<usize>()
        }
    }
}

fn offset(mark: Mark) -> usize {
    usize::try_from(mark.index).unwrap_or(usize::MAX)
}

fn floor_char_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// Blanks and line breaks of YAML 1.1. Any other blank character is text like a letter.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        ' ' | '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Characters that YAML 1.1 allows nowhere, not even quoted.
fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{80}'..='\u{84}' | '\u{86}'..='\u{9f}')
}

/// CodeBuild's form of a syntax error. It counts lines from 0 (SPEC-8): three public logs, of a first, a fourth and a
/// twentieth line, print 0, 3 and 19.
fn codebuild_syntax(problem: &str, line: usize) -> String {
    format!("{problem} at line {line}")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn read_text(text: &str) -> (SourceText, Document, Vec<Diagnostic>) {
        let source = SourceText::new("buildspec.yml", text);
        let (document, diagnostics) = read(&source);
        (source, document, diagnostics)
    }

    fn entries(node: &Node) -> &[Entry] {
        match &node.kind {
            NodeKind::Mapping(entries) => entries,
            other => panic!("not a mapping: {other:?}"),
        }
    }

    fn texts(source: &SourceText, node: &Node, out: &mut Vec<String>) {
        match &node.kind {
            NodeKind::Scalar(_) => out.push(source.slice(node.span).to_owned()),
            NodeKind::Sequence(items) => items.iter().for_each(|item| texts(source, item, out)),
            NodeKind::Mapping(entries) => {
                for entry in entries {
                    out.push(source.slice(entry.key.span).to_owned());
                    texts(source, &entry.value, out);
                }
            }
        }
    }

    #[test]
    fn every_key_and_value_slices_out_of_the_text() {
        let (source, document, diagnostics) =
            read_text("a: 'b c'\n\"é\": [1, {x: y}]\nblock: |\n  one\n  two\n\nnone:\n");
        assert_eq!(diagnostics, []);
        let mut found = Vec::new();
        texts(&source, document.root.as_ref().unwrap(), &mut found);
        assert_eq!(
            found,
            [
                "a",
                "'b c'",
                "\"é\"",
                "1",
                "x",
                "y",
                "block",
                "|\n  one\n  two",
                "none",
                ""
            ]
        );
    }

    #[test]
    fn a_blank_that_is_none_of_yamls_belongs_to_its_text() {
        let (source, document, _) = read_text("- make\u{a0}\n- \u{2003}\n");
        let mut found = Vec::new();
        texts(&source, document.root.as_ref().unwrap(), &mut found);
        assert_eq!(found, ["make\u{a0}", "\u{2003}"]);
    }

    #[test]
    fn containers_end_with_their_last_child_or_their_bracket() {
        let (source, document, _) = read_text("a:\n  b: 1\n  c: [x, y]\n\n\nd: {e: f}\n");
        let root = document.root.unwrap();
        assert_eq!(
            source.slice(root.span),
            "a:\n  b: 1\n  c: [x, y]\n\n\nd: {e: f}"
        );
        assert_eq!(
            source.slice(entries(&root)[0].value.span),
            "b: 1\n  c: [x, y]"
        );
        assert_eq!(source.slice(entries(&root)[1].value.span), "{e: f}");
    }

    #[test]
    fn scalars_keep_the_text_that_was_written() {
        let (_, document, _) = read_text("[3.10, 0x10, yes, 'null', ~, null, '', 1_000]");
        let NodeKind::Sequence(items) = document.root.unwrap().kind else {
            panic!()
        };
        let seen: Vec<_> = items
            .iter()
            .map(|item| match &item.kind {
                NodeKind::Scalar(scalar) => (scalar.text.as_str(), scalar.is_null()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("3.10", false),
                ("0x10", false),
                ("yes", false),
                ("null", false),
                ("~", true),
                ("null", true),
                ("", false),
                ("1_000", false)
            ]
        );
    }

    #[test]
    fn merge_keys_bring_in_what_the_mapping_lacks() {
        let (_, document, diagnostics) = read_text(
            "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\nuse:\n  <<: [*b, *m]\n  x: 9\n",
        );
        assert_eq!(diagnostics, []);
        let root = document.root.unwrap();
        let merged: Vec<_> = entries(&entries(&root)[2].value)
            .iter()
            .map(|entry| match &entry.value.kind {
                NodeKind::Scalar(scalar) => format!("{}={}", entry.key.value, scalar.text),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(merged, ["x=9", "y=2", "z=4"]);
    }

    #[test]
    fn a_syntax_error_keeps_what_stood_before_it() {
        let (source, document, diagnostics) = read_text("a: 1\nb:\n\t- x\n");
        assert!(!document.complete);
        assert_eq!(entries(&document.root.unwrap())[0].key.value, "a");
        assert_eq!(diagnostics.len(), 1);
        assert_eq!(
            diagnostics[0].context_message(),
            "found character that cannot start any token at line 2"
        );
        assert_eq!(
            source.start_of(diagnostics[0].primary.span).to_string(),
            "3:1"
        );
    }

    #[test]
    fn codebuilds_line_is_that_of_libyaml_with_and_without_a_final_newline() {
        for text in ["version: 0.2\nphases", "version: 0.2\nphases\n"] {
            let (_, _, diagnostics) = read_text(text);
            assert_eq!(
                diagnostics[0].context_message(),
                "could not find expected ':' at line 2"
            );
        }
    }

    #[test]
    fn a_key_given_twice_points_at_both() {
        let (source, _, diagnostics) = read_text("p:\n  build: 1\n  'build': 2\n");
        assert_eq!(diagnostics[0].code, Code::DuplicateKey);
        assert_eq!(
            source.start_of(diagnostics[0].primary.span).to_string(),
            "3:3"
        );
        assert_eq!(
            source
                .start_of(diagnostics[0].secondary[0].span)
                .to_string(),
            "2:3"
        );
    }

    #[test]
    fn depth_and_alias_expansion_are_bounded() {
        let (_, _, diagnostics) = read_text(&"[".repeat(100_000));
        assert_eq!(diagnostics[0].code, Code::LimitExceeded);
        let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
        for (name, of) in ["b", "c", "d", "e", "f", "g", "h"]
            .iter()
            .zip(["a", "b", "c", "d", "e", "f", "g"])
        {
            let items = vec![format!("*{of}"); 10].join(",");
            writeln!(bomb, "{name}: &{name} [{items}]").unwrap();
        }
        let (_, _, diagnostics) = read_text(&bomb);
        assert_eq!(diagnostics[0].code, Code::LimitExceeded);
    }

    #[test]
    fn an_undefined_alias_and_a_foreign_tag_are_errors() {
        let (source, _, diagnostics) = read_text("a: *nope\n");
        assert_eq!(source.slice(diagnostics[0].primary.span), "*nope");
        for text in [
            "a: !Sub 'x-${Y}'\nb: !!str 1\n",
            "a: !Sub |\n  b",
            "a: !Sub",
        ] {
            let (source, _, diagnostics) = read_text(text);
            assert_eq!(diagnostics.len(), 1);
            assert_eq!(source.slice(diagnostics[0].primary.span), "!Sub");
        }
    }

    #[test]
    fn only_the_first_document_is_read() {
        let (_, document, diagnostics) = read_text("--- \na: 1\n---\nb: 2\n");
        assert_eq!(entries(&document.root.unwrap()).len(), 1);
        assert_eq!(diagnostics[0].code, Code::MultiDocument);
    }

    #[test]
    fn a_block_at_the_end_of_a_file_ends_as_the_file_does() {
        for (text, expected) in [
            ("a: |\n  b", "b"),
            ("a: |\n  b\n", "b\n"),
            ("a: |+\n  b", "b"),
            ("a: |-\n  b", "b"),
            ("a: >\n  b\n  c", "b c"),
            ("a: |\n  b\n\n", "b\n"),
            ("a: |\n  b\n ", "b\n"),
            ("a: |\n  b \n ", "b \n"),
            ("a: |\n  b\n   ", "b\n "),
            ("a: |2\n     ", "   "),
            ("a: |2\n   \n ", " \n"),
            ("a: |+\n  b\n ", "b\n"),
            ("a: |+\n  b\n\n ", "b\n\n"),
            ("a: |-\n  b\n ", "b"),
            ("a: >\n  b\n  c\n ", "b c\n"),
            ("a: |\n  b\r\n  c", "b\nc"),
            ("a: |", ""),
        ] {
            let (_, document, diagnostics) = read_text(text);
            assert_eq!(diagnostics, [], "{text:?}");
            let value = &entries(document.root.as_ref().unwrap())[0].value.kind;
            let NodeKind::Scalar(scalar) = value else {
                panic!("{value:?}")
            };
            assert_eq!(scalar.text, expected, "{text:?}");
        }
    }

    #[test]
    fn a_document_that_only_begins_is_empty() {
        for text in ["---", "\n---", "--- ", "# é\n---"] {
            let (source, document, diagnostics) = read_text(text);
            assert_eq!(diagnostics, [], "{text:?}");
            let root = document.root.unwrap();
            assert!(root.is_null(), "{text:?}");
            assert_eq!(source.slice(root.span), "", "{text:?}");
        }
    }

    #[test]
    fn a_tag_without_a_value_is_refused_and_does_not_end_the_program() {
        let (source, _, diagnostics) = read_text("a: 1\nb: [!!str, x]\n");
        assert_eq!(
            source.start_of(diagnostics[0].primary.span).to_string(),
            "2:5"
        );
    }

    #[test]
    fn control_characters_are_placed() {
        let (source, _, diagnostics) = read_text("a: 1\nb: \u{7}\n");
        assert_eq!(diagnostics[0].code, Code::YamlSyntax);
        assert_eq!(
            source.start_of(diagnostics[0].primary.span).to_string(),
            "2:4"
        );
    }
}
