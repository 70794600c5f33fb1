//! What commands call in the source tree: scripts that are not there, cannot be executed, or have another system's lines.
//!
//! The commands are followed in the order in which they run, with the directory they run in. What a command may have
//! made or changed is no longer asked about, so the walk says nothing more once it cannot be sure.

use std::collections::HashSet;
use std::ops::Range;

use super::Rule;
use crate::diagnostic::{Code, Diagnostic};
use crate::lint::shell::{Script, SimpleCommand, Word};

use crate::lint::{Item, SourceTree, Subject, paths};
use crate::source::Span;

pub(super) const RULES: &[Rule] = &[scripts];

/// How much of a script is read to see its first line.
const HEAD: usize = 4096;

/// Constructs whose body may never run.
const BRANCHES: &[&str] = &[
    "if_statement",
    "case_statement",
    "while_statement",
    "for_statement",
    "c_style_for_statement",
];

/// Scripts that commands call are in the source and can be run.
fn scripts(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(tree) = subject.tree else { return };
    let version = subject.buildspec.version.as_ref();
    let isolated = version.is_some_and(|version| version.value == "0.1");
    let mut walk = Walk::new(tree);
    for (item, script) in subject.scripts() {
        if isolated {
            walk.directory = Some(Directory::default());
        }
        walk.item(item, script, diagnostics);
        if walk.over {
            return;
        }
    }
}

/// Where commands run, from the top of the source.
#[derive(Clone, Debug, Default)]
struct Directory {
    path: String,
    /// The `cd` that led there.
    since: Option<Span>,
}

/// What is known when a command begins.
struct Walk<'t> {
    tree: &'t SourceTree,
    /// `None` once a command has gone somewhere that is not written out.
    directory: Option<Directory>,
    /// Names of files that commands have written.
    written: HashSet<String>,
    /// Names of files that commands have made executable.
    executable: HashSet<String>,
    /// A command may have made any file.
    made: bool,
    /// A command may have changed any file.
    over: bool,
    /// Whether the file system tells who may execute what.
    has_modes: bool,
    submodules: Vec<String>,
}

/// How a script is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// By its path.
    Direct,
    /// As an argument of a shell.
    Shell,
    /// As an argument of another interpreter.
    Other,
}

/// What a command may do to the files of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Nothing,
    /// New files, as a build makes them.
    Makes,
    /// Anything.
    Changes,
}

impl<'t> Walk<'t> {
    fn new(tree: &'t SourceTree) -> Self {
        let read = |path| String::from_utf8_lossy(&tree.head(path, 1 << 16)).into_owned();
        let modules = read(".gitmodules");
        let paths = modules
            .lines()
            .filter_map(|line| line.trim().strip_prefix("path")?.trim().strip_prefix('='));
        Self {
            tree,
            directory: Some(Directory::default()),
            written: HashSet::new(),
            executable: HashSet::new(),
            made: false,
            over: false,
            has_modes: !read(".git/config").contains("filemode = false"),
            submodules: paths.map(|path| path.trim().to_owned()).collect(),
        }
    }

    fn item(&mut self, item: &Item<'_>, script: &Script, diagnostics: &mut Vec<Diagnostic>) {
        if !script.errors.is_empty() {
            self.over = true;
            return;
        }
        self.redirections(script);
        let branches = ranges(script, BRANCHES);
        let shells = ranges(script, &["subshell", "command_substitution"]);
        // What `cd` does in a process of its own ends with it.
        let mut open: Vec<(usize, Option<Directory>)> = Vec::new();
        for command in &script.commands {
            let at = command.range.start;
            while let Some((_, before)) = open.pop_if(|(end, _)| *end <= at) {
                self.directory = before;
            }
            for shell in shells.iter().filter(|shell| shell.contains(&at)) {
                if !open.iter().any(|(end, _)| *end == shell.end) {
                    open.push((shell.end, self.directory.clone()));
                }
            }
            let in_branch = branches.iter().any(|branch| branch.contains(&at));
            if let Some(found) = self.call(item, script, command, in_branch) {
                diagnostics.push(found);
            }
            self.effect(item, script, command, in_branch);
            if self.over {
                return;
            }
        }
        if let Some((_, before)) = open.into_iter().next() {
            self.directory = before;
        }
    }

    /// Files that `>` writes.
    fn redirections(&mut self, script: &Script) {
        for (range, _) in script.nodes(&["file_redirect"]) {
            let text = &script.text()[range];
            let Some((_, target)) = text.split_once('>') else {
                continue;
            };
            let target = target.trim_start_matches(['>', '|']).trim();
            if target.contains(['$', '`']) {
                self.made = true;
            } else if !target.starts_with('&') {
                self.written.insert(name_of(target).to_owned());
            }
        }
    }

    /// What is wrong with the script that this command calls.
    fn call(
        &self,
        item: &Item<'_>,
        script: &Script,
        command: &SimpleCommand,
        in_branch: bool,
    ) -> Option<Diagnostic> {
        let (call, word) = called(command)?;
        let path = self.resolve(&word.text)?;
        let span = item.span(&word.range);
        if self.written.contains(name_of(&path)) {
            return None;
        }
        let Some(found) = self.tree.find(&path) else {
            let sure = !in_branch && !is_guarded(script, command, name_of(&path));
            return (sure && self.is_missing(&path)).then(|| self.missing(&path, span));
        };
        if !self.tree.is_file(&found) {
            return None;
        }
        let executable =
            self.tree.is_executable(&found) || self.executable.contains(name_of(&path));
        if call == Call::Direct && self.has_modes && !executable {
            return Some(not_executable(&found, span));
        }
        has_crlf(&self.tree.head(&found, HEAD), call, &found).then(|| {
            let message = format!("`{found}` has the line ends of Windows");
            Diagnostic::new(Code::CrlfScript, span, message)
                .with_help("convert it, and let `.gitattributes` say `*.sh text eol=lf`")
        })
    }

    /// Where a path leads, from the top of the source; `None` if that is not known or outside.
    fn resolve(&self, text: &str) -> Option<String> {
        let from_top = ["$CODEBUILD_SRC_DIR/", "${CODEBUILD_SRC_DIR}/"]
            .iter()
            .any(|top| text.starts_with(top));
        let plain = paths::plain(text).filter(|path| !path.starts_with(['/', '~']))?;
        let start = if from_top {
            ""
        } else {
            &self.directory.as_ref()?.path
        };
        join(start, &plain)
    }

    /// Whether a file that is not there could only have come with the source.
    fn is_missing(&self, path: &str) -> bool {
        /// Directories that package managers fill.
        const FILLED: &[&str] = &["node_modules", "vendor", "venv", ".venv", "env"];
        let filled = paths::segments(path).any(|part| FILLED.contains(&part));
        let in_submodule = self
            .submodules
            .iter()
            .any(|module| join("", path).is_some_and(|path| path.starts_with(module.as_str())));
        let here = self
            .directory
            .as_ref()
            .map_or("", |directory| &directory.path);
        let here_is_known = here.is_empty() || self.tree.find(here).is_some();
        self.tree.is_repository()
            && !self.made
            && here_is_known
            && !filled
            && !in_submodule
            && !self.tree.is_ignored(path)
    }

    fn missing(&self, path: &str, span: Span) -> Diagnostic {
        let message = format!("there is no `{path}` in the source");
        let mut diagnostic = Diagnostic::new(Code::MissingScript, span, message);
        let directory = self.directory.as_ref();
        if let Some((directory, since)) = directory.and_then(|it| Some((&it.path, it.since?))) {
            let label = format!("commands run in `{directory}` from here on");
            diagnostic = diagnostic.with_secondary(since, label);
        }
        let near = self.tree.nearest(path);
        diagnostic.help = near.map(|near| format!("did you mean `{near}`?"));
        diagnostic
    }

    /// Takes note of what the command may do.
    fn effect(
        &mut self,
        item: &Item<'_>,
        script: &Script,
        command: &SimpleCommand,
        in_branch: bool,
    ) {
        match command.program() {
            Some("cd") => self.cd(item, script, command, in_branch),
            Some("pushd" | "popd") => self.directory = None,
            Some("touch" | "tee") => self.names(command, |walk, name| {
                walk.written.insert(name);
            }),
            Some("chmod") => self.names(command, |walk, name| {
                walk.executable.insert(name);
            }),
            _ => match effect_of(command) {
                Effect::Nothing => {}
                Effect::Makes => self.made = true,
                Effect::Changes => self.over = true,
            },
        }
    }

    /// A command that is about the files it names; with anything but plain names it may be about any.
    fn names(&mut self, command: &SimpleCommand, note: impl Fn(&mut Self, String)) {
        for word in command.operands() {
            let is_directory = self.tree.is_directory(&word.text);
            if !word.literal || paths::has_wildcard(&word.text) || is_directory {
                self.over = true;
            }
            note(self, name_of(&word.text).to_owned());
        }
    }

    fn cd(&mut self, item: &Item<'_>, script: &Script, command: &SimpleCommand, in_branch: bool) {
        let mut words = command.operands();
        let target = words.next().filter(|_| words.next().is_none());
        let in_pipe = command.place.pipe.is_some();
        let or = command.place.conditional && script.text().contains("||");
        if in_branch || in_pipe || or || command.place.in_function || command.words.len() != 2 {
            self.directory = None;
            return;
        }
        let path = target.and_then(|word| {
            if matches!(
                word.text.as_str(),
                "$CODEBUILD_SRC_DIR" | "${CODEBUILD_SRC_DIR}"
            ) {
                return Some(String::new());
            }
            self.resolve(&word.text)
        });
        self.directory = path
            .filter(|path| !paths::has_wildcard(path))
            .map(|path| Directory {
                since: (!path.is_empty()).then(|| item.span(&command.range)),
                path,
            });
    }
}

fn not_executable(path: &str, span: Span) -> Diagnostic {
    let message = format!("`{path}` may not be executed");
    Diagnostic::new(Code::NotExecutable, span, message).with_help(format!(
        "`git update-index --chmod=+x {path}` makes it executable; or call it as an argument of its interpreter"
    ))
}

fn ranges(script: &Script, kinds: &[&str]) -> Vec<Range<usize>> {
    let nodes = script.nodes(kinds).into_iter();
    nodes.map(|(range, _)| range).collect()
}

fn name_of(path: &str) -> &str {
    let path = path.trim_matches(['"', '\'']);
    path.rsplit('/').next().unwrap_or_default()
}

/// One path below another; `None` if it leads out of the top.
fn join(start: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = paths::segments(start).collect();
    for part in paths::segments(path) {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

/// The words of a command without programs that only start another one.
fn words(command: &SimpleCommand) -> &[Word] {
    let starters = command
        .words
        .iter()
        .take_while(|word| matches!(word.text.as_str(), "sudo" | "time" | "exec" | "nohup"));
    &command.words[starters.count()..]
}

/// The script that a command calls, if its path is written out.
fn called(command: &SimpleCommand) -> Option<(Call, &Word)> {
    if command.place.in_function {
        return None;
    }
    let words = words(command);
    let first = words.first()?;
    let is_path = |word: &Word| {
        let from_top = word.text.starts_with("$CODEBUILD_SRC_DIR/")
            || word.text.starts_with("${CODEBUILD_SRC_DIR}/");
        let odd = word.text.contains(['*', '?', '[', '{', '\\', '%']) && !from_top;
        (word.literal || from_top) && !odd
    };
    if first.text.contains('/') {
        return is_path(first).then_some((Call::Direct, first));
    }
    let call = match first.text.as_str() {
        "sh" | "bash" | "dash" | "source" | "." => Call::Shell,
        "python" | "python3" | "node" | "ruby" | "perl" | "php" => Call::Other,
        _ => return None,
    };
    // Options that change what the next word is are not looked into.
    let plain = |word: &&Word| {
        let letters = word.text.strip_prefix('-').unwrap_or("?");
        call == Call::Shell && letters.chars().all(|letter| "euxvl".contains(letter))
    };
    let script = words.iter().skip(1).find(|word| !plain(word))?;
    let is_script = !script.text.starts_with('-') && script.text.contains(['.', '/']);
    (is_script && is_path(script)).then_some((call, script))
}

/// Whether the item looks first whether the file is there, or goes on without it.
fn is_guarded(script: &Script, command: &SimpleCommand, name: &str) -> bool {
    let tests = ranges(script, &["test_command"]);
    let tested = tests
        .into_iter()
        .any(|range| script.text()[range].contains(name));
    let by_program = script.commands.iter().any(|other| {
        let looks = matches!(
            other.program(),
            Some("test" | "ls" | "stat" | "command" | "which")
        );
        looks && other.words.iter().any(|word| word.text.contains(name))
    });
    tested || by_program || command.place.checked || command.place.forgiven
}

/// Whether the first line ends as on Windows, where that matters to whoever reads the script.
fn has_crlf(head: &[u8], call: Call, path: &str) -> bool {
    let shell = path.rsplit('.').next() == Some("sh");
    let read = match call {
        Call::Direct => head.starts_with(b"#!") || shell,
        Call::Shell => true,
        Call::Other => false,
    };
    let end = head.iter().position(|byte| *byte == b'\n');
    read && end.is_some_and(|end| head[..end].ends_with(b"\r"))
}

/// Programs that leave the files of the source as they are: what they install is elsewhere.
const NOTHING: &str = "echo printf export set unset test [ : true false ls pwd cat head tail grep egrep wc sort uniq \
    env printenv which type command date sleep exit return read local declare readonly uname whoami id hostname df du \
    free ps kill wait ulimit expr seq tr cut basename dirname jq diff apt-get apt yum dnf apk pip pip3 gem pipx mkdir \
    aws n nvm pyenv dockerd timeout service systemctl update-ca-certificates shellcheck hadolint flake8 pylint mypy ruff";

/// Programs that make files and leave those alone that are there.
const MAKES: &str = "make npm npx yarn pnpm mvn gradle go cargo dotnet sam cdk terraform docker docker-compose pytest \
    tsc curl wget java javac cmake ninja bundle rake composer helm kubectl serverless sls zip gcc tox jest poetry uv \
    pipenv python python3 node ruby php coverage nosetests virtualenv eslint prettier black hugo";

/// What a program does to files, if it is known; one that is not may do anything.
fn effect_of(command: &SimpleCommand) -> Effect {
    let words = words(command);
    let text = |index: usize| words.get(index).map_or("", |word| word.text.as_str());
    let listed = |list: &str| list.split_whitespace().any(|name| name == text(0));
    let is_literal = words.first().is_some_and(|word| word.literal);
    let asks = matches!(
        text(1),
        "--version" | "-version" | "-v" | "-V" | "version" | "--help"
    );
    let installs = matches!(text(1), "install" | "ci" | "i" | "config" | "set" | "login")
        || (text(0) == "yarn" && words.len() == 1);
    let quiet = matches!(
        text(1),
        "login" | "build" | "push" | "pull" | "tag" | "images" | "info"
    );
    let known = listed(NOTHING) || listed(MAKES);
    match text(0) {
        _ if !is_literal || !known => Effect::Changes,
        _ if asks && words.len() == 2 => Effect::Nothing,
        "aws" if matches!(text(1), "s3" | "s3api") => Effect::Makes,
        "npm" | "yarn" | "pnpm" if installs => Effect::Nothing,
        "docker" if quiet => Effect::Nothing,
        _ if listed(NOTHING) => Effect::Nothing,
        _ => Effect::Makes,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::buildspec;
    use crate::lint::{Profile, Settings};
    use crate::source::SourceText;

    #[test]
    fn what_a_program_does_to_the_source_is_known_or_feared() {
        for (text, effect) in [
            ("echo ./x.sh", Effect::Nothing),
            ("sudo apt-get install -y jq", Effect::Nothing),
            ("npm ci", Effect::Nothing),
            ("docker build .", Effect::Nothing),
            ("node --version", Effect::Nothing),
            ("npm run build", Effect::Makes),
            ("aws s3 cp s3://b/k .", Effect::Makes),
            ("docker run x", Effect::Makes),
            ("git checkout x", Effect::Changes),
            ("./x.sh", Effect::Changes),
            ("$RUN", Effect::Changes),
        ] {
            let script = Script::parse(text);
            assert_eq!(effect_of(&script.commands[0]), effect, "{text}");
        }
    }

    #[test]
    fn a_script_is_called_by_its_path_or_through_an_interpreter() {
        let of = |text: &str| {
            let script = Script::parse(text);
            called(&script.commands[0]).map(|(call, word)| (call, word.text.clone()))
        };
        let found = |call, path: &str| Some((call, path.to_owned()));
        assert_eq!(of("./x.sh -a"), found(Call::Direct, "./x.sh"));
        assert_eq!(of("sudo ./x.sh"), found(Call::Direct, "./x.sh"));
        assert_eq!(of("bash -ex ci/x.sh"), found(Call::Shell, "ci/x.sh"));
        assert_eq!(of(". ./x.sh"), found(Call::Shell, "./x.sh"));
        assert_eq!(of("python x.py"), found(Call::Other, "x.py"));
        for text in [
            "bash -c x.sh",
            "python -m x.y",
            "./*.sh",
            "$A/x.sh",
            "bash -s",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    /// What is said of these commands, in a repository with `run.sh`, `app/run.sh` and `app/plain.sh`, which may not be
    /// executed.
    fn said(commands: &[&str]) -> Vec<String> {
        let place = tempfile::tempdir().expect("a directory can be made");
        let write = |path: &str, mode: u32| {
            let path = place.path().join(path);
            fs::write(&path, "#!/bin/sh\n").expect("it can be written");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
        };
        for directory in [".git", "app"] {
            fs::create_dir(place.path().join(directory)).expect("it is new");
        }
        write("run.sh", 0o755);
        write("app/run.sh", 0o755);
        write("app/plain.sh", 0o644);
        let items = commands.iter().map(|command| {
            let lines = command.replace('\n', "\n        ");
            format!("      - |\n        {lines}\n")
        });
        let items = items.collect::<Vec<String>>().concat();
        let text = format!("version: 0.2\nphases:\n  build:\n    commands:\n{items}");
        let source = SourceText::new("buildspec.yml", text);
        let (ast, _) = buildspec::check(&source);
        let tree = SourceTree::around(&place.path().join("buildspec.yml"));
        let settings = Settings {
            profile: Profile::Codebuild,
            tree: Some(&tree),
            shellcheck: None,
            directives: true,
        };
        let mut found = Vec::new();
        scripts(&Subject::new(&source, &ast, &settings), &mut found);
        let shown = found.iter().map(|finding| {
            let name = finding.code.name();
            format!("{name} {}", source.slice(finding.primary.span))
        });
        shown.collect()
    }

    // LINT-32
    #[test]
    fn scripts_are_looked_for_where_commands_have_gone() {
        let nothing: &[&str] = &[];
        for (commands, expected) in [
            (&["./run.sh"][..], nothing),
            (&["./gone.sh"], &["missing-script ./gone.sh"]),
            (&["cd app", "./plain.sh"], &["not-executable ./plain.sh"]),
            (
                &["cd app", "cd ..", "./app/plain.sh"],
                &["not-executable ./app/plain.sh"],
            ),
            (
                &["(cd app && ./plain.sh)", "./run.sh"],
                &["not-executable ./plain.sh"],
            ),
            (
                &["(cd app && ls)", "./plain.sh"],
                &["missing-script ./plain.sh"],
            ),
            (&["cd app && ./run.sh"], nothing),
            (
                &["cd $CODEBUILD_SRC_DIR/app", "./gone.sh"],
                &["missing-script ./gone.sh"],
            ),
            (
                &["cd app", "$CODEBUILD_SRC_DIR/gone.sh"],
                &["missing-script $CODEBUILD_SRC_DIR/gone.sh"],
            ),
            (&["sh app/plain.sh"], nothing),
            (&["bash -ex app/gone.sh"], &["missing-script app/gone.sh"]),
            (&["python app/gone.py"], &["missing-script app/gone.py"]),
        ] {
            assert_eq!(said(commands), expected, "{commands:?}");
        }
    }

    // LINT-33
    #[test]
    fn what_a_command_may_have_made_is_not_missed() {
        for commands in [
            &["cd $DIR", "./gone.sh"][..],
            &["[ -d app ] || cd app", "./gone.sh"],
            &["if true; then cd app; fi", "./gone.sh"],
            &["cd elsewhere", "./gone.sh"],
            &["cd ..", "./gone.sh"],
            &["git clone $URL", "./gone.sh"],
            &["make", "./gone.sh"],
            &["curl -o gone.sh $URL", "sh gone.sh"],
            &["unzip x.zip", "./gone.sh"],
            &["./run.sh", "./gone.sh"],
            &["cp a gone.sh", "./gone.sh"],
            &["echo x > gone.sh", "sh gone.sh"],
            &["cat > $FILE", "sh ./gone.sh"],
            &["if [ -f gone.sh ]; then ./gone.sh; fi"],
            &["[ -x gone.sh ] && ./gone.sh"],
            &["./gone.sh || true"],
            &["chmod +x app/plain.sh", "app/plain.sh"],
            &["chmod -R 755 .", "app/plain.sh"],
            &["node_modules/.bin/tsc"],
            &["f() { ./gone.sh; }"],
            &["/usr/bin/gone.sh"],
            &["echo ./gone.sh"],
        ] {
            assert_eq!(said(commands), [""; 0], "{commands:?}");
        }
    }
}
