//! Numbers and times as test tools write them (REP-5).

use std::time::Duration;

/// Seconds with a fraction. Thousands may be set off: `1,234.5` is 1234.5, and `0,25` a quarter. `None` for what is no time.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let text = text.strip_suffix('s').unwrap_or(text).trim_end();
    let seconds: f64 = plain(text)?.parse().ok()?;
    duration(seconds)
}

/// A number of units of which there are `per_second`.
pub(super) fn units(text: &str, per_second: f64) -> Option<Duration> {
    let number: f64 = plain(text.trim())?.parse().ok()?;
    duration(number / per_second)
}

/// Times that go back, or are no numbers, tell nothing; years on end are cut.
fn duration(seconds: f64) -> Option<Duration> {
    const LONGEST: f64 = 1e9;
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST)))
}

/// A number without the marks that set off thousands, and with a point before its fraction.
fn plain(text: &str) -> Option<String> {
    let known = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '+' | 'e' | 'E');
    if text.is_empty() || text.len() > 64 || !text.chars().all(known) {
        return None;
    }
    let (commas, points) = (text.matches(',').count(), text.matches('.').count());
    let last = text.rfind([',', '.']);
    let fraction = match (commas, points, last) {
        (0, 0 | 1, _) => return Some(text.to_owned()),
        // Both: what comes last is before the fraction.
        (1.., 1.., Some(at)) => Some(at).filter(|_| {
            let mark = if text[at..].starts_with('.') {
                points
            } else {
                commas
            };
            mark == 1
        }),
        // One comma with three digits behind it sets off thousands, unless nothing stands before it.
        (1, 0, Some(at)) => {
            let thousands = text.len() - at == 4 && !matches!(&text[..at], "" | "0" | "-" | "-0");
            (!thousands).then_some(at)
        }
        _ => None,
    };
    let digits = |part: &str| part.replace([',', '.'], "");
    Some(match fraction {
        Some(at) => format!("{}.{}", digits(&text[..at]), digits(&text[at + 1..])),
        None => digits(text),
    })
}

/// `hh:mm:ss.fffffff`, with days before it where there are any: `1.02:03:04.5`.
pub(super) fn clock(text: &str) -> Option<Duration> {
    let mut parts = text.trim().rsplit(':');
    let mut total: f64 = parts.next()?.parse().ok()?;
    let minutes: u32 = parts.next()?.parse().ok()?;
    total += f64::from(minutes) * 60.0;
    if let Some(hours) = parts.next() {
        let (days, hours) = hours.split_once('.').unwrap_or(("0", hours));
        let (days, hours): (u32, u32) = (days.parse().ok()?, hours.parse().ok()?);
        total += f64::from(days) * 86400.0 + f64::from(hours) * 3600.0;
    }
    if parts.next().is_some() {
        return None;
    }
    duration(total)
}

/// A count; what is no number counts nothing. Some tools write `12.0`.
pub(super) fn count(text: Option<&str>) -> Option<u64> {
    let text = text?.trim();
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    // More digits than a number has are more than can be counted.
    if whole.len() > 1 && whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(whole.parse().unwrap_or(u64::MAX));
    }
    whole.parse().ok()
}

/// `true` in one of its spellings.
pub(super) fn is_true(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_however_they_are_written() {
        let table = [
            ("1.5", Some(1.5)),
            ("0", Some(0.0)),
            (" 2 ", Some(2.0)),
            ("1,234.5", Some(1234.5)),
            ("1,234,567.25", Some(1_234_567.25)),
            ("1.234,5", Some(1234.5)),
            ("1,234", Some(1234.0)),
            ("0,234", Some(0.234)),
            ("12,5", Some(12.5)),
            ("1,234,567", Some(1_234_567.0)),
            ("3.4e-05", Some(0.000_034)),
            ("2.5s", Some(2.5)),
            ("-1", None),
            ("", None),
            ("NaN", None),
            ("inf", None),
            ("fast", None),
            ("1e400", Some(1e9)),
            ("1.2.3", Some(123.0)),
        ];
        for (text, expected) in table {
            assert_eq!(
                seconds(text),
                expected.map(Duration::from_secs_f64),
                "{text}"
            );
        }
    }

    #[test]
    fn clocks_are_read() {
        let table = [
            ("00:00:01.5000000", Some(1.5)),
            ("01:02:03", Some(3723.0)),
            ("1.00:00:00", Some(86400.0)),
            ("02:03.5", Some(123.5)),
            ("5", None),
            ("1:2:3:4", None),
            ("a:b:c", None),
            ("-1:00:00", None),
        ];
        for (text, expected) in table {
            assert_eq!(clock(text), expected.map(Duration::from_secs_f64), "{text}");
        }
    }

    #[test]
    fn counts_are_read() {
        let table = [
            (Some("3"), Some(3)),
            (Some("12.0"), Some(12)),
            (Some("99999999999999999999999"), Some(u64::MAX)),
            (Some("-1"), None),
            (Some("x"), None),
            (Some(""), None),
            (None, None),
        ];
        for (text, expected) in table {
            assert_eq!(count(text), expected, "{text:?}");
        }
    }
}
