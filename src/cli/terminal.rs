//! How standard output and standard error are used: colours, width, bars (LOG-17).

use std::io::IsTerminal as _;

use super::args::{FormatArg, LogFormat, When};
use super::machine;
use crate::diagnostic::Colour;
use crate::diagnostic::format::Format;
use crate::exec::Terminal;
use crate::sink::{ConsoleFormat, PrettyStyle};

/// Columns of a terminal that does not say.
const WIDTH: usize = 80;

/// Whether a stream is coloured: the flag, then CLICOLOR_FORCE, then `NO_COLOR`, then whether it is a terminal that can.
fn coloured(when: When, is_terminal: bool) -> bool {
    let set = |name: &str| machine::variable(name).is_some();
    let forced = machine::text("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto if forced => true,
        When::Auto => is_terminal && !set("NO_COLOR") && !is_dumb(),
    }
}

fn is_dumb() -> bool {
    machine::text("TERM").is_none_or(|term| term == "dumb")
}

/// Colours of standard error.
pub(super) fn error_colour(when: When) -> Colour {
    if coloured(when, std::io::stderr().is_terminal()) {
        Colour::Yes
    } else {
        Colour::No
    }
}

/// Colours of standard output.
pub(super) fn output_colour(when: When) -> Colour {
    if coloured(when, std::io::stdout().is_terminal()) {
        Colour::Yes
    } else {
        Colour::No
    }
}

/// How findings are shown (LINT-50): workflow commands by themselves where GitHub Actions runs this.
pub(super) fn finding_format(asked: Option<FormatArg>) -> Format {
    let on_github = || machine::text("GITHUB_ACTIONS").is_some_and(|value| value == "true");
    match asked {
        Some(format) => format.into(),
        None if on_github() => Format::Github,
        None => Format::Text,
    }
}

/// What standard output shows. Whoever asks for quiet and for no form gets the quiet one.
pub(super) fn console_format(format: LogFormat, quiet: bool) -> ConsoleFormat {
    match format {
        LogFormat::Pretty => ConsoleFormat::Pretty,
        LogFormat::Codebuild => ConsoleFormat::Codebuild,
        LogFormat::Json => ConsoleFormat::Json,
        LogFormat::Auto if quiet || std::io::stdout().is_terminal() => ConsoleFormat::Pretty,
        LogFormat::Auto => ConsoleFormat::Codebuild,
    }
}

/// How a terminal is used.
pub(super) fn pretty_style(
    when: When,
    quiet: bool,
    buildspec: String,
    place: String,
) -> PrettyStyle {
    let stdout = std::io::stdout();
    let is_terminal = stdout.is_terminal();
    let width = rustix::termios::tcgetwinsize(&stdout)
        .ok()
        .map(|size| usize::from(size.ws_col));
    PrettyStyle {
        colour: coloured(when, is_terminal),
        unicode: speaks_utf8(),
        progress: has_bars() && !quiet,
        width: width.filter(|width| *width > 0).unwrap_or(WIDTH),
        quiet,
        buildspec,
        place,
    }
}

/// Whether bars can be drawn on standard error.
pub(super) fn has_bars() -> bool {
    std::io::stderr().is_terminal() && !is_dumb()
}

/// Whether the locale's characters are UTF-8; without a locale, most terminals today show it all the same.
pub(super) fn speaks_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(machine::text);
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// The terminal of whoever can type at it and see what it shows; none if standard input or standard output is something
/// else. Inside of a runtime.
pub(super) fn interactive() -> Option<Terminal> {
    let both = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    both.then(|| Terminal::open(machine::text("TERM")).ok())
        .flatten()
}
