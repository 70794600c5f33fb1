//! Durations and sizes as people write and read them: one syntax everywhere (CLI-7).

use std::fmt::Write as _;
use std::time::Duration;

/// Why a text is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Nothing that looks like numbers with units.
    #[error("expected a number with a unit, such as {0}")]
    Shape(&'static str),
    /// A number without a unit: seconds or minutes, bytes or mebibytes? Nobody can know.
    #[error("`{0}` lacks a unit: write {1}")]
    NoUnit(String, &'static str),
    /// A unit that is none.
    #[error("unknown unit `{0}`: expected {1}")]
    Unit(String, &'static str),
    /// More than can be represented.
    #[error("the value is too large")]
    TooLarge,
}

const DURATION_EXAMPLE: &str = "`90s`, `10m` or `1h30m`";
const SIZE_EXAMPLE: &str = "`512MiB` or `2GiB`";

/// Reads a duration: whole numbers with `ms`, `s`, `m`, `h` or `d`, one or several, the largest first.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(UnitError::Shape(DURATION_EXAMPLE));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, unit, tail) = part(rest).ok_or(UnitError::Shape(DURATION_EXAMPLE))?;
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return Err(UnitError::NoUnit(text.to_owned(), DURATION_EXAMPLE)),
            other => {
                return Err(UnitError::Unit(
                    other.to_owned(),
                    "`ms`, `s`, `m`, `h` or `d`",
                ));
            }
        };
        let added = number
            .checked_mul(milliseconds)
            .ok_or(UnitError::TooLarge)?;
        total = total
            .checked_add(Duration::from_millis(added))
            .ok_or(UnitError::TooLarge)?;
        rest = tail;
    }
    Ok(total)
}

/// Reads a size in bytes: a whole number with `B`, `KiB`, `MiB`, `GiB`, `TiB`, or `KB`, `MB`, `GB`, `TB`.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, unit, tail) = part(text.trim()).ok_or(UnitError::Shape(SIZE_EXAMPLE))?;
    if !tail.is_empty() {
        return Err(UnitError::Shape(SIZE_EXAMPLE));
    }
    let factor: u64 = match unit {
        "B" => 1,
        "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "TiB" => 1 << 40,
        "" => return Err(UnitError::NoUnit(text.to_owned(), SIZE_EXAMPLE)),
        other => {
            return Err(UnitError::Unit(
                other.to_owned(),
                "`B`, `KiB`, `MiB`, `GiB`, `TiB`",
            ));
        }
    };
    number.checked_mul(factor).ok_or(UnitError::TooLarge)
}

/// Splits `12ab34` into 12, `ab` and `34`.
fn part(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let number = text[..digits].parse().unwrap_or(u64::MAX);
    let rest = &text[digits..];
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let unknown = letters == 0 && !rest.is_empty();
    (!unknown).then(|| (number, &rest[..letters], &rest[letters..]))
}

/// A duration for a reader: `320ms`, `4.2s`, `3m05s`, `2h10m`.
#[must_use]
pub fn render_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let mut text = String::new();
    let _ = match seconds {
        0 => write!(text, "{}ms", duration.as_millis()),
        1..60 => write!(text, "{seconds}.{}s", duration.subsec_millis() / 100),
        60..3600 => write!(text, "{}m{:02}s", seconds / 60, seconds % 60),
        _ => write!(text, "{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    };
    text
}

/// A duration as it is written on the command line: `60m`, `1h30m`, `10s`.
#[must_use]
pub fn write_duration(duration: Duration) -> String {
    let mut text = String::new();
    let milliseconds = duration.as_millis();
    let mut rest = milliseconds;
    for (unit, size) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ] {
        if rest >= size {
            let _ = write!(text, "{}{unit}", rest / size);
            rest %= size;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// A size for a reader: `812 B`, `4.2 KiB`, `1.0 GiB`.
#[must_use]
pub fn render_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for next in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths = (tenths + 512) / 1024;
        unit = next;
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Bytes in lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, milliseconds) in [
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("2d", 172_800_000),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "10",
            "10x",
            "1.5h",
            "-3s",
            "10 m",
            "99999999999999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_duration("10").unwrap_err().to_string(),
            "`10` lacks a unit: write `90s`, `10m` or `1h30m`"
        );
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("512B", 512),
            ("2KiB", 2048),
            ("2KB", 2000),
            ("2GiB", 2_147_483_648),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "10", "10Q", "1GiB2", "99999999TiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn both_are_readable() {
        for (milliseconds, text) in [
            (0, "0ms"),
            (320, "320ms"),
            (4_250, "4.2s"),
            (185_000, "3m05s"),
            (7_800_000, "2h10m"),
        ] {
            assert_eq!(render_duration(Duration::from_millis(milliseconds)), text);
        }
        for (milliseconds, text) in [
            (0, "0s"),
            (3_600_000, "1h"),
            (5_400_000, "1h30m"),
            (10_000, "10s"),
            (1_500, "1s500ms"),
        ] {
            assert_eq!(write_duration(Duration::from_millis(milliseconds)), text);
        }
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (4300, "4.2 KiB"),
            (1 << 30, "1.0 GiB"),
            (1_048_575, "1.0 MiB"),
        ] {
            assert_eq!(render_size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for milliseconds in [1, 999, 1000, 61_001, 90_061_001] {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(&write_duration(duration)), Ok(duration));
        }
    }
}
