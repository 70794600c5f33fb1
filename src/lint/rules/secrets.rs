//! What is said of secrets: those that are written in the file, and the ways in which fetched ones get out.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::Rule;
use crate::buildspec::ast::Variable;
use crate::buildspec::text_map::TextMap;
use crate::diagnostic::{Code, Diagnostic};
use crate::lint::secret::{find_access_keys, find_tokens, is_secret_name, is_secret_value};
use crate::lint::shell::{Script, SimpleCommand, Word};
use crate::lint::{Item, Subject};
use crate::source::Span;

pub(super) const RULES: &[Rule] = &[
    written_keys,
    hardcoded_secret,
    secret_echoed,
    secret_on_command_line,
    set_x_with_secrets,
    environment_printed,
    unused_secret,
];

const KEEP_ELSEWHERE: &str =
    "keep it in Secrets Manager or Parameter Store, and fetch it with `env`";

/// Keys whose form gives them away, in variables and commands (LINT-23). What is found is not repeated in the message.
fn written_keys(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let mut look = |text: &str, place: &dyn Fn(Range<usize>) -> Span| {
        for range in find_access_keys(text) {
            let message =
                "an access key of AWS is written here, for everyone who can read the file";
            let diagnostic = Diagnostic::new(Code::HardcodedAccessKey, place(range), message)
                .with_help("the role of the project has credentials already; disable this key");
            diagnostics.push(diagnostic);
        }
        for (range, what) in find_tokens(text) {
            let message = format!("{what} is written here, for everyone who can read the file");
            let diagnostic = Diagnostic::new(Code::HardcodedSecret, place(range), message)
                .with_help(KEEP_ELSEWHERE);
            diagnostics.push(diagnostic);
        }
    };
    for variable in &subject.buildspec.env.variables {
        let value = &variable.value;
        let map = TextMap::new(subject.source, value.span, &value.value);
        look(&value.value, &|range| map.span(range));
    }
    for item in &subject.items {
        look(item.text(), &|range| item.span(&range));
    }
}

/// A value that looks like a secret under a name that says it is one (LINT-23).
fn hardcoded_secret(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let found = |name: &str, value: &str, span: Span| {
        // SonarQube takes its tokens under a name that does not say so.
        let is_secret = (is_secret_name(name) || name == "sonar.login")
            && is_secret_value(name, value)
            && find_tokens(value).is_empty()
            && find_access_keys(value).is_empty();
        let message = format!("the value of `{name}` is written here, and looks like a secret");
        is_secret.then(|| {
            Diagnostic::new(Code::HardcodedSecret, span, message).with_help(KEEP_ELSEWHERE)
        })
    };
    for variable in &subject.buildspec.env.variables {
        let (name, value) = (&variable.name, &variable.value);
        diagnostics.extend(found(&name.value, &value.value, value.span));
    }
    for (item, script) in subject.scripts() {
        for one in &script.assigned {
            diagnostics.extend(found(&one.name, &one.value, item.span(&one.range)));
        }
        for word in script.commands.iter().flat_map(arguments) {
            if let Some((name, value)) = word.text.split_once('=') {
                let name = name.trim_start_matches("-D").trim_start_matches('-');
                diagnostics.extend(found(name, value, item.span(&word.range)));
            }
        }
    }
}

/// The words of a command that are not assignments of the shell's own.
fn arguments(command: &SimpleCommand) -> &[Word] {
    match command.program() {
        Some("export" | "readonly" | "declare" | "local" | "typeset" | "echo" | "printf") => &[],
        _ => command.words.get(1..).unwrap_or_default(),
    }
}

/// Fetched variables that hold a secret, by their name or by that of what they refer to: under `parameter-store` and
/// `secrets-manager` there is much that everyone may know.
fn sensitive<'a>(subject: &Subject<'a>) -> HashMap<&'a str, &'a Variable> {
    let is_secret = |variable: &&Variable| {
        let reference = &variable.value.value;
        let last = reference.rsplit([':', '/']).find(|part| !part.is_empty());
        is_secret_name(&variable.name.value) || last.is_some_and(is_secret_name)
    };
    subject
        .secrets()
        .filter(is_secret)
        .map(|variable| (variable.name.value.as_str(), variable))
        .collect()
}

/// The first of these variables that a word reads, and whether the word has exactly its value in it.
fn reads<'s>(
    script: &Script,
    words: &[Word],
    secrets: &HashMap<&'s str, &'s Variable>,
) -> Option<(&'s Variable, Range<usize>, bool)> {
    script.read.iter().find_map(|one| {
        let secret = secrets.get(one.name.as_str())?;
        let word = words
            .iter()
            .find(|word| word.range.start <= one.range.start && one.range.end <= word.range.end)?;
        // What a substitution in the word reads is the business of the command in it.
        let direct = !word.text.contains("$(") && !word.text.contains('`');
        let written = &script.text()[one.range.clone()];
        let plain = format!("${}", one.name);
        // A length, or whether there is a value at all, gives nothing away.
        let harmless = written.starts_with("${#") || written.contains('+');
        let exact = written == plain || written == format!("${{{}}}", one.name);
        (direct && !harmless).then(|| (*secret, one.range.clone(), exact))
    })
}

/// Whether what a command writes is what is seen of it: neither taken by another program nor kept in a file or variable.
fn is_seen(command: &SimpleCommand) -> bool {
    let last = command
        .place
        .pipe
        .is_none_or(|(_, index, count)| index + 1 == count);
    last && !command.place.to_file && !command.place.substituted
}

/// `echo $SECRET`, as it is or changed (LINT-24).
fn secret_echoed(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let secrets = sensitive(subject);
    if secrets.is_empty() {
        return;
    }
    for (item, script) in subject.scripts() {
        for command in &script.commands {
            let says = match command.program() {
                Some("echo" | "printf") => reads(script, &command.words[1..], &secrets),
                _ => continue,
            };
            let Some((secret, range, exact)) = says else {
                continue;
            };
            if is_seen(command) && exact {
                let message = format!("the value of `{}` is written to the log", secret.name.value);
                let diagnostic = Diagnostic::new(Code::SecretEchoed, item.span(&range), message)
                    .with_secondary(secret.value.span, "it is fetched here");
                diagnostics.push(diagnostic);
            } else if is_seen(command) {
                diagnostics.push(transformed(item, secret, &range));
            } else if let Some(change) = changed_by(script, command) {
                let diagnostic = transformed(item, secret, &range)
                    .with_secondary(item.span(&change.range), "it is changed here");
                diagnostics.push(diagnostic);
            }
        }
    }
}

fn transformed(item: &Item<'_>, secret: &Variable, range: &Range<usize>) -> Diagnostic {
    let message = format!(
        "`{}` is written to the log in another form, which is not masked",
        secret.name.value
    );
    Diagnostic::new(Code::SecretTransformed, item.span(range), message)
}

/// The program that turns what this one pipes into it to another form and shows it.
fn changed_by<'s>(script: &'s Script, command: &SimpleCommand) -> Option<&'s SimpleCommand> {
    const CHANGE: &[&str] = &[
        "base64", "rev", "tr", "sed", "cut", "awk", "xxd", "od", "hexdump",
    ];
    let (pipe, index, count) = command.place.pipe?;
    let last = script
        .commands
        .iter()
        .find(|other| other.place.pipe == Some((pipe, count - 1, count)) && is_seen(other))?;
    let all_change = (index + 1..count).all(|at| {
        script.commands.iter().any(|other| {
            other.place.pipe == Some((pipe, at, count))
                && other.program().is_some_and(|name| CHANGE.contains(&name))
        })
    });
    (all_change && index == 0).then_some(last)
}

/// Passwords as arguments, which everyone on the machine can read (LINT-24).
fn secret_on_command_line(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let secrets = sensitive(subject);
    for (item, script) in subject.scripts() {
        for command in &script.commands {
            if let Some(range) = login_with_password(command) {
                let message =
                    "the password is part of the command line, where every process can read it";
                let diagnostic =
                    Diagnostic::new(Code::SecretOnCommandLine, item.span(&range), message)
                        .with_help("pipe it into the command, with `--password-stdin`");
                diagnostics.push(diagnostic);
            } else if takes_passwords(command)
                && let Some((secret, range, _)) = reads(script, &command.words[1..], &secrets)
            {
                let message = format!(
                    "`{}` is part of the command line, where every process can read it",
                    secret.name.value
                );
                diagnostics.push(
                    Diagnostic::new(Code::SecretOnCommandLine, item.span(&range), message)
                        .with_secondary(secret.value.span, "it is fetched here"),
                );
            }
        }
    }
}

/// Where a login to a registry has the password.
fn login_with_password(command: &SimpleCommand) -> Option<Range<usize>> {
    const LOGINS: &[&[&str]] = &[
        &["docker", "login"],
        &["podman", "login"],
        &["nerdctl", "login"],
        &["buildah", "login"],
        &["helm", "registry", "login"],
    ];
    let logs_in = LOGINS.iter().any(|words| calls(command, words));
    if !logs_in || command.has_option(&["--password-stdin"]) {
        return None;
    }
    let words = &command.words;
    let at = words.iter().skip(1).position(|word| {
        let text = &word.text;
        let joined = text.starts_with("-p") && text.len() > 2;
        joined || text == "-p" || text == "--password" || text.starts_with("--password=")
    })? + 1;
    let alone = matches!(words[at].text.as_str(), "-p" | "--password");
    let last = words.get(at + usize::from(alone)).unwrap_or(&words[at]);
    Some(words[at].range.start..last.range.end)
}

/// Whether a program is called like this, with options anywhere.
fn calls(command: &SimpleCommand, names: &[&str]) -> bool {
    let mut words = command.words.iter().skip(1).map(|word| word.text.as_str());
    command.program() == Some(names[0])
        && names[1..]
            .iter()
            .all(|name| words.any(|word| word == *name))
}

/// Programs whose arguments are known to be passwords where they are secrets, and that have another way in.
fn takes_passwords(command: &SimpleCommand) -> bool {
    matches!(
        command.program(),
        Some("sshpass" | "mysql" | "mysqldump" | "mysqladmin" | "twine")
    )
}

/// `set -x` shows what variables hold (LINT-24). Options of the shell end with the command that sets them.
fn set_x_with_secrets(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let secrets = sensitive(subject);
    if secrets.is_empty() {
        return;
    }
    for (item, script) in subject.scripts() {
        let mut since = None;
        for command in &script.commands {
            match traces(command) {
                Some(true) => since = Some(command),
                Some(false) => since = None,
                None => {}
            }
            let Some(set) = since else { continue };
            let Some((secret, range, _)) = reads(script, &command.words, &secrets) else {
                continue;
            };
            let message = format!(
                "commands are shown with the value of `{}` in them",
                secret.name.value
            );
            let diagnostic = Diagnostic::new(Code::SetXWithSecrets, item.span(&set.range), message)
                .with_secondary(item.span(&range), "it is used here")
                .with_help("turn it off around this command with `set +x`");
            diagnostics.push(diagnostic);
            break;
        }
    }
}

/// Whether a command turns tracing on or off.
fn traces(command: &SimpleCommand) -> Option<bool> {
    if command.program() != Some("set") {
        return None;
    }
    command.words[1..]
        .iter()
        .enumerate()
        .find_map(|(at, word)| {
            let named = command
                .words
                .get(at + 2)
                .is_some_and(|next| next.text == "xtrace");
            let letters = |sign: char| {
                word.text
                    .strip_prefix(sign)
                    .is_some_and(|letters| letters.contains('x') || (letters == "o" && named))
            };
            if letters('-') {
                Some(true)
            } else {
                letters('+').then_some(false)
            }
        })
}

/// A list of all variables in the log of a build that has secrets (LINT-24). Said once: what is true of one list is of all.
fn environment_printed(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let written = subject.buildspec.env.variables.iter().filter(|variable| {
        let (name, value) = (&variable.name.value, &variable.value.value);
        is_secret_name(name) && is_secret_value(name, value)
    });
    let all = sensitive(subject).into_values().chain(written);
    let Some(secret) = all.min_by_key(|variable| variable.name.span.start()) else {
        return;
    };
    let printed = subject.scripts().find_map(|(item, script)| {
        let mut commands = script.commands.iter();
        let command =
            commands.find(|command| lists_variables(command) && goes_to_log(script, command))?;
        Some(item.span(&command.range))
    });
    if let Some(place) = printed {
        let message = format!(
            "all variables are written to the log, `{}` with them",
            secret.name.value
        );
        let diagnostic = Diagnostic::new(Code::EnvironmentPrinted, place, message)
            .with_secondary(secret.name.span, "it gets its value here");
        diagnostics.push(diagnostic);
    }
}

/// Whether a command lists all variables there are: `env` with a program behind it or `set` with an option does not.
fn lists_variables(command: &SimpleCommand) -> bool {
    let words: Vec<&str> = command
        .words
        .iter()
        .map(|word| word.text.as_str())
        .collect();
    matches!(
        words.as_slice(),
        ["env" | "printenv" | "set" | "export" | "declare" | "typeset"]
            | ["env" | "printenv", "-0" | "--null"]
            | ["export" | "declare" | "typeset", "-p"]
            | ["declare" | "typeset", "-x" | "-px" | "-xp"]
    )
}

/// Whether all that a command writes is seen, be it sorted or paged by what it is piped into.
fn goes_to_log(script: &Script, command: &SimpleCommand) -> bool {
    const PASS: &[&str] = &["cat", "column", "less", "more", "sort", "tee"];
    let Some((pipe, index, count)) = command.place.pipe else {
        return is_seen(command);
    };
    let passes = |at| {
        script.commands.iter().any(|other| {
            other.place.pipe == Some((pipe, at, count))
                && other.program().is_some_and(|name| PASS.contains(&name))
                && !other.place.to_file
                && !other.place.substituted
        })
    };
    !command.place.to_file && !command.place.substituted && (index + 1..count).all(passes)
}

/// A secret that nothing uses (LINT-22). Said only where every program is known not to read variables of its own accord.
fn unused_secret(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if subject.secrets().next().is_none() || !subject.is_posix_shell() {
        return;
    }
    let mut commands = subject.scripts().flat_map(|(_, script)| &script.commands);
    let broken = subject
        .scripts()
        .any(|(_, script)| !script.errors.is_empty());
    if broken || !commands.all(reads_no_variables) {
        return;
    }
    let words = words_of(subject.source.text());
    for secret in subject.secrets() {
        let name = &secret.name.value;
        let known = ["AWS_", "DOCKER_", "GIT_", "CODEBUILD_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if !known && words.get(name.as_str()) == Some(&1) {
            let message = format!("`{name}` is fetched, and nothing here uses it");
            let diagnostic = Diagnostic::new(Code::UnusedSecret, secret.name.span, message);
            diagnostics.push(diagnostic);
        }
    }
}

/// Programs that read no variables but those that are theirs.
fn reads_no_variables(command: &SimpleCommand) -> bool {
    const PLAIN: &[&str] = &[
        "[", "aws", "cat", "cd", "chmod", "cp", "curl", "cut", "date", "docker", "echo", "exit",
        "export", "false", "find", "grep", "head", "jq", "ls", "mkdir", "mv", "printf", "pwd",
        "rm", "sed", "set", "sort", "tail", "tar", "test", "touch", "tr", "true", "unzip", "wc",
        "zip",
    ];
    let known: HashSet<&str> = PLAIN.iter().copied().collect();
    // Compose reads whatever its files name.
    command.program().is_some_and(|name| known.contains(name))
        && !command.words.iter().any(|word| word.text == "compose")
}

/// How often each word of a text is in it.
fn words_of(text: &str) -> HashMap<&str, usize> {
    let mut words = HashMap::new();
    for word in text.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
        *words.entry(word).or_insert(0) += 1;
    }
    words
}
