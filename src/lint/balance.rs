//! Whether everything that a shell text opens is closed in it: quotes, brackets, `if`, loops, `case`, here-documents.
//!
//! tree-sitter calls an error also what is only new to it. This small reader knows nothing but what opens and what closes;
//! rules believe an error when both see one.

use std::ops::Range;

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is opened and not closed by the end of the text.
    Open {
        /// Where it is opened.
        range: Range<usize>,
        /// What would close it.
        closer: String,
        /// Whether it is the body of a here-document, which a shell reads to the end without an error.
        here_document: bool,
    },
    /// It closes or goes on with what is not open, such as `fi` without `if`.
    Stray {
        /// Where it is.
        range: Range<usize>,
        /// What has to come before it.
        opener: &'static str,
    },
}

/// The first thing in a text that does not fit, if any; of what is left open, the outermost.
#[must_use]
pub fn check(text: &str) -> Option<Problem> {
    let mut reader = Reader {
        text,
        at: 0,
        open: Vec::new(),
        here_documents: Vec::new(),
        starts_command: true,
        problem: None,
    };
    reader.run();
    reader.problem
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    SingleQuote,
    AnsiQuote,
    DoubleQuote,
    Backquote,
    /// `$(`, `<(`, `>(`.
    Substitution,
    /// `${`.
    Expansion,
    /// `((` and `$((`, with the number of brackets open in it.
    Arithmetic(usize),
    /// `(` with commands in it.
    Subshell,
    /// `(` with words in it: a list of values, a pattern.
    Words,
    Brace,
    /// `[[`.
    Test,
    If {
        then: bool,
    },
    Loop {
        body: bool,
    },
    Case(CasePart),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CasePart {
    Subject,
    Pattern,
    Body,
}

impl Kind {
    const fn closer(self) -> &'static str {
        match self {
            Self::SingleQuote | Self::AnsiQuote => "'",
            Self::DoubleQuote => "\"",
            Self::Backquote => "`",
            Self::Substitution | Self::Subshell | Self::Words => ")",
            Self::Expansion | Self::Brace => "}",
            Self::Arithmetic(_) => "))",
            Self::Test => "]]",
            Self::If { .. } => "fi",
            Self::Loop { .. } => "done",
            Self::Case(_) => "esac",
        }
    }
}

struct Frame {
    kind: Kind,
    range: Range<usize>,
}

struct HereDocument {
    range: Range<usize>,
    delimiter: String,
    tabs: bool,
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    open: Vec<Frame>,
    /// Those whose bodies begin at the next line.
    here_documents: Vec<HereDocument>,
    /// Whether the next word names a program or is a reserved word.
    starts_command: bool,
    problem: Option<Problem>,
}

impl Reader<'_> {
    fn run(&mut self) {
        while self.at < self.text.len() && self.problem.is_none() {
            match self.open.last().map(|frame| frame.kind) {
                Some(Kind::SingleQuote) => self.until_quote(false),
                Some(Kind::AnsiQuote) => self.until_quote(true),
                Some(Kind::DoubleQuote) => self.in_double_quotes(),
                Some(Kind::Expansion) => self.in_expansion(),
                Some(Kind::Arithmetic(depth)) => self.in_arithmetic(depth),
                _ => self.in_commands(),
            }
        }
        if self.problem.is_some() {
            return;
        }
        if let Some(frame) = self.open.first() {
            self.problem = Some(Problem::Open {
                range: frame.range.clone(),
                closer: frame.kind.closer().to_owned(),
                here_document: false,
            });
        } else if let Some(document) = self.here_documents.first() {
            self.left_open(&document.range.clone(), &document.delimiter.clone());
        }
    }

    fn left_open(&mut self, range: &Range<usize>, delimiter: &str) {
        self.problem = Some(Problem::Open {
            range: range.clone(),
            closer: delimiter.to_owned(),
            here_document: true,
        });
    }

    /// What was opened last has no end where it needs one.
    fn last_is_open(&mut self) {
        self.problem = self.open.last().map(|frame| Problem::Open {
            range: frame.range.clone(),
            closer: frame.kind.closer().to_owned(),
            here_document: false,
        });
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn next(&self) -> char {
        self.rest().chars().next().unwrap_or('\n')
    }

    fn skip(&mut self) {
        self.at += self.next().len_utf8();
        self.at = self.at.min(self.text.len());
    }

    /// A backslash and what it quotes.
    fn skip_escaped(&mut self) {
        self.at += 1;
        if self.at < self.text.len() {
            self.skip();
        }
    }

    fn push(&mut self, kind: Kind, length: usize) {
        let range = self.at..self.at + length;
        self.open.push(Frame { kind, range });
        self.at += length;
    }

    fn pop(&mut self, length: usize) {
        self.open.pop();
        self.at += length;
    }

    fn stray(&mut self, range: Range<usize>, opener: &'static str) {
        self.problem = Some(Problem::Stray { range, opener });
    }

    fn until_quote(&mut self, escapes: bool) {
        match self.next() {
            '\\' if escapes => self.skip_escaped(),
            '\'' => self.pop(1),
            _ => self.skip(),
        }
    }

    /// What `$` or a backquote begins, also inside of double quotes. False if it begins nothing.
    fn begin_expansion(&mut self) -> bool {
        let rest = self.rest();
        if rest.starts_with("$((") {
            self.push(Kind::Arithmetic(0), 3);
        } else if rest.starts_with("$(") {
            self.push(Kind::Substitution, 2);
            self.starts_command = true;
        } else if rest.starts_with("${") {
            self.push(Kind::Expansion, 2);
        } else if rest.starts_with('`') {
            self.backquote();
        } else {
            return false;
        }
        true
    }

    fn backquote(&mut self) {
        let opened = self
            .open
            .iter()
            .rposition(|frame| frame.kind == Kind::Backquote);
        match opened {
            None => {
                self.push(Kind::Backquote, 1);
                self.starts_command = true;
            }
            Some(place) if place + 1 == self.open.len() => {
                self.pop(1);
                self.starts_command = false;
            }
            // Something within it is open.
            Some(_) => self.last_is_open(),
        }
    }

    fn in_double_quotes(&mut self) {
        match self.next() {
            '\\' => self.skip_escaped(),
            '"' => self.pop(1),
            '$' | '`' if self.begin_expansion() => {}
            _ => self.skip(),
        }
    }

    fn in_expansion(&mut self) {
        // In double quotes a single quote is itself.
        let quoted = self
            .open
            .iter()
            .rev()
            .nth(1)
            .is_some_and(|frame| frame.kind == Kind::DoubleQuote);
        match self.next() {
            '\\' => self.skip_escaped(),
            '}' => self.pop(1),
            '"' => self.push(Kind::DoubleQuote, 1),
            '\'' if !quoted => self.push(Kind::SingleQuote, 1),
            '$' | '`' if self.begin_expansion() => {}
            _ => self.skip(),
        }
    }

    fn in_arithmetic(&mut self, depth: usize) {
        let mut set = |depth| {
            if let Some(frame) = self.open.last_mut() {
                frame.kind = Kind::Arithmetic(depth);
            }
        };
        match self.text[self.at..].chars().next().unwrap_or('\n') {
            '(' => {
                set(depth + 1);
                self.at += 1;
            }
            ')' if depth > 0 => {
                set(depth - 1);
                self.at += 1;
            }
            ')' if self.rest().starts_with("))") => self.pop(2),
            ')' => self.no_arithmetic(),
            '\\' => self.skip_escaped(),
            '"' => self.push(Kind::DoubleQuote, 1),
            '\'' => self.push(Kind::SingleQuote, 1),
            '$' | '`' if self.begin_expansion() => {}
            _ => self.skip(),
        }
    }

    /// One bracket only: it was a subshell in a subshell, and the inner one ends here.
    fn no_arithmetic(&mut self) {
        self.at += 1;
        self.starts_command = true;
        if let Some(frame) = self.open.last_mut() {
            let substitutes = self.text[frame.range.clone()].starts_with('$');
            frame.kind = if substitutes {
                Kind::Substitution
            } else {
                Kind::Subshell
            };
        }
    }

    fn top(&self) -> Option<Kind> {
        self.open.last().map(|frame| frame.kind)
    }

    /// Whether brackets and operators are words here.
    fn only_words(&self) -> bool {
        matches!(self.top(), Some(Kind::Test | Kind::Words))
    }

    fn in_commands(&mut self) {
        match self.next() {
            '\n' => self.end_line(),
            // The line goes on.
            '\\' if self.rest()[1..].starts_with('\n') => self.at += 2,
            blank if blank.is_whitespace() => self.skip(),
            '#' if self.top() != Some(Kind::Test) && self.begins_word() => self.comment(),
            ';' | '&' | '|' => self.operator(),
            '<' | '>' => self.redirection(),
            '(' => self.bracket(),
            ')' => self.closing_bracket(),
            _ => self.word(),
        }
    }

    /// Whether nothing of a word stands directly before this place.
    fn begins_word(&self) -> bool {
        let before = self.text[..self.at].chars().next_back();
        before.is_none_or(|c| c.is_whitespace() || ";&|()`".contains(c))
    }

    fn comment(&mut self) {
        self.at += self.rest().find('\n').unwrap_or(self.rest().len());
    }

    fn end_line(&mut self) {
        self.at += 1;
        self.starts_command = true;
        for document in std::mem::take(&mut self.here_documents) {
            if self.problem.is_none() && !self.body(&document) {
                self.left_open(&document.range, &document.delimiter);
            }
        }
    }

    /// Goes over a here-document. False if it has no end.
    fn body(&mut self, document: &HereDocument) -> bool {
        let mut at = self.at;
        for line in self.text[self.at..].split_inclusive('\n') {
            at += line.len();
            let mut said = line.trim_end_matches(['\n', '\r']);
            if document.tabs {
                said = said.trim_start_matches('\t');
            }
            if said == document.delimiter {
                self.at = at;
                return true;
            }
        }
        self.at = self.text.len();
        false
    }

    fn operator(&mut self) {
        let ends_case_item = self.rest().starts_with(";;") || self.rest().starts_with(";&");
        self.skip();
        if self.only_words() {
            return;
        }
        self.starts_command = true;
        if ends_case_item
            && let Some(Frame {
                kind: Kind::Case(part),
                ..
            }) = self.open.last_mut()
        {
            *part = CasePart::Pattern;
            self.skip();
        }
    }

    fn redirection(&mut self) {
        let rest = self.rest();
        if self.top() == Some(Kind::Test) {
            self.skip();
        } else if rest.starts_with("<(") || rest.starts_with(">(") {
            self.push(Kind::Substitution, 2);
            self.starts_command = true;
        } else if rest.starts_with("<<<") {
            self.at += 3;
        } else if rest.starts_with("<<") {
            self.here_document();
        } else {
            self.skip();
            if self.next() == '&' {
                self.skip();
            }
        }
    }

    fn here_document(&mut self) {
        let start = self.at;
        self.at += 2;
        let tabs = self.next() == '-';
        if tabs {
            self.skip();
        }
        while matches!(self.next(), ' ' | '\t') {
            self.skip();
        }
        let end = self
            .rest()
            .find(|c: char| c.is_whitespace() || ";&|<>()".contains(c));
        let end = end.map_or(self.text.len(), |end| self.at + end);
        let delimiter = self.text[self.at..end].replace(['"', '\'', '\\'], "");
        self.at = end;
        if !delimiter.is_empty() {
            self.here_documents.push(HereDocument {
                range: start..end,
                delimiter,
                tabs,
            });
        }
    }

    fn bracket(&mut self) {
        match self.top() {
            Some(Kind::Case(CasePart::Pattern | CasePart::Subject) | Kind::Test) => self.skip(),
            _ if self.is_empty_bracket() => self.attached_bracket(),
            _ if self.starts_command && self.rest().starts_with("((") => {
                self.push(Kind::Arithmetic(0), 2);
            }
            _ if self.starts_command => self.push(Kind::Subshell, 1),
            // `for ((…))`
            Some(Kind::Loop { body: false }) if self.rest().starts_with("((") => {
                self.push(Kind::Arithmetic(0), 2);
            }
            _ => self.push(Kind::Words, 1),
        }
    }

    fn closing_bracket(&mut self) {
        match self.top() {
            Some(Kind::Test) => self.skip(),
            Some(Kind::Case(CasePart::Pattern)) => {
                self.set(Kind::Case(CasePart::Body));
                self.skip();
                self.starts_command = true;
            }
            Some(Kind::Substitution) => {
                self.pop(1);
                self.starts_command = false;
            }
            Some(Kind::Subshell) => {
                self.pop(1);
                self.starts_command = true;
            }
            Some(Kind::Words) => self.pop(1),
            Some(_) => self.last_is_open(),
            None => self.stray(self.at..self.at + 1, "("),
        }
    }

    fn set(&mut self, kind: Kind) {
        if let Some(frame) = self.open.last_mut() {
            frame.kind = kind;
        }
    }

    /// A word, up to the next blank or operator. What is quoted or expanded in it ends it here: it can be no reserved word
    /// any more, and what is inside is gone over by the others, without recursion however deep it is.
    fn word(&mut self) {
        let start = self.at;
        if self.closes_backquote() {
            self.backquote();
            return;
        }
        let mut plain = true;
        while self.at < self.text.len() {
            match self.next() {
                '\\' => {
                    plain = false;
                    self.skip_escaped();
                }
                '\'' | '"' | '$' | '`' | '(' if self.begins_inner(start) => return,
                '`' => break,
                c if c.is_whitespace() || ";&|<>()".contains(c) => break,
                _ => self.skip(),
            }
        }
        self.end_word(start..self.at, plain);
    }

    /// Begins what stands inside of a word, if anything does.
    fn begins_inner(&mut self, start: usize) -> bool {
        let starts_command = std::mem::take(&mut self.starts_command);
        match self.next() {
            '\'' => self.push(Kind::SingleQuote, 1),
            '"' => self.push(Kind::DoubleQuote, 1),
            '$' if self.rest().starts_with("$'") => self.push(Kind::AnsiQuote, 2),
            '$' if self.begin_expansion() => {}
            '`' if !self.closes_backquote() => self.backquote(),
            // A list of values, a pattern, the brackets behind the name of a function.
            '(' if self.at > start => self.attached_bracket(),
            _ => {
                self.starts_command = starts_command;
                return false;
            }
        }
        true
    }

    fn closes_backquote(&self) -> bool {
        // The character first: looking through what is open costs time.
        let is_backquote = self.rest().starts_with('`');
        is_backquote && self.open.iter().any(|frame| frame.kind == Kind::Backquote)
    }

    /// `()`, as behind the name of a function.
    fn is_empty_bracket(&self) -> bool {
        let inside = self.rest().strip_prefix('(');
        inside.is_some_and(|inside| inside.trim_start_matches([' ', '\t']).starts_with(')'))
    }

    fn attached_bracket(&mut self) {
        let inside = self.text[self.at + 1..].trim_start();
        if inside.starts_with(')') {
            self.at = self.text.len() - inside.len() + 1;
            self.starts_command = true;
        } else {
            self.push(Kind::Words, 1);
        }
    }

    fn end_word(&mut self, range: Range<usize>, plain: bool) {
        let word = &self.text[range.clone()];
        match self.top() {
            Some(Kind::Words) => return,
            Some(Kind::Test) => {
                if word == "]]" {
                    self.pop(0);
                }
                return;
            }
            Some(Kind::Case(CasePart::Subject)) => {
                if word == "in" {
                    self.set(Kind::Case(CasePart::Pattern));
                    self.starts_command = true;
                }
                return;
            }
            Some(Kind::Case(CasePart::Pattern)) => {
                if word == "esac" && self.starts_command {
                    self.pop(0);
                } else {
                    self.starts_command = false;
                }
                return;
            }
            _ => {}
        }
        if std::mem::take(&mut self.starts_command) && plain {
            self.reserved(range);
        }
    }

    /// Goes over the name in `for name do`, behind which `do` is what it is behind a line break.
    fn name_of_loop(&mut self) {
        let rest = self.rest().trim_start_matches([' ', '\t']);
        let name = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        let after = rest[name..].trim_start();
        let is_do = after
            .strip_prefix("do")
            .is_some_and(|rest| rest.starts_with(char::is_whitespace));
        self.at = self.text.len() - rest.len() + name;
        self.starts_command = name > 0 && is_do;
    }

    /// What a word means where a command begins.
    fn reserved(&mut self, range: Range<usize>) {
        let top = self.top();
        let word = &self.text[range.clone()];
        let kind = match word {
            "if" => Some(Kind::If { then: false }),
            "while" | "until" | "for" | "select" => Some(Kind::Loop { body: false }),
            "case" => Some(Kind::Case(CasePart::Subject)),
            "{" => Some(Kind::Brace),
            "[[" => Some(Kind::Test),
            _ => None,
        };
        if let Some(kind) = kind {
            self.starts_command = matches!(word, "if" | "while" | "until" | "{");
            let has_name = matches!(word, "for" | "select");
            self.open.push(Frame { kind, range });
            if has_name {
                self.name_of_loop();
            }
            return;
        }
        let opener = match (word, top) {
            ("then", Some(Kind::If { then: false })) => {
                self.set(Kind::If { then: true });
                None
            }
            ("else", Some(Kind::If { then: true })) => None,
            ("elif", Some(Kind::If { then: true })) => {
                self.set(Kind::If { then: false });
                None
            }
            ("do", Some(Kind::Loop { body: false })) => {
                self.set(Kind::Loop { body: true });
                None
            }
            ("fi", Some(Kind::If { then: true }))
            | ("done", Some(Kind::Loop { body: true }))
            | ("esac", Some(Kind::Case(_)))
            | ("}", Some(Kind::Brace)) => {
                self.open.pop();
                None
            }
            ("then", _) => Some("if"),
            ("else" | "elif" | "fi", _) => Some("then"),
            ("do", _) => Some("for"),
            ("done", _) => Some("do"),
            ("esac", _) => Some("case"),
            ("}", _) => Some("{"),
            ("!" | "time", _) => None,
            ("function", _) => {
                // The name of the function; its body is a command again.
                let rest = self.rest().trim_start();
                let name = rest
                    .find(|c: char| c.is_whitespace() || c == '(' || c == '{')
                    .unwrap_or(rest.len());
                self.at = self.text.len() - rest.len() + name;
                let rest = self.rest().trim_start();
                if let Some(inside) = rest.strip_prefix('(') {
                    let inside = inside.trim_start();
                    self.at = self.text.len() - inside.len() + usize::from(inside.starts_with(')'));
                }
                None
            }
            _ => return,
        };
        match opener {
            Some(opener) => self.stray(range, opener),
            None => self.starts_command = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_left_alone() {
        for text in [
            "if [ -f x ]; then a; elif b; then c; else d; fi",
            "if a; then if b; then c; fi fi",
            "for x in do done; do echo $x; done > f",
            "for ((i=0; i<3; i++)); do echo; done",
            "while read -r line; do echo \"$line\"; done < f",
            "case $1 in a|b) echo ;; (c) echo if;; *) esac",
            "case \"$(x)\" in\n  a) if y; then z; fi ;;\n  esac",
            "cat <<EOF > f\nif ' \" (\nEOF\necho",
            "cat <<-'E O'x\n",
            "cat <<-E\n\tx\n\tE\n",
            "f() { echo done; }; function g { echo; }; function h() ( a )",
            "a=(1 2 3); b+=(x); echo ${a[@]} ${#a} $# \"${x:-'}\"",
            "echo 'it'\\''s' \"a $(b \"c\" `d`) e\" $'it\\'s' # don't",
            "echo `date +\"%Y\"` \"`uname -m`\"; `x`",
            "[[ $a =~ ^(x|y)$ && -f z ]] && echo ]] done",
            "x=$((1 + (2*3))); (( x++ )); echo $(( x ))",
            "{ a; b; } | (c; d) && ! e",
            "echo \"a\"#b '(' \"c\"fi; \"fi\"; \\fi; x=(\"a\" 'b') # '",
            "((a; b) 2>&1 | c) && x=$((d; e) | f)",
            "for x do y; done; f () { z; }; a | \\\n  while b; do c; done",
            "for x\ndo\ny\ndone",
            "echo if then fi; echo }; echo a#b ${x#y} {a,b}",
            "diff <(a) <(b) <<< \"$c\" 2>&1 >&2 &>/dev/null",
            "",
        ] {
            // The delimiter of a here-document may not hold a blank here; nobody writes one.
            if !text.contains("E O") {
                assert_eq!(check(text), None, "{text}");
            }
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        for opener in ["$(", "\"$(", "{ ", "if ", "(", "${a:-"] {
            assert!(check(&opener.repeat(100_000)).is_some());
        }
    }

    #[test]
    fn what_is_left_open_is_found() {
        for (text, at, closer) in [
            ("echo; if [ -f x ]; then", 6, "fi"),
            ("for x in a b; do", 0, "done"),
            ("while a; do b", 0, "done"),
            ("case x in a) b;;", 0, "esac"),
            ("echo 'a", 5, "'"),
            ("echo \"a $(b", 5, "\""),
            ("f() {", 4, "}"),
            ("x=$(a", 2, ")"),
            ("x=${a", 2, "}"),
            ("cat > f <<EOF\ntext\n EOF", 8, "EOF"),
            ("cat <<EOF", 4, "EOF"),
            ("x=`a", 2, "`"),
            ("(a; if b; then c)", 4, "fi"),
        ] {
            match check(text) {
                Some(Problem::Open {
                    range, closer: c, ..
                }) => {
                    assert_eq!((range.start, c.as_str()), (at, closer), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_closes_nothing_is_found() {
        for (text, at, opener) in [
            ("fi", 0, "then"),
            ("else", 0, "then"),
            ("then", 0, "if"),
            ("echo; done", 6, "do"),
            ("if [ x ] then echo; fi", 20, "then"),
            ("for x in a do echo; done", 20, "do"),
            ("a)", 1, "("),
            ("}", 0, "{"),
            ("esac", 0, "case"),
        ] {
            assert_eq!(
                check(text),
                Some(Problem::Stray {
                    range: at..at + text[at..].find([';', ' ']).unwrap_or(text.len() - at),
                    opener
                }),
                "{text}"
            );
        }
    }
}
