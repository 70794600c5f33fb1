//! "Did you mean": the nearest of the names that would have been right.

/// The candidate nearest to what was written, if it is near enough to be a slip of the hand: at most a third of the
/// letters differ, upper and lower case and `-` against `_` not counted.
#[must_use]
pub fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let fold = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let folded = fold(written);
    let length = folded.chars().count();
    candidates
        .into_iter()
        // So many letters differ at least, and to count them all takes far longer.
        .filter(|candidate| {
            let other = candidate.chars().count();
            other.abs_diff(length) * 3 <= other.max(3)
        })
        .map(|candidate| (strsim::osa_distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, candidate)| distance * 3 <= candidate.chars().count().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The one candidate that was certainly meant: only its case or its hyphens differ, or one letter of a name of four or more.
#[must_use]
pub fn slip<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let fold = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let folded = fold(written);
    let mut meant = candidates.into_iter().filter(|candidate| {
        let distance = strsim::osa_distance(&folded, &fold(candidate));
        distance == 0 || (distance == 1 && candidate.len() > 3)
    });
    meant.next().filter(|_| meant.next().is_none())
}

/// Whether two texts differ by one letter: one more or less, another one, or two that changed places.
#[must_use]
pub fn is_one_off(one: &str, other: &str) -> bool {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    let front: usize = same.map(|(letter, _)| letter.len_utf8()).sum();
    let (one, other) = (&one[front..], &other[front..]);
    let (mut a, mut b) = (one.chars(), other.chars());
    let (first, first_other) = (a.next(), b.next());
    let (rest, rest_other) = (a.as_str(), b.as_str());
    match (first, first_other) {
        (None, None) => false,
        _ if one == rest_other || rest == other || rest == rest_other => true,
        (Some(first), Some(first_other)) => {
            a.next() == Some(first_other) && b.next() == Some(first) && a.as_str() == b.as_str()
        }
        _ => false,
    }
}

/// Names as a phrase: `` `a`, `b` or `c` ``.
#[must_use]
pub fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slip_of_the_hand_is_recognised_and_another_word_is_not() {
        let keys = ["commands", "finally", "on-failure", "run-as"];
        let table = [
            ("command", Some("commands")),
            ("comands", Some("commands")),
            ("on_failure", Some("on-failure")),
            ("RunAs", Some("run-as")),
            ("finaly", Some("finally")),
            ("labels", None),
            ("env", None),
        ];
        for (written, expected) in table {
            assert_eq!(nearest(written, keys), expected, "{written}");
        }
    }

    #[test]
    fn only_one_letter_is_certain() {
        let keys = ["commands", "finally", "key", "paths", "bath"];
        let table = [
            ("Commands", Some("commands")),
            ("command", Some("commands")),
            ("path", None),
            ("keys", None),
            ("comand", None),
            ("fianlly", Some("finally")),
        ];
        for (written, expected) in table {
            assert_eq!(slip(written, keys), expected, "{written}");
        }
    }

    proptest! {
        #[test]
        fn one_letter_is_counted_as_any_other_way(one in "[abé]{0,4}", other in "[abé]{0,4}") {
            prop_assert_eq!(is_one_off(&one, &other), strsim::osa_distance(&one, &other) == 1);
        }
    }

    #[test]
    fn names_read_as_a_phrase() {
        assert_eq!(one_of(&["a"]), "`a`");
        assert_eq!(one_of(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
