//! Shell text as a shell reads it: which programs a command runs, with which words, in which place.
//!
//! The grammar is tree-sitter's for Bash. It goes on after an error, so half a command still tells what it can; what
//! only it calls an error is never more than a warning.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::ops::Range;
use std::sync::LazyLock;

use tree_sitter::{Language, Node, Parser, Tree};

use super::plain;

/// The text of one command of a buildspec, parsed.
#[derive(Debug)]
pub struct Script {
    text: String,
    /// What the grammar makes of it; of a plain command once somebody asks for what only the grammar knows.
    tree: OnceCell<Option<Tree>>,
    /// Whether it was read without the grammar.
    is_plain: bool,
    /// The nodes that plain commands do not have, listed once for all rules that look for kinds of them.
    nodes: OnceCell<Vec<(Range<usize>, &'static str)>>,
    /// The programs that are run, in the order of the text, also those in substitutions and bodies of functions.
    pub commands: Vec<SimpleCommand>,
    /// Variables that are given a value: by `NAME=…` on its own, `export`, `readonly`, `declare`, `local`, `read`, `for`.
    pub assigned: Vec<Assignment>,
    /// Variables that are read, by `$NAME` or `${NAME…}`.
    pub read: Vec<VariableUse>,
    /// Files that are written or read by `>`, `<` and the like, in the order of the text.
    pub redirections: Vec<Redirection>,
    /// Places that are no shell.
    pub errors: Vec<SyntaxError>,
    /// How deep in the tree the reading is.
    depth: usize,
}

/// How deep a text is read: far deeper than anybody writes, and well within any stack.
const MAX_DEPTH: usize = 300;

/// One program with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimpleCommand {
    /// The whole of it, redirections not counted.
    pub range: Range<usize>,
    /// The words; the first one names the program.
    pub words: Vec<Word>,
    /// `NAME=value` in front of it.
    pub environment: Vec<Assignment>,
    /// Where it stands.
    pub place: Place,
}

/// Where a program stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any of them may go with any other"
)]
pub struct Place {
    /// In a pipe: where the pipe begins in the text, the position in it from 0, and how many there are.
    pub pipe: Option<(usize, usize, usize)>,
    /// It runs only if something else did or did not succeed: right of `&&` or `||`, in the body of `if`, `case`, a loop.
    pub conditional: bool,
    /// Its failure is looked at: the condition of `if` or `while`, left of `||`, behind `!`.
    pub checked: bool,
    /// `|| true`, `|| :` or `|| exit 0` follows.
    pub forgiven: bool,
    /// It runs in a process of its own: `( … )`, `$( … )`, `<( … )`, part of a pipe.
    pub subshell: bool,
    /// Its output becomes text: `$( … )` or backquotes.
    pub substituted: bool,
    /// `&` follows.
    pub background: bool,
    /// It is in the body of a function.
    pub in_function: bool,
    /// Its output goes to a file, not to where the command's own goes.
    pub to_file: bool,
}

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Where.
    pub range: Range<usize>,
    /// As written, with its quotes.
    pub written: String,
    /// Quotes taken off, expansions kept as written: `"$A"/x` is `$A/x`.
    pub text: String,
    /// Whether nothing in it is expanded, so that `text` is what the program sees.
    pub literal: bool,
}

/// A variable that gets a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Where.
    pub range: Range<usize>,
    /// The variable.
    pub name: String,
    /// The value as written, without quotes around it; empty if there is none.
    pub value: String,
}

/// A variable that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableUse {
    /// Where: `$NAME` or `${NAME}` as a whole.
    pub range: Range<usize>,
    /// The variable.
    pub name: String,
}

/// Where the input of commands comes from, or where their output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirection {
    /// Where.
    pub range: Range<usize>,
    /// `>`, `>>`, `<`, `&>`, `<<` and so on.
    pub operator: String,
    /// The file; what ends the text behind `<<`.
    pub target: Word,
    /// The commands it is for.
    pub of: Range<usize>,
    /// The text behind `<<`.
    pub text: Option<Range<usize>>,
}

/// A part of a text that a shell puts together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Characters as the program sees them: quotes taken off, escapes resolved.
    Text(String),
    /// What the shell puts in at run time, as written.
    Expansion(String),
}

/// A place that is no shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where.
    pub range: Range<usize>,
    /// What is missing there, such as `fi`; `None` if something is there that should not be.
    pub missing: Option<String>,
}

thread_local! {
    /// Setting a parser up costs more than most commands do.
    static PARSER: RefCell<Option<Parser>> = RefCell::new(new_parser());
}

fn new_parser() -> Option<Parser> {
    let mut parser = Parser::new();
    parser.set_language(&LANGUAGE).ok()?;
    Some(parser)
}

/// A text of the same length for the parser, which ends a word too early at `$B.` in `$A.b.$B.c` and takes what follows for
/// another word, even for a program. With a colon in place of what follows the variable it does not; only places are taken
/// from the tree, so nobody sees the colon.
fn masked(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut masked: Option<Vec<u8>> = None;
    let mut arithmetic = Arithmetic::default();
    for (at, _) in text.match_indices('$') {
        let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_';
        let end = at + 1 + bytes[at + 1..].iter().take_while(is_name).count();
        let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
        let glued = before.is_ascii_alphanumeric() || b"./-_,:+@%^~".contains(&before);
        let follows = bytes.get(end).is_some_and(|next| b"./-,+^~".contains(next));
        // In arithmetic they would be operators.
        if end > at + 1 && glued && follows && !arithmetic.is_open(bytes, at) {
            masked.get_or_insert_with(|| bytes.to_vec())[end] = b':';
        }
    }
    match masked.map(String::from_utf8) {
        Some(Ok(masked)) => Cow::Owned(masked),
        _ => Cow::Borrowed(text),
    }
}

/// Whether `((` is open, asked from the front of a text to its end, so that all of it is looked at once.
#[derive(Default)]
struct Arithmetic {
    looked_at: usize,
    is_open: bool,
}

impl Arithmetic {
    /// Whether of `((` and `))` the first was the last one in front of this place.
    fn is_open(&mut self, bytes: &[u8], before: usize) -> bool {
        for pair in bytes[self.looked_at..before].windows(2) {
            match pair {
                b"((" => self.is_open = true,
                b"))" => self.is_open = false,
                _ => {}
            }
        }
        // A pair may begin with the last character.
        self.looked_at = before.saturating_sub(1);
        self.is_open
    }
}

static LANGUAGE: LazyLock<Language> = LazyLock::new(|| tree_sitter_bash::LANGUAGE.into());

/// Names of the grammar's kinds of nodes by their numbers. The grammar itself counts the letters of a name each time.
static KINDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let ids = (0..=u16::MAX).take(LANGUAGE.node_kind_count());
    ids.map(|id| LANGUAGE.node_kind_for_id(id).unwrap_or_default())
        .collect()
});

/// The name of a node's kind.
fn kind(node: Node<'_>) -> &'static str {
    // The number of what is no shell is far behind all others.
    KINDS
        .get(usize::from(node.kind_id()))
        .copied()
        .unwrap_or("ERROR")
}

fn children(node: Node<'_>) -> Vec<Node<'_>> {
    // Most nodes are leaves, and a cursor costs more than to ask.
    if node.child_count() == 0 {
        return Vec::new();
    }
    node.children(&mut node.walk()).collect()
}

/// Longest command that is read as shell, in bytes, and most substitutions in one. Beyond that the grammar takes time that
/// grows with the square, and nobody wrote it by hand.
const MAX_TEXT: usize = 1024 * 1024;
const MAX_SUBSTITUTIONS: usize = 1000;

fn is_bounded(text: &str) -> bool {
    let opened = || text.matches("$(").count() + text.matches('`').count();
    text.len() <= MAX_SUBSTITUTIONS || (text.len() <= MAX_TEXT && opened() <= MAX_SUBSTITUTIONS)
}

/// What the grammar makes of a text.
fn tree(text: &str) -> Option<Tree> {
    let parse = |parser: &mut Option<Parser>| parser.as_mut()?.parse(masked(text).as_ref(), None);
    is_bounded(text)
        .then(|| PARSER.with_borrow_mut(parse))
        .flatten()
}

impl Script {
    /// Reads a text. Never fails: what cannot be read is in `errors`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if let Some(plain) = plain::read(text).filter(|_| is_bounded(text)) {
            return Self {
                commands: plain.commands,
                read: plain.read,
                is_plain: true,
                ..Self::empty(text)
            };
        }
        Self::by_grammar(text)
    }

    fn by_grammar(text: &str) -> Self {
        let mut script = Self::empty(text);
        let tree = tree(text);
        if let Some(tree) = &tree {
            script.visit(tree.root_node(), &Place::default());
        }
        script.tree = OnceCell::from(tree);
        script
    }

    fn empty(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            tree: OnceCell::new(),
            is_plain: false,
            nodes: OnceCell::new(),
            commands: Vec::new(),
            assigned: Vec::new(),
            read: Vec::new(),
            redirections: Vec::new(),
            errors: Vec::new(),
            depth: 0,
        }
    }

    fn tree(&self) -> Option<&Tree> {
        self.tree.get_or_init(|| tree(&self.text)).as_ref()
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Ranges of all nodes of these kinds of tree-sitter's grammar, such as `test_command`, in the order of the text. Kinds
    /// are those that have a name, not `&&`.
    #[must_use]
    pub fn nodes<'k>(&self, kinds: &[&'k str]) -> Vec<(Range<usize>, &'k str)> {
        let wanted = |(range, id): &(Range<usize>, &'static str)| {
            let kind = kinds.iter().find(|wanted| *wanted == id);
            kind.map(|kind| (range.clone(), *kind))
        };
        if kinds.iter().any(|kind| plain::NODES.contains(kind)) {
            let all = self.list_nodes(&|_| true);
            return all.iter().filter_map(wanted).collect();
        }
        if self.is_plain {
            return self.expansions().filter_map(|one| wanted(&one)).collect();
        }
        let is_listed = |kind: &str| !plain::NODES.contains(&kind);
        let listed = self.nodes.get_or_init(|| self.list_nodes(&is_listed));
        listed.iter().filter_map(wanted).collect()
    }

    /// The nodes of a plain text that are none of [`plain::NODES`].
    fn expansions(&self) -> impl Iterator<Item = (Range<usize>, &'static str)> {
        let read = self.read.iter().map(|variable| variable.range.clone());
        let braced = read.filter(|range| self.text[range.clone()].starts_with("${"));
        braced.map(|range| (range, "expansion"))
    }

    fn list_nodes(&self, is_listed: &dyn Fn(&str) -> bool) -> Vec<(Range<usize>, &'static str)> {
        let mut found = Vec::new();
        let Some(tree) = self.tree() else {
            return found;
        };
        let mut cursor = tree.walk();
        loop {
            let node = cursor.node();
            if node.is_named() && is_listed(kind(node)) {
                found.push((node.byte_range(), kind(node)));
            }
            if cursor.goto_first_child() || cursor.goto_next_sibling() {
                continue;
            }
            loop {
                if !cursor.goto_parent() {
                    return found;
                }
                if cursor.goto_next_sibling() {
                    break;
                }
            }
        }
    }

    /// What a program sees of a word or of the text behind `<<`, as far as it is written out.
    #[must_use]
    pub fn pieces(&self, range: &Range<usize>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let root = self.tree().map(Tree::root_node);
        if let Some(node) =
            root.and_then(|root| root.descendant_for_byte_range(range.start, range.end))
        {
            self.take_apart(node, &mut pieces);
        }
        pieces
    }

    fn take_apart(&self, node: Node<'_>, pieces: &mut Vec<Piece>) {
        let written = self.slice(node);
        match kind(node) {
            "raw_string" => {
                let inner = written.strip_prefix('\'').unwrap_or(written);
                let inner = inner.strip_suffix('\'').unwrap_or(inner);
                pieces.push(Piece::Text(inner.to_owned()));
            }
            "string" | "concatenation" | "command_name" | "heredoc_body" => {
                let escapes = match kind(node) {
                    "string" => "\"\\$`\n",
                    "heredoc_body" if self.is_raw(node) => "",
                    "heredoc_body" => "\\$`\n",
                    _ => return self.take_children_apart(node, None, pieces),
                };
                self.take_children_apart(node, Some(escapes), pieces);
            }
            "simple_expansion"
            | "expansion"
            | "command_substitution"
            | "process_substitution"
            | "arithmetic_expansion"
            | "brace_expression"
            | "ansi_c_string"
            | "translated_string" => pieces.push(Piece::Expansion(written.to_owned())),
            _ => pieces.push(Piece::Text(unescaped(written, None))),
        }
    }

    /// The children of a node and what stands between them, where these characters may follow a backslash.
    fn take_children_apart(&self, node: Node<'_>, escapes: Option<&str>, pieces: &mut Vec<Piece>) {
        let mut cursor = node.walk();
        let mut at = node.start_byte();
        let text = |from: usize, to: usize| Piece::Text(unescaped(&self.text[from..to], escapes));
        for child in node.children(&mut cursor) {
            if child.start_byte() > at {
                pieces.push(text(at, child.start_byte()));
            }
            at = child.end_byte();
            match kind(child) {
                "\"" => {}
                "string_content" | "heredoc_content" => {
                    pieces.push(text(child.start_byte(), child.end_byte()));
                }
                _ => self.take_apart(child, pieces),
            }
        }
        if node.end_byte() > at {
            pieces.push(text(at, node.end_byte()));
        }
    }

    /// Whether the text behind `<<` is taken as it is, because the word that ends it is in quotes.
    fn is_raw(&self, body: Node<'_>) -> bool {
        let start = body
            .parent()
            .and_then(|parent| parent.named_child(0))
            .filter(|start| kind(*start) == "heredoc_start");
        start.is_some_and(|start| self.slice(start).contains(['\'', '"', '\\']))
    }

    fn slice(&self, node: Node<'_>) -> &str {
        &self.text[node.byte_range()]
    }

    fn visit(&mut self, node: Node<'_>, place: &Place) {
        if self.depth < MAX_DEPTH {
            self.depth += 1;
            self.visit_node(node, place);
            self.depth -= 1;
        }
    }

    fn visit_node(&mut self, node: Node<'_>, place: &Place) {
        if node.is_error() || node.is_missing() {
            self.errors.push(SyntaxError {
                range: node.byte_range(),
                missing: node.is_missing().then(|| kind(node).to_owned()),
            });
        }
        // Most nodes are words and signs, of which there is no more to say.
        if node.child_count() == 0 {
            return;
        }
        match kind(node) {
            "command" | "declaration_command" | "unset_command" => self.command(node, place),
            "variable_assignment" => self.assign(node, place),
            "simple_expansion" | "expansion" => self.variable(node, place),
            "redirected_statement" => {
                let of = node
                    .child_by_field_name("body")
                    .map_or(node.start_byte()..node.start_byte(), |body| {
                        body.byte_range()
                    });
                self.redirections(&children(node), &of);
                let place = Place {
                    to_file: place.to_file || self.writes_a_file(node),
                    ..place.clone()
                };
                self.children(node, &place);
            }
            "pipeline" => self.pipeline(node, place),
            "list" => self.list(node, place),
            "if_statement" | "elif_clause" | "while_statement" => self.conditional(node, place),
            "for_statement" | "c_style_for_statement" => self.for_loop(node, place),
            "case_item" | "else_clause" | "do_group" => {
                let place = Place {
                    conditional: true,
                    ..place.clone()
                };
                self.children(node, &place);
            }
            "subshell" | "process_substitution" => {
                let place = Place {
                    subshell: true,
                    ..place.clone()
                };
                self.children(node, &place);
            }
            "command_substitution" => {
                let place = Place {
                    subshell: true,
                    substituted: true,
                    to_file: false,
                    pipe: None,
                    ..place.clone()
                };
                self.children(node, &place);
            }
            "negated_command" => {
                let place = Place {
                    checked: true,
                    ..place.clone()
                };
                self.children(node, &place);
            }
            "function_definition" => {
                let place = Place {
                    in_function: true,
                    ..Place::default()
                };
                self.children(node, &place);
            }
            _ => self.children(node, place),
        }
    }

    fn children(&mut self, node: Node<'_>, place: &Place) {
        let children = children(node);
        for (index, child) in children.iter().enumerate() {
            let next = children.get(index + 1);
            if next.is_some_and(|next| kind(*next) == "&") {
                let place = Place {
                    background: true,
                    ..place.clone()
                };
                self.visit(*child, &place);
            } else {
                self.visit(*child, place);
            }
        }
    }

    fn command(&mut self, node: Node<'_>, place: &Place) {
        let mut command = SimpleCommand {
            range: node.byte_range(),
            words: Vec::new(),
            environment: Vec::new(),
            place: place.clone(),
        };
        let children = children(node);
        let declares = kind(node) != "command";
        self.redirections(&children, &node.byte_range());
        for child in &children {
            match kind(*child) {
                "variable_assignment" if declares => {
                    command.words.push(self.word(*child));
                    self.visit(*child, place);
                    continue;
                }
                "variable_assignment" => {
                    let assignment = self.assignment(*child);
                    command.environment.push(assignment);
                }
                "file_redirect" | "heredoc_redirect" | "herestring_redirect" | "comment" => {}
                "variable_name" if declares => {
                    // `export A` says that A has a value, from wherever.
                    command.words.push(self.word(*child));
                }
                _ => command.words.push(self.word(*child)),
            }
            self.nested(*child, place);
        }
        if command
            .words
            .first()
            .is_some_and(|word| word.text == "read")
        {
            for word in &command.words[1..] {
                if word.literal && !word.text.starts_with('-') {
                    self.assigned.push(Assignment {
                        range: word.range.clone(),
                        name: word.text.clone(),
                        value: String::new(),
                    });
                }
            }
        }
        if !command.words.is_empty() {
            // In the order of the text: what is nested in a command's words came first.
            let at = self
                .commands
                .partition_point(|other| other.range.start < command.range.start);
            self.commands.insert(at, command);
        }
    }

    /// Notes the redirections among the children of a node, which are for these commands.
    fn redirections(&mut self, among: &[Node<'_>], of: &Range<usize>) {
        for child in among {
            if !["file_redirect", "heredoc_redirect"].contains(&kind(*child)) {
                continue;
            }
            let parts = children(*child);
            // `<< END > file` is one node in the other.
            self.redirections(&parts, of);
            let find = |kinds: &[&str]| parts.iter().find(|part| kinds.contains(&kind(**part)));
            let operator = parts.iter().find(|part| !part.is_named());
            let target = child
                .child_by_field_name("destination")
                .or_else(|| find(&["heredoc_start"]).copied());
            if let (Some(operator), Some(target)) = (operator, target) {
                let redirection = Redirection {
                    range: child.byte_range(),
                    operator: self.slice(*operator).to_owned(),
                    target: self.word(target),
                    of: of.clone(),
                    text: find(&["heredoc_body"]).map(Node::byte_range),
                };
                self.redirections.push(redirection);
            }
        }
    }

    /// What words hold: expansions, substitutions.
    fn nested(&mut self, node: Node<'_>, place: &Place) {
        let place = Place {
            pipe: None,
            checked: false,
            forgiven: false,
            background: false,
            ..place.clone()
        };
        if kind(node) == "variable_assignment" {
            self.children(node, &place);
        } else {
            self.visit(node, &place);
        }
    }

    fn word(&self, node: Node<'_>) -> Word {
        let written = self.slice(node).to_owned();
        let mut literal = true;
        let text = self.unquoted(node, &mut literal);
        Word {
            range: node.byte_range(),
            written,
            text,
            literal,
        }
    }

    fn unquoted(&self, node: Node<'_>, literal: &mut bool) -> String {
        let written = self.slice(node);
        match kind(node) {
            "raw_string" => written.trim_matches('\'').to_owned(),
            "ansi_c_string" => written.to_owned(),
            "simple_expansion"
            | "expansion"
            | "command_substitution"
            | "process_substitution"
            | "arithmetic_expansion" => {
                *literal = false;
                written.to_owned()
            }
            "string" | "concatenation" | "command_name" | "variable_assignment" => {
                let mut cursor = node.walk();
                let mut text = String::new();
                let mut at = node.start_byte();
                for child in node.children(&mut cursor) {
                    // Blanks inside of quotes are no nodes.
                    text.push_str(&self.text[at..child.start_byte()]);
                    at = child.end_byte();
                    if kind(child) != "\"" {
                        text.push_str(&self.unquoted(child, literal));
                    }
                }
                text.push_str(&self.text[at..node.end_byte()]);
                text
            }
            "word" => written.replace('\\', ""),
            _ => written.to_owned(),
        }
    }

    fn assignment(&self, node: Node<'_>) -> Assignment {
        let name = node
            .child_by_field_name("name")
            .map(|name| self.slice(name).to_owned());
        let value = node.child_by_field_name("value").map(|value| {
            let mut literal = true;
            self.unquoted(value, &mut literal)
        });
        Assignment {
            range: node.byte_range(),
            name: name.unwrap_or_default(),
            value: value.unwrap_or_default(),
        }
    }

    fn assign(&mut self, node: Node<'_>, place: &Place) {
        let assignment = self.assignment(node);
        self.assigned.push(assignment);
        self.children(node, place);
    }

    fn variable(&mut self, node: Node<'_>, place: &Place) {
        let mut cursor = node.walk();
        let name = node
            .children(&mut cursor)
            .find(|child| kind(*child) == "variable_name")
            .map(|child| self.slice(child).to_owned());
        if let Some(name) = name {
            if self.slice(node).contains('=') && self.slice(node).starts_with("${") {
                self.assigned.push(Assignment {
                    range: node.byte_range(),
                    name: name.clone(),
                    value: String::new(),
                });
            }
            self.read.push(VariableUse {
                range: node.byte_range(),
                name,
            });
        }
        self.children(node, place);
    }

    /// Whether a redirection of this statement takes its standard output away.
    fn writes_a_file(&self, statement: Node<'_>) -> bool {
        let mut cursor = statement.walk();
        statement
            .named_children(&mut cursor)
            .any(|child| match kind(child) {
                "file_redirect" => {
                    let written = self.slice(child).trim_start_matches(['1', '&']);
                    let target = written.strip_prefix('>').map(|rest| {
                        rest.trim_start_matches(['>', '|'])
                            .trim_matches([' ', '"', '\''])
                    });
                    target.is_some_and(|target| {
                        !matches!(target, "&2" | "/dev/stderr" | "/dev/stdout")
                    })
                }
                // What stands behind the delimiter of a here-document belongs to it.
                "heredoc_redirect" => self.writes_a_file(child),
                _ => false,
            })
    }

    fn pipeline(&mut self, node: Node<'_>, place: &Place) {
        let mut cursor = node.walk();
        let parts: Vec<Node<'_>> = node.named_children(&mut cursor).collect();
        for (index, part) in parts.iter().enumerate() {
            let place = Place {
                pipe: Some((node.start_byte(), index, parts.len())),
                subshell: true,
                ..place.clone()
            };
            self.visit(*part, &place);
        }
    }

    fn list(&mut self, node: Node<'_>, place: &Place) {
        let children = children(node);
        let operator = children
            .iter()
            .map(|child| kind(*child))
            .find(|kind| ["&&", "||"].contains(kind));
        let parts: Vec<&Node<'_>> = children.iter().filter(|child| child.is_named()).collect();
        let forgiven = operator == Some("||")
            && parts.last().is_some_and(|last| {
                matches!(
                    self.slice(**last).trim(),
                    "true" | ":" | "exit 0" | "echo" | "/bin/true"
                )
            });
        for (index, part) in parts.iter().enumerate() {
            let place = Place {
                conditional: place.conditional || index > 0,
                checked: place.checked || (index == 0 && operator == Some("||")),
                forgiven: place.forgiven || (index == 0 && forgiven),
                ..place.clone()
            };
            self.visit(**part, &place);
        }
    }

    fn conditional(&mut self, node: Node<'_>, place: &Place) {
        let mut in_condition = true;
        for child in children(node) {
            in_condition &= !["then", "do_group"].contains(&kind(child));
            let place = Place {
                checked: place.checked || in_condition,
                conditional: place.conditional || !in_condition,
                ..place.clone()
            };
            self.visit(child, &place);
        }
    }

    fn for_loop(&mut self, node: Node<'_>, place: &Place) {
        if let Some(variable) = node.child_by_field_name("variable") {
            self.assigned.push(Assignment {
                range: variable.byte_range(),
                name: self.slice(variable).to_owned(),
                value: String::new(),
            });
        }
        self.children(node, place);
    }
}

/// A text without the backslashes that the shell takes off: in front of these characters, or of any.
fn unescaped(written: &str, escapes: Option<&str>) -> String {
    let mut text = String::with_capacity(written.len());
    let mut characters = written.chars().peekable();
    while let Some(character) = characters.next() {
        let next = characters.peek().copied();
        let taken = next.filter(|next| escapes.is_none_or(|escapes| escapes.contains(*next)));
        match (character, taken) {
            // An escaped line break is nothing.
            ('\\', Some('\n')) => _ = characters.next(),
            ('\\', Some(next)) => {
                text.push(next);
                characters.next();
            }
            _ => text.push(character),
        }
    }
    text
}

impl SimpleCommand {
    /// The name of the program, if it is written out: `docker` for `/usr/bin/docker` too.
    #[must_use]
    pub fn program(&self) -> Option<&str> {
        let first = self.words.first().filter(|word| word.literal)?;
        first.text.rsplit('/').next()
    }

    /// The words behind the program that are no options, as far as can be told without knowing the program.
    pub fn operands(&self) -> impl Iterator<Item = &Word> {
        let words = self.words.iter().skip(1);
        words.filter(|word| !word.text.starts_with('-'))
    }

    /// Whether this program is called with these words first, options between them not counted: `["docker", "push"]`.
    #[must_use]
    pub fn calls(&self, names: &[&str]) -> bool {
        let Some((program, rest)) = names.split_first() else {
            return false;
        };
        self.program() == Some(program)
            && self
                .operands()
                .map(|word| word.text.as_str())
                .take(rest.len())
                .eq(rest.iter().copied())
    }

    /// Whether one of these options is among its words, as `--name`, `--name=value` or `-n`.
    #[must_use]
    pub fn has_option(&self, names: &[&str]) -> bool {
        self.option(names).is_some()
    }

    /// The word of the first of these options.
    #[must_use]
    pub fn option(&self, names: &[&str]) -> Option<&Word> {
        self.words.iter().skip(1).find(|word| {
            let name = word.text.split('=').next().unwrap_or_default();
            names.contains(&name)
        })
    }

    /// The value of one of these options: `--name value`, `--name=value`, `-nvalue` for a name of one letter.
    #[must_use]
    pub fn option_value(&self, names: &[&str]) -> Option<String> {
        let at = self.words.iter().position(|word| {
            let name = word.text.split('=').next().unwrap_or_default();
            names.contains(&name)
        })?;
        if let Some((_, value)) = self.words[at].text.split_once('=') {
            return Some(value.to_owned());
        }
        self.words.get(at + 1).map(|word| word.text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything rules see of a text, where the text was read without the grammar and with it.
    fn both_ways(text: &str) -> Option<[String; 2]> {
        let plain = Script::parse(text);
        let show = |script: &Script| {
            let pieces = plain.commands.iter().flat_map(|command| &command.words);
            let pieces: Vec<_> = pieces.map(|word| script.pieces(&word.range)).collect();
            let kinds: Vec<&str> = KINDS
                .iter()
                .copied()
                .filter(|kind| !plain::NODES.contains(kind))
                .collect();
            let (nodes, all) = (script.nodes(&kinds), script.nodes(plain::NODES));
            let found = (
                &script.commands,
                &script.assigned,
                &script.read,
                &script.redirections,
                &script.errors,
            );
            format!("{found:?} {nodes:?} {all:?} {pieces:?}")
        };
        plain
            .is_plain
            .then(|| [show(&plain), show(&Script::by_grammar(text))])
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

        #[test]
        fn plain_commands_are_what_the_grammar_makes_of_them(
            text in "([ \n]{0,2}([a-c.][a-c0-9._/-]{0,3}|[a-z]{2,3}|\"[a#!é \n*]{0,3}\"|'[a$ é`\\\\]{0,3}'|-{1,2}[a-c]{1,3}=?|[a1./_:=@%+,-]{1,4}|[0-9]{1,3}|test|[a-z]+=[a-z]?|[a-c:./=,-]{0,2}\\$(A|[{]A_1[}])[a-c:./=,@%+-]{0,2}(\\$B[-:.,/a]?)?|\"[a :-]{0,2}\\$([{]A[}]|B)[a!:.-]{0,2}(\\$C)?[ .]?\")){1,6}[ \n]{0,2}"
        ) {
            if let Some([plain, by_grammar]) = both_ways(&text) {
                proptest::prop_assert_eq!(plain, by_grammar);
            }
        }
    }

    #[test]
    fn most_commands_are_plain() {
        for text in [
            "npm ci",
            "echo \"all done!\"",
            "docker push $A:${B}/c \"-$D:e$F\"",
            "make -j 4 A=1\ntest -f 'a b'\n",
        ] {
            assert!(both_ways(text).is_some(), "{text}");
        }
        for text in [
            "a $(B)",
            "$A b",
            "a ${B:-c}",
            "a $1",
            "A=1",
            "if a",
            "a | b",
            "a 'b'c",
            "read A",
            "# a",
            "a \"b$(C)\"",
        ] {
            assert!(both_ways(text).is_none(), "{text}");
        }
    }

    fn programs(text: &str) -> Vec<String> {
        Script::parse(text)
            .commands
            .iter()
            .map(|command| {
                let words: Vec<&str> = command
                    .words
                    .iter()
                    .map(|word| word.text.as_str())
                    .collect();
                words.join(" ")
            })
            .collect()
    }

    #[test]
    fn programs_are_found_wherever_they_stand() {
        for (text, expected) in [
            ("docker push $A:$B", vec!["docker push $A:$B"]),
            ("echo \"docker push x\"", vec!["echo docker push x"]),
            ("if [ -f x ]; then make \"a b\" 'c'; fi", vec!["make a b c"]),
            (
                "A=$(git describe) && ./x.sh | tee log &",
                vec!["git describe", "./x.sh", "tee log"],
            ),
            (
                "echo $(date) `uname -m`",
                vec!["echo $(date) `uname -m`", "date", "uname -m"],
            ),
            ("f() { rm x; }\nf", vec!["rm x", "f"]),
            ("sh -c \"cd $X && y\" > out 2>&1", vec!["sh -c cd $X && y"]),
            ("export A=1 B", vec!["export A=1 B"]),
            (
                "X=$A.b.$C.d x $A.b.${C}-$C.d.e/$F/$G/\"$H-$I-\" h",
                vec!["x $A.b.${C}-$C.d.e/$F/$G/$H-$I- h"],
            ),
            (
                "x $((a-$A-$B-1)) ${A:-b$B/c}",
                vec!["x $((a-$A-$B-1)) ${A:-b$B/c}"],
            ),
        ] {
            assert_eq!(programs(text), expected, "{text}");
        }
    }

    #[test]
    fn the_place_of_a_program_is_known() {
        let script = Script::parse(
            "a | b; c && d || true; ! e; if f; then g; fi; (h); i & j=$(k); while l; do m; done",
        );
        let place = |name: &str| {
            let command = script
                .commands
                .iter()
                .find(|command| command.words[0].text == name);
            command.unwrap_or_else(|| panic!("{name}")).place.clone()
        };
        assert_eq!(
            place("b").pipe.map(|(_, index, count)| (index, count)),
            Some((1, 2))
        );
        assert!(place("d").conditional && place("c").forgiven && place("c").checked);
        assert!(place("e").checked && place("f").checked && !place("f").conditional);
        assert!(place("g").conditional && place("h").subshell && place("i").background);
        assert!(!place("g").background && place("k").substituted);
        assert!(place("l").checked && place("m").conditional);
    }

    #[test]
    fn output_that_goes_to_a_file_is_known() {
        for (text, expected) in [
            ("x > f", true),
            ("x >> f 2>&1", true),
            ("{ x; } &> f", true),
            ("cat <<E > f\nE\n", true),
            ("x >&2", false),
            ("x 2> f", false),
            ("x < f", false),
            ("f=$(x) > g", false),
        ] {
            let script = Script::parse(text);
            assert_eq!(script.commands[0].place.to_file, expected, "{text}");
        }
    }

    #[test]
    fn variables_are_told_apart_from_text() {
        let script = Script::parse(
            "A=1; export B=\"$A x\"; C=2 make '$no' \"${D:=5}\"; for e in 1; do read -r F; done",
        );
        let names = |list: Vec<&str>| list.join(" ");
        let assigned = script
            .assigned
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names(assigned), "A B D e F");
        let read = script.read.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names(read), "A D");
        assert_eq!(script.commands[1].environment[0].name, "C");
        assert_eq!(script.assigned[1].value, "$A x");
    }

    #[test]
    fn a_variable_in_the_middle_of_a_word_does_not_end_it() {
        let script = Script::parse("R=$A.ecr.$B.com/$C; x");
        let read: Vec<&str> = script.read.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(read, ["A", "B", "C"]);
        assert_eq!(script.assigned[0].value, "$A.ecr.$B.com/$C");
        assert_eq!(script.commands.len(), 1);
    }

    #[test]
    fn what_is_missing_is_named() {
        let script = Script::parse("if [ -f x ]; then");
        assert_eq!(script.errors[0].missing.as_deref(), Some("fi"));
        assert!(!Script::parse("echo 'unclosed").errors.is_empty());
        assert!(
            Script::parse("[[ a == b ]] && x <(y) <<< z")
                .errors
                .is_empty()
        );
        assert_eq!(Script::parse("[[ a ]]").nodes(&["test_command"]).len(), 1);
    }

    #[test]
    fn depth_costs_no_stack() {
        for (open, close) in [
            ("$(", ")"),
            ("( ", " )"),
            ("if x; then ", "; fi"),
            ("\"$(", ")\""),
        ] {
            let text = format!("{}y{}", open.repeat(3000), close.repeat(3000));
            assert!(Script::parse(&text).commands.len() < 3000);
        }
    }

    #[test]
    fn what_nobody_wrote_by_hand_is_not_looked_into() {
        let bomb = format!("echo {}", "$(".repeat(200_000));
        assert!(Script::parse(&bomb).commands.is_empty());
        let many = format!("echo {}", "$(date) ".repeat(900));
        assert_eq!(Script::parse(&many).commands.len(), 901);
    }

    #[test]
    fn options_are_found_with_their_values() {
        let script = Script::parse("docker login --username AWS -p x --password-stdin=1 host");
        let command = &script.commands[0];
        assert!(command.calls(&["docker", "login"]) && command.has_option(&["-p", "--password"]));
        assert_eq!(
            command.option_value(&["-u", "--username"]).as_deref(),
            Some("AWS")
        );
    }

    #[test]
    fn redirections_are_known_with_what_they_are_for() {
        let shown = |text: &str| -> Vec<String> {
            let script = Script::parse(text);
            let redirections = script.redirections.iter();
            redirections
                .map(|one| {
                    let of = &text[one.of.clone()];
                    format!("{of} {} {}", one.operator, one.target.text)
                })
                .collect()
        };
        for (text, expected) in [
            (
                "echo a > \"$D/f\" 2>&1",
                vec!["echo a > $D/f", "echo a >& 1"],
            ),
            ("(a; b) >> f", vec!["(a; b) >> f"]),
            ("if x; then y > f; fi", vec!["y > f"]),
            ("cat <<EOF > f\na\nEOF\n", vec!["cat > f", "cat << EOF"]),
            ("A=$(cat < f)", vec!["cat < f"]),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn texts_come_in_pieces_as_a_program_sees_them() {
        let show = |script: &Script, range: &Range<usize>| -> String {
            let pieces = script.pieces(range).into_iter();
            pieces
                .map(|piece| match piece {
                    Piece::Text(text) => text,
                    Piece::Expansion(written) => format!("<{written}>"),
                })
                .collect()
        };
        for (written, expected) in [
            ("'[{\"a\":\"$x\"}]'", "[{\"a\":\"$x\"}]"),
            ("\"{\\\"a\\\": $B c\\n}\"", "{\"a\": <$B> c\\n}"),
            ("[{\"a\":\\\"b\\\"}]", "[{a:\"b\"}]"),
            ("$A:${B}'c d'$(date)", "<$A>:<${B}>c d<$(date)>"),
        ] {
            let script = Script::parse(&format!("echo {written}"));
            assert_eq!(show(&script, &script.commands[0].words[1].range), expected);
        }
        for (start, expected) in [("EOF", "{\"a\": <$B>}\n"), ("'EOF'", "{\"a\": $B}\n")] {
            let script = Script::parse(&format!("cat > f <<{start}\n{{\"a\": $B}}\nEOF\n"));
            let text = script.redirections[1].text.clone().expect("it has a text");
            assert_eq!(show(&script, &text), expected);
        }
    }
}
