//! An AppSpec for a function of Lambda: the alias whose traffic moves, and the versions it moves between.
//!
//! AWS's own pages write the keys in capitals and in small letters, so both are taken.

use super::{described, error, is_template, missing, unknown_hook, unknown_key, warning};
use crate::buildspec::yaml::{Entry, Node, NodeKind};
use crate::diagnostic::{Diagnostic, Severity};
use crate::lint::deploy::fields::{entries, items, text};

const TOP: &[&str] = &["version", "Resources", "Hooks"];
const RESOURCE: &[&str] = &["Type", "Properties"];
const PROPERTIES: &[&str] = &["Name", "Alias", "CurrentVersion", "TargetVersion"];
const HOOKS: &[&str] = &["BeforeAllowTraffic", "AfterAllowTraffic"];

pub(super) fn check_top(root: &Node, found: &mut Vec<Diagnostic>) {
    only(root, "an AppSpec for a function", TOP, found);
    let Some(hooks) = find(root, "Hooks").map(|entry| &entry.value) else {
        return;
    };
    if !hooks.is_null() && !matches!(hooks.kind, NodeKind::Sequence(_)) {
        let message = "`Hooks` is a list of single entries: `- BeforeAllowTraffic: function`";
        found.push(warning(hooks.span, message));
    }
    for hook in items(hooks).iter().flat_map(entries) {
        if !HOOKS.contains(&hook.key.value.as_str()) {
            found.push(unknown_hook(hook, "a deployment of a function", HOOKS));
        }
    }
}

/// Checks the resource: what is below its name.
pub(super) fn check_resource(named: &Entry, found: &mut Vec<Diagnostic>) {
    let place = named.key.span;
    only(&named.value, "a resource", RESOURCE, found);
    let Some(properties) = find(&named.value, "Properties").map(|entry| &entry.value) else {
        found.push(missing(
            place,
            "a function",
            "Properties",
            entries(&named.value),
        ));
        return;
    };
    for key in PROPERTIES {
        match find(properties, key) {
            None => found.push(missing(place, "a function", key, entries(properties))),
            Some(entry) => check_property(entry, key, found),
        }
    }
    only(properties, "`Properties`", PROPERTIES, found);
    let version = |key| find(properties, key).and_then(|entry| text(&entry.value));
    if let (Some(current), Some(target)) =
        (version("CurrentVersion"), find(properties, "TargetVersion"))
        && text(&target.value) == Some(current)
        && is_version(current)
    {
        let message = format!("the traffic is at version {current} already, and stays there");
        found.push(error(target.value.span, message).with_severity(Severity::Info));
    }
}

fn check_property(entry: &Entry, key: &str, found: &mut Vec<Diagnostic>) {
    let value = &entry.value;
    let Some(written) = text(value).filter(|text| !text.trim().is_empty()) else {
        let message = format!("`{key}` is {}", described(value));
        found.push(error(entry.key.span, message));
        return;
    };
    // What looks like a variable and is none: the version that has no number.
    let open = is_template(written) && written != "$LATEST";
    if key.ends_with("Version") && !open && !is_version(written) {
        let message = format!("`{written}` is no version of a function");
        found.push(error(value.span, message).labelled("expected its number"));
    }
}

fn is_version(text: &str) -> bool {
    matches!(text.parse::<u64>(), Ok(1..))
}

/// The entry with this key in any casing.
fn find<'n>(node: &'n Node, key: &str) -> Option<&'n Entry> {
    let mut all = entries(node).iter();
    all.find(|entry| entry.key.value.eq_ignore_ascii_case(key))
}

fn only(node: &Node, of: &str, known: &[&str], found: &mut Vec<Diagnostic>) {
    for entry in entries(node) {
        let is_it = |key: &&str| key.eq_ignore_ascii_case(&entry.key.value);
        if !known.iter().any(is_it) {
            found.push(unknown_key(entry, of, known));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::messages;

    const GOOD: &str = "version: 0.0
Resources:
  - Prices:
      Type: AWS::Lambda::Function
      Properties:
        Name: prices
        Alias: live
        CurrentVersion: 1
        TargetVersion: '2'
Hooks:
  - BeforeAllowTraffic: check
";

    // LINT-69
    #[test]
    fn each_part_is_checked() {
        assert_eq!(messages("appspec.yml", GOOD), Vec::<String>::new());
        for (good, bad, expected) in [
            ("Alias: live", "alias: live", ""),
            (
                "        Alias: live\n",
                "",
                "3:5 error a function needs `Alias`",
            ),
            ("Name: prices", "Name:", "6:9 error `Name` is nothing"),
            (
                "'2'",
                "$LATEST",
                "9:24 error `$LATEST` is no version of a function",
            ),
            (
                "'2'",
                "live",
                "9:24 error `live` is no version of a function",
            ),
            ("'2'", "${NEW}", ""),
            (
                "'2'",
                "1",
                "9:24 info the traffic is at version 1 already, and stays there",
            ),
            (
                "Alias: live",
                "Alias: live\n        Memory: 1",
                "8:9 warning `Properties` has no key `Memory`",
            ),
            (
                "      Properties:",
                "      Property:",
                "3:5 error a function needs `Properties`",
            ),
            (
                "BeforeAllow",
                "AfterInstall",
                "11:5 warning a deployment of a function has no hook `AfterInstallTraffic`",
            ),
            (
                "- BeforeAllow",
                "  BeforeAllow",
                "11:5 warning `Hooks` is a list of single entries: `- BeforeAllowTraffic: function`",
            ),
            (
                "Hooks",
                "Hook",
                "10:1 warning an AppSpec for a function has no key `Hook`",
            ),
        ] {
            let text = GOOD.replacen(good, bad, 1);
            let mut found = messages("appspec.yml", &text);
            // A key that is not known stands before or behind what misses it.
            found.sort_by_key(|found| !found.starts_with(expected));
            let first = found.first().map(String::as_str).unwrap_or_default();
            assert_eq!(first, expected, "{text}");
        }
        let small = GOOD
            .to_lowercase()
            .replace("aws::lambda::function", "AWS::Lambda::Function");
        let small = small.replace("beforeallowtraffic", "BeforeAllowTraffic");
        assert_eq!(messages("appspec.yml", &small), Vec::<String>::new());
    }
}
