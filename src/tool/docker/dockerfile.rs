//! What a Dockerfile says about images it needs: whose registry wants credentials.

use std::collections::{BTreeMap, BTreeSet};

use crate::registry::ecr::Registry;
use crate::tool::request::Build;

/// Notes in a request what its Dockerfile says of images and registries.
pub(in crate::tool) fn note(text: &[u8], build: &mut Build) {
    build.bases = bases(text, &build.arguments);
    let values = build.arguments.values().flatten().map(String::as_str);
    let text = String::from_utf8_lossy(text);
    let found: BTreeSet<String> = std::iter::once(&*text)
        .chain(values)
        .flat_map(Registry::mentioned)
        .map(|registry| registry.host().to_owned())
        .collect();
    build.registries = found.into_iter().collect();
}

/// Images that a build starts from or copies from, with arguments filled in. What cannot be told is left out: the engine
/// then asks its registry without credentials, and says if those are missing.
fn bases(text: &[u8], given: &BTreeMap<String, Option<String>>) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let mut arguments: BTreeMap<String, String> = BTreeMap::new();
    let mut stages: BTreeSet<String> = BTreeSet::new();
    let mut found = BTreeSet::new();
    for line in instructions(&text) {
        let mut words = line.split_whitespace();
        let instruction = words.next().unwrap_or_default().to_ascii_uppercase();
        let image = match instruction.as_str() {
            "ARG" if stages.is_empty() && found.is_empty() => {
                for word in words {
                    let (name, default) = word.split_once('=').unwrap_or((word, ""));
                    let value = given.get(name).cloned().flatten();
                    let value =
                        value.unwrap_or_else(|| default.trim_matches(['"', '\'']).to_owned());
                    arguments.insert(name.to_owned(), value);
                }
                None
            }
            "FROM" => {
                let words: Vec<&str> = words.filter(|word| !word.starts_with("--")).collect();
                let image = words.first().and_then(|image| filled(image, &arguments));
                let known = image
                    .as_ref()
                    .is_some_and(|image| stages.contains(&image.to_lowercase()));
                if let [_, is_as, name] = words[..]
                    && is_as.eq_ignore_ascii_case("as")
                {
                    stages.insert(name.to_lowercase());
                }
                image.filter(|_| !known)
            }
            "COPY" => words
                .take_while(|word| word.starts_with("--"))
                .find_map(|word| word.strip_prefix("--from="))
                .filter(|from| {
                    !stages.contains(&from.to_lowercase()) && from.parse::<u32>().is_err()
                })
                .map(str::to_owned),
            _ => None,
        };
        found.extend(image.filter(|image| image != "scratch" && !image.is_empty()));
    }
    found.into_iter().collect()
}

/// Lines with those that `\` continues, without comments.
fn instructions(text: &str) -> Vec<String> {
    let mut whole = vec![String::new()];
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
    {
        let (part, goes_on) = match line.strip_suffix(['\\', '`']) {
            Some(part) => (part, true),
            None => (line, false),
        };
        if let Some(last) = whole.last_mut() {
            last.push_str(part);
        }
        if !goes_on {
            whole.push(String::new());
        }
    }
    whole
}

/// A word with `$NAME`, `${NAME}` and `${NAME:-default}` filled in, if that is possible.
fn filled(word: &str, arguments: &BTreeMap<String, String>) -> Option<String> {
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, behind)) = rest.split_once('$') {
        text.push_str(before);
        let (name, default, after) = if let Some(braced) = behind.strip_prefix('{') {
            let (inside, after) = braced.split_once('}')?;
            let (name, default) = inside
                .split_once(":-")
                .map_or((inside, None), |(name, default)| (name, Some(default)));
            (name, default, after)
        } else {
            let is_name = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
            let end = behind.find(|sign| !is_name(sign)).unwrap_or(behind.len());
            (&behind[..end], None, &behind[end..])
        };
        let value = arguments
            .get(name)
            .filter(|value| !value.is_empty())
            .map(String::as_str)
            .or(default)?;
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_found_wherever_they_are_named() {
        let host = |n: u32| format!("{n:012}.dkr.ecr.us-east-1.amazonaws.com");
        let text = format!(
            "ARG TAG\nFROM {}/a:$TAG\nCOPY --from={}/b / /\n",
            host(1),
            host(2)
        );
        let mut build = Build {
            arguments: [("BASE".to_owned(), Some(format!("{}/c", host(3))))].into(),
            ..Build::default()
        };
        note(text.as_bytes(), &mut build);
        assert_eq!(build.registries, [host(1), host(2), host(3)]);
        assert_eq!(build.bases, [format!("{}/b", host(2))]);
    }

    #[test]
    fn images_that_a_dockerfile_needs() {
        let table = [
            ("FROM a:1\nRUN x", "a:1"),
            (
                "# FROM x\nfrom --platform=linux/amd64 a as one\nFROM one\nCOPY --from=one /x /\nCOPY --chown=1 --from=b:2 /y /",
                "a b:2",
            ),
            ("FROM scratch\nCOPY --from=0 / /", ""),
            (
                "ARG R=r.example\nARG T\nFROM $R/a:${T:-3}\nFROM ${R}/b:${GIVEN}",
                "r.example/a:3",
            ),
            ("ARG GIVEN=x\nFROM \\\n  # between\n  a:$GIVEN", "a:y"),
            ("", ""),
        ];
        let given = BTreeMap::from([("GIVEN".to_owned(), Some("y".to_owned()))]);
        for (text, images) in table {
            assert_eq!(bases(text.as_bytes(), &given).join(" "), images, "{text}");
        }
    }
}
