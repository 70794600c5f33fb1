//! An AppSpec for machines (EC2, or one's own): the files that the agent on them copies, and the scripts that it runs.

use std::path::Path;

use super::{described, error, is_template, top_of, unknown_key, unknown_keys, unlike, warning};
use crate::buildspec::yaml::{Entry, Node, NodeKind};
use crate::diagnostic::{Diagnostic, nearest, one_of};
use crate::lint::deploy::fields::{entries, entry, field, items, text};
use crate::source::SourceText;

const TOP: &[&str] = &[
    "version",
    "os",
    "files",
    "file_exists_behavior",
    "permissions",
    "hooks",
];
const SYSTEMS: &[&str] = &["linux", "windows"];
const BEHAVIORS: &[&str] = &["DISALLOW", "OVERWRITE", "RETAIN"];
const FILE: &[&str] = &["source", "destination"];
const PERMISSION: &[&str] = &[
    "object", "pattern", "except", "owner", "group", "mode", "acls", "context", "type",
];
const OBJECTS: &[&str] = &["file", "directory"];
const SCRIPT: &[&str] = &["location", "timeout", "runas", "sudo"];
const HOOKS: &[&str] = &[
    "ApplicationStop",
    "BeforeInstall",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
    "BeforeBlockTraffic",
    "AfterBlockTraffic",
    "BeforeAllowTraffic",
    "AfterAllowTraffic",
];
/// Most seconds that all scripts of one event have together.
const MAX_SECONDS: u64 = 3600;

/// A deployment to machines: it copies files and runs scripts, and knows nothing of resources.
pub(super) fn is_meant(root: &Node) -> bool {
    let copies = ["os", "files", "permissions"]
        .iter()
        .any(|key| field(root, key).is_some());
    let runs = field(root, "hooks").is_some_and(|hooks| !entries(hooks).is_empty());
    copies || runs && super::resources(root).is_none()
}

pub(super) fn check(source: &SourceText, root: &Node, found: &mut Vec<Diagnostic>) {
    let system = check_system(root, found);
    check_name(source, root, system, found);
    check_top(root, found);
    if let Some(behavior) = field(root, "file_exists_behavior") {
        check_word(behavior, "file_exists_behavior", BEHAVIORS, found);
    }
    for file in list(root, "files", found) {
        check_file(file, system, found);
    }
    match entry(root, "permissions") {
        Some(permissions) if system == Some("windows") => {
            let message = "machines with Windows have no `permissions`, and the deployment fails";
            found.push(error(permissions.key.span, message));
        }
        _ => {
            for permission in list(root, "permissions", found) {
                check_permission(permission, found);
            }
        }
    }
    check_hooks(root, found);
}

/// The system, if it is one that CodeDeploy knows.
fn check_system<'r>(root: &'r Node, found: &mut Vec<Diagnostic>) -> Option<&'r str> {
    let Some(system) = field(root, "os") else {
        found.push(
            error(top_of(root), "an AppSpec for machines needs `os`")
                .with_help("write `os: linux` or `os: windows`"),
        );
        return None;
    };
    check_word(system, "os", SYSTEMS, found);
    text(system).filter(|system| SYSTEMS.contains(system))
}

/// The agent looks for one name, and on Linux another casing is another name.
fn check_name(source: &SourceText, root: &Node, system: Option<&str>, found: &mut Vec<Diagnostic>) {
    let name = Path::new(source.name()).file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    let right = name.to_lowercase();
    if system == Some("linux") && name != right && right.starts_with("appspec.") {
        let message = format!("CodeDeploy looks for `appspec.yml`, and does not find `{name}`");
        let help = format!("name the file `{right}`");
        found.push(warning(top_of(root), message).with_help(help));
    }
}

/// What belongs to the top; an event that stands there has slipped out of `hooks`.
fn check_top(root: &Node, found: &mut Vec<Diagnostic>) {
    for entry in entries(root) {
        let name = entry.key.value.as_str();
        if HOOKS.contains(&name) {
            let message = format!("the scripts of `{name}` do not run: it belongs below `hooks`");
            found.push(warning(entry.key.span, message));
        } else if !TOP.contains(&name) {
            found.push(unknown_key(entry, "an AppSpec for machines", TOP));
        }
    }
}

/// The items of a list at the top; anything else there is said, unless nothing is in it.
fn list<'r>(root: &'r Node, key: &str, found: &mut Vec<Diagnostic>) -> &'r [Node] {
    match field(root, key) {
        Some(node) => {
            if !entries(node).is_empty() || text(node).is_some() {
                found.push(unlike(node, key, "a list"));
            }
            items(node)
        }
        None => &[],
    }
}

fn check_word(value: &Node, key: &str, known: &[&str], found: &mut Vec<Diagnostic>) {
    let written = text(value).unwrap_or_default();
    if known.contains(&written) || is_template(written) {
        return;
    }
    let not = match text(value).map(str::trim) {
        Some(text) if !text.is_empty() => format!("`{text}`"),
        _ => described(value).to_owned(),
    };
    let message = format!("`{key}` is {}, not {not}", one_of(known));
    let mut diagnostic = error(value.span, message);
    diagnostic.help =
        nearest(written, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
    found.push(diagnostic);
}

/// Says which of these keys an item does not have, or has without a text. The item may be no mapping at all.
fn need(item: &Node, of: &str, keys: &[&str], found: &mut Vec<Diagnostic>) {
    for key in keys {
        match entry(item, key) {
            None => {
                let place = entries(item)
                    .first()
                    .map_or(item.span, |first| first.key.span);
                found.push(error(place, format!("{of} needs `{key}`")));
                // What is no mapping has none of them, which is one mistake.
                if entries(item).is_empty() {
                    return;
                }
            }
            Some(entry) if text(&entry.value).is_none_or(|text| text.trim().is_empty()) => {
                let message = format!("`{key}` is {}", described(&entry.value));
                found.push(error(entry.key.span, message));
            }
            Some(_) => {}
        }
    }
}

fn check_file(file: &Node, system: Option<&str>, found: &mut Vec<Diagnostic>) {
    need(file, "a file", FILE, found);
    for entry in entries(file) {
        if !FILE.contains(&entry.key.value.as_str()) {
            let mut unknown = unknown_key(entry, "a file", FILE);
            if entry.key.value == "overwrite" {
                unknown.help = Some(
                    "for all files, write `file_exists_behavior: OVERWRITE` at the top level"
                        .to_owned(),
                );
            }
            found.push(unknown);
        }
    }
    if let Some(destination) = field(file, "destination")
        && let Some(written) = text(destination).filter(|text| !text.trim().is_empty())
        && system == Some("linux")
        && !written.starts_with('/')
        && !is_template(written)
    {
        let message = format!(
            "`{written}` is no path from the root, so where it leads is the agent's business"
        );
        found.push(warning(destination.span, message));
    }
}

fn check_permission(permission: &Node, found: &mut Vec<Diagnostic>) {
    need(permission, "a permission", &["object"], found);
    unknown_keys(permission, "a permission", PERMISSION, found);
    if let Some(mode) = field(permission, "mode") {
        check_mode(mode, found);
    }
    match field(permission, "type") {
        None => {}
        Some(kinds) if matches!(kinds.kind, NodeKind::Sequence(_)) => {
            for kind in items(kinds) {
                check_word(kind, "type", OBJECTS, found);
            }
        }
        Some(kinds) if kinds.is_null() => {}
        Some(kinds) => found.push(unlike(kinds, "type", "a list")),
    }
}

/// A mode is up to four octal digits. The agent reads YAML 1.1, where a number that begins with 0 is octal already: it takes
/// `0644` for 420.
fn check_mode(mode: &Node, found: &mut Vec<Diagnostic>) {
    let Some(written) = text(mode).filter(|text| !is_template(text)) else {
        return;
    };
    let is_mode =
        |text: &str| text.len() <= 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    let plain = matches!(&mode.kind, NodeKind::Scalar(scalar) if scalar.plain);
    let meant = written.trim_start_matches('0');
    if !is_mode(written) {
        let message = format!("`{written}` is no mode");
        found.push(error(mode.span, message).labelled("expected up to four octal digits"));
    } else if plain && meant.len() < written.len() && !meant.is_empty() {
        let taken = u32::from_str_radix(meant, 8)
            .unwrap_or_default()
            .to_string();
        let message = format!("to CodeDeploy this is the number {taken}, not the mode {meant}");
        let diagnostic = if is_mode(&taken) {
            warning(mode.span, message)
        } else {
            error(mode.span, message)
        };
        let edit = (mode.span, meant.to_owned());
        found.push(diagnostic.with_fix(format!("write `{meant}`"), [edit]));
    }
}

fn check_hooks(root: &Node, found: &mut Vec<Diagnostic>) {
    let Some(hooks) = field(root, "hooks").filter(|hooks| !hooks.is_null()) else {
        return;
    };
    if !matches!(hooks.kind, NodeKind::Mapping(_)) {
        found.push(unlike(hooks, "hooks", "a mapping of events to scripts"));
        return;
    }
    for event in entries(hooks) {
        let name = event.key.value.as_str();
        if !HOOKS.contains(&name) {
            found.push(super::unknown_hook(
                event,
                "a deployment to machines",
                HOOKS,
            ));
        }
        check_scripts(event, found);
    }
}

fn check_scripts(event: &Entry, found: &mut Vec<Diagnostic>) {
    let name = event.key.value.as_str();
    if event.value.is_null() {
        let message = format!("`{name}` has no scripts, and the agent fails over that");
        found.push(error(event.key.span, message));
        return;
    }
    if !matches!(event.value.kind, NodeKind::Sequence(_)) {
        found.push(unlike(&event.value, name, "a list of scripts"));
        return;
    }
    let mut seconds = 0;
    for script in items(&event.value) {
        need(script, "a script", &["location"], found);
        unknown_keys(script, "a script", SCRIPT, found);
        if let Some(timeout) = field(script, "timeout") {
            let before = seconds;
            seconds += check_timeout(timeout, found);
            if before <= MAX_SECONDS && seconds > MAX_SECONDS {
                let message =
                    format!("the scripts of `{name}` have {MAX_SECONDS} seconds together");
                let diagnostic = warning(timeout.span, message);
                found.push(diagnostic.labelled(format!("with this one it is {seconds}")));
            }
        }
    }
}

/// The seconds that a script has. The agent takes the digits that a text begins with.
fn check_timeout(timeout: &Node, found: &mut Vec<Diagnostic>) -> u64 {
    let Some(written) = text(timeout).filter(|text| !is_template(text)) else {
        return 0;
    };
    let digits = written.len()
        - written
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .len();
    let seconds: u64 = written[..digits].parse().unwrap_or_default();
    if seconds == 0 {
        let message = format!("`{written}` is no number of seconds");
        found.push(error(timeout.span, message).labelled("expected a whole number above 0"));
    } else if digits < written.len() {
        let message = format!("CodeDeploy takes this for the number {seconds}, in seconds");
        found.push(warning(timeout.span, message));
    }
    seconds
}

#[cfg(test)]
mod tests {
    use super::super::tests::messages;

    const GOOD: &str = "version: 0.0
os: linux
files:
  - source: /
    destination: /srv/shop
file_exists_behavior: OVERWRITE
permissions:
  - object: /srv/shop
    mode: 750
    type:
      - directory
hooks:
  AfterInstall:
    - location: start.sh
      timeout: 60
      runas: root
    - location: check.sh
      timeout: 3540
";

    // LINT-68
    #[test]
    fn each_part_is_checked() {
        assert_eq!(messages("appspec.yml", GOOD), Vec::<String>::new());
        for (good, bad, expected) in [
            (
                "os: linux\n",
                "",
                "1:1 error an AppSpec for machines needs `os`",
            ),
            (
                "linux",
                "Linux",
                "2:5 error `os` is `linux` or `windows`, not `Linux`",
            ),
            (
                "linux",
                "windows",
                "7:1 error machines with Windows have no `permissions`, and the deployment fails",
            ),
            (
                "files:\n  -",
                "files:\n   ",
                "4:5 error `files` is a list, and this is a mapping",
            ),
            (
                "    destination: /srv/shop\n",
                "",
                "4:5 error a file needs `destination`",
            ),
            ("source: /", "source:", "4:5 error `source` is nothing"),
            (
                "- source: /\n    destination: /srv/shop",
                "- /srv",
                "4:5 error a file needs `source`",
            ),
            (
                "destination: /srv",
                "destination: srv",
                "5:18 warning `srv/shop` is no path from the root, so where it leads is the agent's business",
            ),
            (
                "OVERWRITE",
                "overwrite",
                "6:23 error `file_exists_behavior` is `DISALLOW`, `OVERWRITE` or `RETAIN`, not `overwrite`",
            ),
            ("object", "path", "8:5 error a permission needs `object`"),
            ("750", "798", "9:11 error `798` is no mode"),
            ("750", "'0750'", ""),
            (
                "750",
                "0750",
                "9:11 error to CodeDeploy this is the number 488, not the mode 750",
            ),
            (
                "750",
                "0644",
                "9:11 warning to CodeDeploy this is the number 420, not the mode 644",
            ),
            (
                "- directory",
                "- link",
                "11:9 error `type` is `file` or `directory`, not `link`",
            ),
            (
                "\n      - directory",
                " directory",
                "10:11 error `type` is a list, and this is a single value",
            ),
            (
                "AfterInstall",
                "Install",
                "13:3 warning a deployment to machines has no hook `Install`",
            ),
            (
                "location: start",
                "file: start",
                "14:7 error a script needs `location`",
            ),
            ("60", "0", "15:16 error `0` is no number of seconds"),
            (
                "60",
                "1m",
                "15:16 warning CodeDeploy takes this for the number 1, in seconds",
            ),
            (
                "60",
                "61",
                "18:16 warning the scripts of `AfterInstall` have 3600 seconds together",
            ),
            ("runas", "user", "16:7 warning a script has no key `user`"),
        ] {
            let text = GOOD.replacen(good, bad, 1);
            let found = messages("appspec.yml", &text);
            let first = found.first().map(String::as_str).unwrap_or_default();
            assert_eq!(first, expected, "{text}");
        }
    }

    // LINT-68
    #[test]
    fn scripts_are_lists_below_events() {
        for (hooks, expected) in [
            ("hooks:\n", ""),
            (
                "hooks: [a]\n",
                "3:8 error `hooks` is a mapping of events to scripts, and this is a list",
            ),
            (
                "hooks:\n  AfterInstall:\n",
                "4:3 error `AfterInstall` has no scripts, and the agent fails over that",
            ),
            (
                "hooks:\n  AfterInstall: a.sh\n",
                "4:17 error `AfterInstall` is a list of scripts, and this is a single value",
            ),
            (
                "AfterInstall:\n  - location: a.sh\n",
                "3:1 warning the scripts of `AfterInstall` do not run: it belongs below `hooks`",
            ),
        ] {
            let text = format!("version: 0.0\nos: linux\n{hooks}");
            let found = messages("appspec.yml", &text);
            assert_eq!(found.join("\n"), expected, "{text}");
        }
        // Nothing but hooks is no deployment of resources.
        let text = "version: 0.0\nhooks:\n  AfterInstall:\n    - location: a.sh\n";
        let found = messages("appspec.yml", text);
        assert_eq!(found, ["1:1 error an AppSpec for machines needs `os`"]);
    }

    // LINT-43, LINT-68
    #[test]
    fn another_casing_is_another_name_on_linux() {
        let found = messages("a/AppSpec.yml", GOOD);
        assert_eq!(
            found,
            ["1:1 warning CodeDeploy looks for `appspec.yml`, and does not find `AppSpec.yml`"]
        );
        let text = "version: 0.0\nos: windows\n";
        assert_eq!(messages("AppSpec.yml", text), Vec::<String>::new());
    }
}
