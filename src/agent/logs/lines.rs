//! The lines of CodeBuild's log out of a build's events, as log events of CloudWatch Logs (AGENT-61, AGENT-62).

use std::time::{Duration, SystemTime};

use super::route::Chosen;
use super::ship::Translate;
use crate::event::stamp;
use crate::sink::{CodebuildLog, Sink as _, log_line, read_event};

/// Most bytes of one log event, with what the service counts for it. It takes more by now; whatever reads logs elsewhere
/// may not.
pub const LARGEST_EVENT: usize = 256 * 1024;

/// Bytes that the service counts for a log event besides its text.
pub const PER_EVENT: usize = 26;

/// Longest text of a log event.
const LONGEST_TEXT: usize = LARGEST_EVENT - PER_EVENT;

/// How old a log event may be. The service takes none that is older than 14 days; a day is left to clocks and queues.
const OLDEST: Duration = Duration::from_hours(13 * 24);

/// What the log of a build says that has no end.
const CUT_SHORT: &str = "runner: this log ends here, as the build's process was killed or could not write on: what it wrote last may be missing";

/// One event of a log stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// Milliseconds since 1970.
    pub time: i64,
    /// The text, with the end of its line if it has one.
    pub message: String,
}

impl LogEvent {
    /// Bytes that the service counts for it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.message.len() + PER_EVENT
    }
}

/// Makes log events of events.
pub struct LogLines {
    log: CodebuildLog<Vec<u8>>,
    /// What of the log was made into log events, as a place in what is written.
    taken: usize,
    /// When the event happened that was fed last.
    now: i64,
    /// When the line began that has no end yet.
    began: Option<i64>,
    /// No log event is before this one: the service wants them in order, and a log is read in the order in which it was
    /// written, though a clock was put back.
    last: i64,
    is_over: bool,
    route: Chosen,
    /// Whether the build began and did not end, as far as is known.
    is_running: bool,
}

impl Default for LogLines {
    fn default() -> Self {
        Self::new(Chosen::default())
    }
}

impl LogLines {
    /// Those of a build; which way they go is learnt from its events.
    #[must_use]
    pub fn new(route: Chosen) -> Self {
        Self {
            route,
            log: CodebuildLog::new(Vec::new(), "CloudWatch Logs"),
            taken: 0,
            now: 0,
            began: None,
            last: 0,
            is_over: false,
            is_running: false,
        }
    }

    fn written(&mut self) -> &[u8] {
        &self.log.writer()[self.taken..]
    }

    /// Where the next log event ends in what is written: at the end of a line, or where no more fits.
    fn end_of_next(&mut self) -> Option<usize> {
        let is_over = self.is_over;
        let written = self.written();
        let window = &written[..written.len().min(LONGEST_TEXT)];
        if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
            return Some(end + 1);
        }
        if written.len() > LONGEST_TEXT {
            return Some(boundary(written, LONGEST_TEXT));
        }
        (is_over && !written.is_empty()).then_some(written.len())
    }
}

/// The last place up to `most` at which no character is cut.
fn boundary(bytes: &[u8], most: usize) -> usize {
    let is_inside = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let mut at = most;
    // No character is longer than four bytes: what looks longer is none.
    while at > most.saturating_sub(4) && is_inside(at) {
        at -= 1;
    }
    if is_inside(at) { most } else { at }
}

/// Bytes as text. What is no UTF-8 has marks in its place, three bytes for one.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where in a line the name of the event stands at the latest.
const NAME_WITHIN: usize = 128;

/// Whether a line is an event of this name, without a look at the rest of it.
pub(super) fn is_event(line: &[u8], name: &str) -> bool {
    let field = format!("\"event\":\"{name}\"");
    let head = &line[..line.len().min(NAME_WITHIN)];
    head.windows(field.len())
        .any(|window| window == field.as_bytes())
}

/// Milliseconds since 1970.
pub(super) fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

impl Translate for LogLines {
    type Item = LogEvent;

    fn feed(&mut self, line: &[u8]) -> Result<(), String> {
        // What is given out goes, so that no more than one event's worth is held.
        let taken = std::mem::take(&mut self.taken);
        self.log.writer().drain(..taken);
        self.is_running |= is_event(line, "build-started");
        self.is_running &= !is_event(line, "build-finished");
        let Some(event) = read_event(line)? else {
            return Ok(());
        };
        if self.log.writer().is_empty() {
            self.began = None;
        } else {
            self.began = self.began.or(Some(self.now));
        }
        self.route.learn(&event.kind);
        self.now = milliseconds(event.time);
        self.log.event(&event).map_err(|error| error.to_string())
    }

    fn next(&mut self) -> Option<LogEvent> {
        let mut end = self.end_of_next()?;
        let mut message = text(&self.written()[..end]);
        if message.len() > LONGEST_TEXT {
            end = boundary(self.written(), LONGEST_TEXT / '\u{fffd}'.len_utf8());
            message = text(&self.written()[..end]);
        }
        self.taken += end;
        // A line is as old as its beginning.
        let began = self.began.take().unwrap_or(self.now);
        self.last = self.last.max(began);
        Some(LogEvent {
            time: self.last,
            message,
        })
    }

    fn end(&mut self) {
        // Into memory: that cannot fail.
        let _ = self.log.finish();
        if self.is_running {
            // Nobody knows how much it had still to write.
            let time = SystemTime::UNIX_EPOCH
                + Duration::from_millis(u64::try_from(self.now).unwrap_or_default());
            let line = log_line(time, CUT_SHORT);
            self.log.writer().extend(line.as_bytes());
        }
        self.is_over = true;
        self.route.end();
    }

    fn gap(&mut self, next: Option<&LogEvent>, lost: u64, why: &str) -> Option<LogEvent> {
        let now = stamp();
        let earliest = milliseconds(now - OLDEST);
        let time = next.map_or(milliseconds(now), |next| next.time.max(earliest));
        let what = if lost == 1 {
            "1 line of this log is missing here".to_owned()
        } else {
            format!("{lost} lines of this log are missing here")
        };
        let message = log_line(now, &format!("runner: {what}: {why}"));
        Some(LogEvent { time, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All log events of these lines of JSON.
    fn events(lines: &[&str]) -> Vec<LogEvent> {
        let mut log = LogLines::default();
        let mut found = Vec::new();
        for line in lines {
            log.feed(line.as_bytes()).unwrap();
            found.extend(std::iter::from_fn(|| log.next()));
        }
        log.end();
        found.extend(std::iter::from_fn(|| log.next()));
        found
    }

    fn output(second: u32, text: &str) -> String {
        let text = serde_json::Value::from(text);
        format!(
            r#"{{"sequence":1,"time":"1970-01-01T00:00:{second:02}.000000Z","event":"output","text":{text}}}"#
        )
    }

    fn told(lines: &[String]) -> Vec<(i64, String)> {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let events = events(&lines);
        events
            .into_iter()
            .map(|one| (one.time, one.message))
            .collect()
    }

    #[test]
    fn a_line_is_one_event_with_its_end_and_the_time_of_its_beginning() {
        let told = told(&[
            output(1, "one\n\ntw"),
            output(2, "o\n"),
            output(3, "th"),
            output(4, "re"),
            output(5, "e\nfour"),
        ]);
        let expected = [
            (1000, "one\n"),
            (1000, "\n"),
            (1000, "two\n"),
            (3000, "three\n"),
            (5000, "four\n"),
        ];
        assert_eq!(told, expected.map(|(time, text)| (time, text.to_owned())));
    }

    #[test]
    fn a_clock_that_is_put_back_does_not_change_the_order() {
        let told = told(&[output(9, "a\n"), output(3, "b\n"), output(10, "c\n")]);
        let times: Vec<i64> = told.iter().map(|(time, _)| *time).collect();
        assert_eq!(times, [9000, 9000, 10_000]);
    }

    #[test]
    fn lines_of_the_agent_are_codebuilds() {
        let lines = [
            r#"{"sequence":0,"time":"2025-05-06T09:10:11.102030Z","event":"phase-started","phase":"BUILD"}"#,
            r#"{"sequence":1,"time":"2025-05-06T09:10:11.102030Z","event":"command-started","phase":"BUILD","list":"commands","index":0,"command":"a\nb","line":1,"column":1}"#,
            r#"{"sequence":2,"time":"2025-05-06T09:10:12.000000Z","event":"command-finished","exitStatus":1,"signal":null,"durationSeconds":0.1,"leftProcesses":false}"#,
            r#"{"sequence":3,"time":"2025-05-06T09:10:12.000000Z","event":"of-another-time"}"#,
        ];
        let texts: Vec<String> = events(&lines).into_iter().map(|one| one.message).collect();
        let stamp = "[Container] 2025/05/06 09:10:11.102030";
        let later = "[Container] 2025/05/06 09:10:12.000000";
        assert_eq!(
            texts,
            [
                format!("{stamp} Entering phase BUILD\n"),
                format!("{stamp} Running command a\n"),
                "b\n".to_owned(),
                "\n".to_owned(),
                format!("{later} Command did not exit successfully a\n"),
                "b exit status 1\n".to_owned(),
            ]
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        // Characters of two and of four bytes, at every place that the limit can fall on.
        for (start, character) in [
            ("", 'ä'),
            ("x", 'ä'),
            ("", '🦀'),
            ("x", '🦀'),
            ("xx", '🦀'),
            ("xxx", '🦀'),
        ] {
            let line: String = start
                .chars()
                .chain(std::iter::repeat_n(character, 200_000))
                .collect();
            let told = told(&[output(1, &line), output(2, "\n")]);
            assert!(told.len() > 1);
            let joined: String = told.iter().map(|(_, text)| text.as_str()).collect();
            assert!(joined == format!("{line}\n"));
            for (_, text) in &told {
                assert!(text.len() <= LONGEST_TEXT);
                assert!(!text.contains('\u{fffd}'));
            }
        }
    }

    #[test]
    fn what_is_no_utf_8_is_marked_and_stays_within_the_limit() {
        use base64::Engine as _;
        let bytes = vec![0xff; LONGEST_TEXT + 10];
        let base64 = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let line = format!(
            r#"{{"sequence":1,"time":"1970-01-01T00:00:01Z","event":"output","base64":"{base64}"}}"#
        );
        let events = events(&[&line]);
        assert!(events.iter().all(|one| one.size() <= LARGEST_EVENT));
        let marks: usize = events.iter().map(|one| one.message.chars().count()).sum();
        assert_eq!(marks, bytes.len() + "\n".len());
    }
}
