//! The text around a command: how one shell process hands its state to the next (CMD-1 to CMD-8).
//!
//! Pure: scripts are made here and run elsewhere. The wrapper is CodeBuild's in effect, line for line: the command
//! stands at line 4, so that a shell's own messages name the lines that people know.
//!
//! ```text
//! 1  cd '/where/the/last/command/left'
//! 2  set -a
//! 3  . '/state/env.sh'; CODEBUILD_BUILD_SUCCEEDING=1
//! 4  <the command, verbatim>
//!    CODEBUILD_LAST_EXIT=$?
//!    command export -p > '/state/env.sh.next' && command pwd > '/state/dir.txt.next' || :
//!    exit $CODEBUILD_LAST_EXIT
//! ```
//!
//! Where it differs from AWS's: the directory is quoted, so that blanks in it work; and the state goes to files of
//! another name that take the place of the old ones only when both are complete. A disk that fills up while they are
//! written is noticed instead of losing every variable without a word. `command` keeps a shell alive whose `export` finds
//! no place to write to, which dash otherwise leaves with status 2; `|| :` does the same under `set -e`: the status of an
//! item is that of its own commands.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::buildspec::model::{Shell, Version};

/// Where the files of a build's state are.
#[derive(Clone, Debug)]
pub struct StateFiles<'a> {
    /// Saved variables: shell code.
    pub env: &'a Path,
    /// Variables a command has just saved.
    pub next_env: &'a Path,
    /// Directory a command has just saved.
    pub next_dir: &'a Path,
    /// Where expanded texts go.
    pub expanded: &'a Path,
}

/// File name of scripts for a shell; PowerShell goes by the ending.
#[must_use]
pub const fn script_name(shell: &Shell) -> &'static str {
    match shell {
        Shell::PowerShell => "script.ps1",
        Shell::Posix(_) | Shell::Cmd => "script.sh",
    }
}

/// Arguments between the shell program and the script.
#[must_use]
pub const fn arguments(shell: &Shell) -> &'static [&'static str] {
    match shell {
        Shell::PowerShell => &["-NoLogo", "-NoProfile", "-NonInteractive", "-File"],
        Shell::Posix(_) | Shell::Cmd => &[],
    }
}

/// The script that runs one command.
#[must_use]
pub fn script(
    shell: &Shell,
    version: Version,
    directory: &OsStr,
    succeeding: bool,
    command: &str,
    files: &StateFiles<'_>,
) -> Vec<u8> {
    match (shell, version) {
        (_, Version::V0_1) => lines(&[command.as_bytes()]),
        (Shell::PowerShell, Version::V0_2) => {
            powershell_script(directory, succeeding, command, files)
        }
        (Shell::Posix(_) | Shell::Cmd, Version::V0_2) => {
            posix_script(directory, succeeding, command, files)
        }
    }
}

fn posix_script(
    directory: &OsStr,
    succeeding: bool,
    command: &str,
    files: &StateFiles<'_>,
) -> Vec<u8> {
    let mut text = posix_prologue(directory, succeeding, files);
    text.extend(lines(&[
        command.as_bytes(),
        b"CODEBUILD_LAST_EXIT=$?",
        &[
            b"command export -p > ",
            &quote(files.next_env)[..],
            b" && command pwd > ",
            &quote(files.next_dir),
            b" || :",
        ]
        .concat(),
        b"exit $CODEBUILD_LAST_EXIT",
    ]));
    text
}

fn posix_prologue(directory: &OsStr, succeeding: bool, files: &StateFiles<'_>) -> Vec<u8> {
    let succeeding: &[u8] = if succeeding { b"1" } else { b"0" };
    lines(&[
        &[b"cd ", &quote(directory)[..]].concat(),
        b"set -a",
        &[
            b". ",
            &quote(files.env)[..],
            b"; CODEBUILD_BUILD_SUCCEEDING=",
            succeeding,
        ]
        .concat(),
    ])
}

/// Arguments between the shell program and the script of a shell for a person.
#[must_use]
pub const fn interactive_arguments(shell: &Shell) -> &'static [&'static str] {
    match shell {
        Shell::PowerShell => &["-NoLogo", "-NoProfile", "-NoExit", "-File"],
        Shell::Posix(_) | Shell::Cmd => &[],
    }
}

/// Arguments with which the shell is one for a person, and has what the build had: not what a person's own start-up files set.
#[must_use]
pub fn for_a_person(shell: &Shell, program: &Path) -> &'static [&'static str] {
    if *shell == Shell::PowerShell {
        return &["-NoLogo", "-NoProfile"];
    }
    match program.file_name().unwrap_or_default().as_bytes() {
        b"bash" => &["--norc", "-i"],
        b"zsh" => &["-f", "-i"],
        _ => &["-i"],
    }
}

/// The script that becomes a shell for a person, in the state that the last command left.
#[must_use]
pub fn interactive_script(
    shell: &Shell,
    version: Version,
    program: &Path,
    directory: &OsStr,
    succeeding: bool,
    env: &Path,
) -> Vec<u8> {
    let nowhere = Path::new("/dev/null");
    let files = StateFiles {
        env,
        next_env: nowhere,
        next_dir: nowhere,
        expanded: nowhere,
    };
    let prologue = match (version, shell) {
        (Version::V0_1, _) => Vec::new(),
        (Version::V0_2, Shell::PowerShell) => powershell_prologue(directory, succeeding, &files),
        (Version::V0_2, _) => posix_prologue(directory, succeeding, &files),
    };
    if *shell == Shell::PowerShell {
        return prologue;
    }
    let mut start = [b"exec ", &quote(program)[..]].concat();
    for argument in for_a_person(shell, program) {
        start.push(b' ');
        start.extend_from_slice(argument.as_bytes());
    }
    [prologue, lines(&[b"set +a", &start])].concat()
}

/// The script that expands texts: for each one the status of the last command in it and the result, each ended by NUL.
#[must_use]
pub fn expand_script(
    shell: &Shell,
    version: Version,
    directory: &OsStr,
    succeeding: bool,
    texts: &[&str],
    files: &StateFiles<'_>,
) -> Vec<u8> {
    if *shell == Shell::PowerShell {
        return powershell_expand_script(version, directory, texts, files);
    }
    let mut script = match version {
        Version::V0_1 => Vec::new(),
        Version::V0_2 => posix_prologue(directory, succeeding, files),
    };
    script.extend(lines(&[b"set +a"]));
    if texts.iter().any(|text| text.contains('"')) {
        script.extend(QUOTE_FUNCTION.as_bytes());
    }
    for text in texts {
        let assignment = if text.contains('"') {
            let quoted = [b"runner_quote ", &quote(text)[..]].concat();
            lines(&[&quoted, br#"eval "runner_text=\"$runner_text\"""#])
        } else {
            lines(&[&[b"runner_text=\"", text.as_bytes(), b"\""].concat()])
        };
        script.extend(assignment);
        script.extend(lines(&[&[
            b"printf '%s\\0%s\\0' \"$?\" \"$runner_text\" >> ",
            &quote(files.expanded)[..],
        ]
        .concat()]));
    }
    script
}

/// Whether a text has anything in it that a shell would expand.
#[must_use]
pub fn needs_expansion(shell: &Shell, text: &str) -> bool {
    match shell {
        Shell::PowerShell => text.contains(['$', '`']),
        Shell::Posix(_) | Shell::Cmd => text.contains(['$', '`', '\\']),
    }
}

/// What stands before the value of a variable that is set, where [`asking`] asked for it.
const SET: char = 'x';

/// The text that expands to the value of a variable with a letter before it, or to nothing if it is not set. The name has
/// to be one that a shell reads (ENV-42).
#[must_use]
pub fn asking(shell: &Shell, name: &str) -> String {
    match shell {
        Shell::PowerShell => format!(
            "$(if (Test-Path -LiteralPath Env:{name}) {{ '{SET}' + $Env:{name} }} elseif (Test-Path -LiteralPath Variable:{name}) {{ '{SET}' + ${name} }})"
        ),
        Shell::Posix(_) | Shell::Cmd => format!("${{{name}+{SET}${name}}}"),
    }
}

/// The value in what came of [`asking`]; `None` if the variable is not set.
#[must_use]
pub fn answer(expanded: &str) -> Option<&str> {
    expanded.strip_prefix(SET)
}

/// Escapes the double quotes of a text that stand outside of `$(…)`, `${…}` and backquotes, for between double quotes
/// (ART-8).
///
/// Where such a construct ends, only the shell itself knows: it may hold quotes, comments, `case`. So the shell is asked.
/// What stands before a double quote, with another one behind it, is a whole text only if the quote stands outside: inside
/// of a construct, that construct would never end. A function that nobody calls has it read without running it.
const QUOTE_FUNCTION: &str = r#"runner_quote() {
runner_text= runner_rest=$1
while case $runner_rest in *\"*) ;; *) ! : ;; esac; do
runner_text=$runner_text${runner_rest%%\"*}
runner_rest=${runner_rest#*\"}
if (eval "runner_never() { runner_text=\"$runner_text\"; }") >/dev/null 2>&1; then runner_text=$runner_text\\; fi
runner_text=$runner_text\"
done
runner_text=$runner_text$runner_rest
}
"#;

/// Variables that bash makes itself and lets nobody assign. Exported, they are among what `export -p` prints.
const OWN_VARIABLES: &[&[u8]] = &[
    b"BASHOPTS",
    b"BASH_VERSINFO",
    b"EUID",
    b"PPID",
    b"SHELLOPTS",
    b"UID",
];

/// Saved variables without assignments that bash refuses: a message each, and as `sh` it would leave at the first.
///
/// Numbers of users stay exported, as a name without a value; the rest belongs to the shell that printed it (CMD-4).
#[must_use]
pub fn without_own_variables(saved: Vec<u8>) -> Vec<u8> {
    // Only bash quotes values like this.
    let suspects: [&[u8]; 4] = [b"OPTS=\"", b"ID=\"", b"_VERSINFO=(", b"OPTS=$"];
    let suspect = |at: usize| suspects.iter().any(|name| saved[at..].starts_with(name));
    if !(0..saved.len()).any(suspect) {
        return saved;
    }
    let mut kept = Vec::with_capacity(saved.len());
    for statement in statements(&saved) {
        match own_variable(statement) {
            None => kept.extend_from_slice(statement),
            Some(name @ (b"EUID" | b"UID")) => {
                kept.extend_from_slice(&[b"export ", name, b"\n"].concat());
            }
            Some(_) => {}
        }
    }
    kept
}

/// The name of the variable of bash's own that a statement of `export -p` assigns.
fn own_variable(statement: &[u8]) -> Option<&[u8]> {
    let assigned = statement.split(|byte| *byte == b'=').next()?;
    let mut words = assigned.split(|byte| *byte == b' ');
    let printed_by_bash = match words.next()? {
        b"declare" => true,
        // dash and others print `export NAME='value'`, and to them these names are like any other.
        b"export" => statement.get(assigned.len() + 1) != Some(&b'\''),
        _ => false,
    };
    let name = words.next_back()?;
    (printed_by_bash && statement.len() > assigned.len() && OWN_VARIABLES.contains(&name))
        .then_some(name)
}

/// The statements of what `export -p` prints, each with its line end. A value may have line ends of its own.
fn statements(saved: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let (mut from, mut at) = (0, 0);
    let mut quote = None;
    while let Some(&byte) = saved.get(at) {
        at += 1;
        match (quote, byte) {
            (None, b'\n') => {
                found.push(&saved[from..at]);
                from = at;
            }
            (None | Some(b'"' | b'$'), b'\\') => at += 1,
            (None, b'$') if saved.get(at) == Some(&b'\'') => {
                at += 1;
                quote = Some(b'$');
            }
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(b'$'), b'\'') => quote = None,
            (Some(open), _) if open == byte && open != b'$' => quote = None,
            _ => {}
        }
    }
    found.push(&saved[from..]);
    found
}

/// A path or text as one word of a shell.
fn quote(text: impl AsRef<OsStr>) -> Vec<u8> {
    let bytes = text.as_ref().as_bytes();
    let mut quoted = Vec::with_capacity(bytes.len() + 2);
    quoted.push(b'\'');
    for &byte in bytes {
        if byte == b'\'' {
            quoted.extend_from_slice(b"'\\''");
        } else {
            quoted.push(byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

fn lines(lines: &[&[u8]]) -> Vec<u8> {
    let mut text = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text
}

// ── PowerShell ───────────────────────────────────────────────────────────────────────────────────────────────────────

/// What PowerShell carries from one command to the next: the location, `$Env:`, and plain variables of simple types
/// (CMD-12). The status is that of the last program, or 1 after an error of PowerShell itself.
const POWERSHELL_EPILOGUE: &str = r"
$runner_ok = $?
$runner_exit = if ($runner_ok) { 0 } elseif ($LASTEXITCODE) { $LASTEXITCODE } else { 1 }
$Env:CODEBUILD_LAST_EXIT = $runner_exit
$runner_quote = { param($runner_text) [char]39 + ([string]$runner_text).Replace([string][char]39, [string][char]39 * 2) + [char]39 }
$runner_state = @(
  Get-ChildItem Env: | ForEach-Object { 'Set-Item -LiteralPath ' + (& $runner_quote ('Env:' + $_.Name)) + ' -Value ' + (& $runner_quote $_.Value) }
  Get-Variable -Scope Script | Where-Object { $runner_before -notcontains $_.Name -and $_.Name -notlike 'runner_*' -and ($_.Value -is [string] -or $_.Value -is [bool] -or $_.Value -is [int] -or $_.Value -is [long] -or $_.Value -is [double]) } | ForEach-Object {
    '$Script:' + $_.Name + ' = [' + $_.Value.GetType().FullName + '] ' + (& $runner_quote $_.Value)
  }
)
";

fn powershell_script(
    directory: &OsStr,
    succeeding: bool,
    command: &str,
    files: &StateFiles<'_>,
) -> Vec<u8> {
    let mut text = powershell_prologue(directory, succeeding, files);
    text.extend(lines(&[
        command.as_bytes(),
        POWERSHELL_EPILOGUE.trim_start().trim_end().as_bytes(),
        &[
            b"Set-Content -LiteralPath ",
            &powershell_quote(files.next_env)[..],
            b" -Value $runner_state",
        ]
        .concat(),
        &[
            b"Set-Content -LiteralPath ",
            &powershell_quote(files.next_dir)[..],
            b" -Value (Get-Location).ProviderPath",
        ]
        .concat(),
        b"exit $runner_exit",
    ]));
    text
}

fn powershell_prologue(directory: &OsStr, succeeding: bool, files: &StateFiles<'_>) -> Vec<u8> {
    let succeeding: &[u8] = if succeeding { b"'1'" } else { b"'0'" };
    lines(&[
        &[
            b"Set-Location -LiteralPath ",
            &powershell_quote(directory)[..],
        ]
        .concat(),
        b"$runner_before = (Get-Variable).Name",
        &[
            b". ([ScriptBlock]::Create((Get-Content -Raw -LiteralPath ",
            &powershell_quote(files.env)[..],
            b"))); $Env:CODEBUILD_BUILD_SUCCEEDING = ",
            succeeding,
        ]
        .concat(),
    ])
}

fn powershell_expand_script(
    version: Version,
    directory: &OsStr,
    texts: &[&str],
    files: &StateFiles<'_>,
) -> Vec<u8> {
    let mut script = match version {
        Version::V0_1 => Vec::new(),
        Version::V0_2 => powershell_prologue(directory, true, files),
    };
    for text in texts {
        let text = text.replace('"', "`\"");
        script.extend(lines(&[
            &[b"$runner_text = \"", text.as_bytes(), b"\""].concat(),
            b"$runner_exit = if ($?) { 0 } else { 1 }",
            &[
                b"[System.IO.File]::AppendAllText(",
                &powershell_quote(files.expanded)[..],
                b", \"$runner_exit`0$runner_text`0\")",
            ]
            .concat(),
        ]));
    }
    script
}

fn powershell_quote(text: impl AsRef<OsStr>) -> Vec<u8> {
    let bytes = text.as_ref().as_bytes();
    let mut quoted = Vec::with_capacity(bytes.len() + 2);
    quoted.push(b'\'');
    for &byte in bytes {
        quoted.push(byte);
        if byte == b'\'' {
            quoted.push(byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> StateFiles<'static> {
        StateFiles {
            env: Path::new("/s/env.sh"),
            next_env: Path::new("/s/env.sh.next"),
            next_dir: Path::new("/s/dir.txt.next"),
            expanded: Path::new("/s/expanded"),
        }
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_command_stands_at_line_4_verbatim() {
        let shell = Shell::default();
        let made = text(script(
            &shell,
            Version::V0_2,
            OsStr::new("/a b's"),
            true,
            "x\n  y\n",
            &files(),
        ));
        assert_eq!(
            made,
            "cd '/a b'\\''s'\nset -a\n. '/s/env.sh'; CODEBUILD_BUILD_SUCCEEDING=1\nx\n  y\n\n\
             CODEBUILD_LAST_EXIT=$?\ncommand export -p > '/s/env.sh.next' && command pwd > '/s/dir.txt.next' || :\nexit $CODEBUILD_LAST_EXIT\n"
        );
    }

    #[test]
    fn version_0_1_runs_the_bare_command() {
        let made = text(script(
            &Shell::default(),
            Version::V0_1,
            OsStr::new("/a"),
            true,
            "x",
            &files(),
        ));
        assert_eq!(made, "x\n");
    }

    #[test]
    fn variables_of_bash_itself_are_no_state() {
        let table = [
            (
                "declare -x A=\"1\"\ndeclare -rx SHELLOPTS=\"braceexpand\"\ndeclare -x B\n",
                "declare -x A=\"1\"\ndeclare -x B\n",
            ),
            (
                "export BASHOPTS=\"x\"\nexport -a BASH_VERSINFO=([0]=\"5\")\nexport C=\"1\"\n",
                "export C=\"1\"\n",
            ),
            (
                "declare -irx UID=\"0\"\ndeclare -irx PPID=\"7\"\n",
                "export UID\n",
            ),
            // A value that looks like a statement.
            (
                "declare -rx SHELLOPTS=\"a\"\ndeclare -x X=\"1\ndeclare -rx UID=\\\"2\\\"\n3\"\n",
                "declare -x X=\"1\ndeclare -rx UID=\\\"2\\\"\n3\"\n",
            ),
            (
                "export SHELLOPTS=\"a\"\nexport X=$'it\\'s\\nexport UID=\"1\"'\n",
                "export X=$'it\\'s\\nexport UID=\"1\"'\n",
            ),
            // dash.
            (
                "export SHELLOPTS='a'\nexport UID='5'\nexport X='\nexport UID=\"1\"\n'\n",
                "export SHELLOPTS='a'\nexport UID='5'\nexport X='\nexport UID=\"1\"\n'\n",
            ),
            (
                "declare -x MY_UID=\"1\"\ndeclare -x SHELLOPTSX=\"2\"\n",
                "declare -x MY_UID=\"1\"\ndeclare -x SHELLOPTSX=\"2\"\n",
            ),
        ];
        for (saved, kept) in table {
            assert_eq!(text(without_own_variables(saved.into())), kept);
        }
    }

    #[test]
    fn powershell_carries_location_environment_and_simple_variables() {
        let made = text(script(
            &Shell::PowerShell,
            Version::V0_2,
            OsStr::new("/it's"),
            false,
            "Get-Date",
            &files(),
        ));
        let lines: Vec<&str> = made.lines().collect();
        assert_eq!(lines[0], "Set-Location -LiteralPath '/it''s'");
        assert!(lines[2].ends_with("$Env:CODEBUILD_BUILD_SUCCEEDING = '0'"));
        assert_eq!(lines[3], "Get-Date");
        assert_eq!(lines.last(), Some(&"exit $runner_exit"));
    }
}
