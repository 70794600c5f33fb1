//! The way of an event to the sinks: redacted, numbered, stamped, handed over.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::{Sink, report};
use crate::event::{Event, EventKind, stamp};
use crate::redact::{Hider, Redactor, Secrets};

/// Events that wait for the sinks; a build waits when there are more.
const QUEUE: usize = 64;

/// Bytes of output that wait for the sinks at most, where nobody waits with them (LOG-19).
const ROOM: usize = 4 * 1024 * 1024;

/// A sink that could not write.
#[derive(Debug)]
pub struct SinkFailure {
    /// What it is.
    pub sink: String,
    /// Why.
    pub error: io::Error,
}

/// How far the sinks have come.
#[derive(Debug, Default)]
struct Progress {
    events: AtomicU64,
    /// Bytes of output in those events.
    bytes: AtomicU64,
    /// The sink that is writing, counted from 1; 0 if none is.
    writing: AtomicUsize,
}

/// Makes events of what happens and hands them to the sinks.
pub struct Recorder {
    secrets: Secrets,
    /// Has more of them now and then.
    hider: Hider,
    listener: Option<fn(Secrets)>,
    output: Redactor,
    /// The beginning of a character whose rest is in the next chunk, so that text is never cut inside one.
    half: Vec<u8>,
    sequence: u64,
    /// Events that the queue has no room for yet.
    pending: VecDeque<Event>,
    /// Bytes of output among them.
    waiting: usize,
    /// Bytes of output in all events.
    recorded: u64,
    /// Bytes of output that became no event.
    dropped: u64,
    /// Whether output that finds no room is dropped.
    impatient: bool,
    /// `None` when the last event was handed over.
    queue: Option<mpsc::Sender<Event>>,
    names: Vec<String>,
    progress: Arc<Progress>,
    failures: oneshot::Receiver<Vec<SinkFailure>>,
    closed: watch::Receiver<bool>,
}

impl Recorder {
    /// Starts the thread that the sinks live on.
    #[must_use]
    pub fn start(sinks: Vec<Box<dyn Sink>>, secrets: Secrets) -> Self {
        let (queue, events) = mpsc::channel(QUEUE);
        let (report, failures) = oneshot::channel();
        let (close, closed) = watch::channel(false);
        let names = sinks.iter().map(|sink| sink.name()).collect();
        let progress = Arc::new(Progress::default());
        let theirs = Arc::clone(&progress);
        thread::spawn(move || {
            let _ = report.send(feed(sinks, events, &close, &theirs));
        });
        Self {
            output: Redactor::new(secrets.clone()),
            half: Vec::new(),
            secrets,
            hider: Hider::default(),
            listener: None,
            sequence: 0,
            pending: VecDeque::new(),
            waiting: 0,
            recorded: 0,
            dropped: 0,
            impatient: false,
            queue: Some(queue),
            names,
            progress,
            failures,
            closed,
        }
    }

    /// Tells somebody what is hidden whenever that becomes more.
    pub fn tell(&mut self, listener: fn(Secrets)) {
        self.listener = Some(listener);
    }

    /// Hides what is handed in there too, from the moment on in which it is.
    pub fn heed(&mut self, hider: Hider) {
        self.hider = hider;
    }

    fn hear(&mut self) {
        let values = self.hider.take();
        if !values.is_empty() {
            self.hide(values);
        }
    }

    /// Hides more values from now on, in output as in texts.
    pub fn hide<T: Into<Vec<u8>>>(&mut self, values: impl IntoIterator<Item = T>) {
        let mut held = std::mem::take(&mut self.half);
        held.extend(self.output.flush());
        self.secrets = self.secrets.and(values);
        if let Some(listener) = self.listener {
            listener(self.secrets.clone());
        }
        self.output = Redactor::new(self.secrets.clone());
        if !held.is_empty() {
            self.push(EventKind::Output { bytes: held });
        }
    }

    /// What is hidden, for whoever writes files of its own.
    #[must_use]
    pub const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// What is hidden by now.
    #[must_use]
    pub fn hidden_by_now(&mut self) -> Secrets {
        self.hear();
        self.secrets.clone()
    }

    /// Whether a text gives a secret away, and does not only happen to have its letters (ENV-43).
    #[must_use]
    pub fn gives_away(&self, text: &str) -> bool {
        self.secrets.are_given_away_by(text)
    }

    /// Becomes true when whoever read the output has gone away.
    #[must_use]
    pub fn closed(&self) -> watch::Receiver<bool> {
        self.closed.clone()
    }

    /// Records what happened, and gives back the event as it is seen. Output that was held back, because it could be
    /// the beginning of a secret, comes first. Never waits: see [`Self::drain`].
    pub fn record(&mut self, kind: EventKind) -> Event {
        self.hear();
        let mut held = std::mem::take(&mut self.half);
        held.extend(self.output.flush());
        if !held.is_empty() {
            self.push(EventKind::Output { bytes: held });
        }
        let kind = self.redacted(kind);
        let event = self.push(kind).clone();
        self.hand_over();
        event
    }

    /// Records output of the build. Never waits.
    pub fn output(&mut self, bytes: Vec<u8>) {
        self.hear();
        // Once output is missing, all that follows is: what comes after a gap may be the end of a secret.
        if self.dropped > 0 || (self.impatient && self.waiting >= ROOM) {
            self.output = Redactor::new(self.secrets.clone());
            self.dropped += (bytes.len() + self.half.len()) as u64;
            self.half.clear();
            return;
        }
        let mut bytes = self.output.push(bytes);
        if !self.half.is_empty() {
            let mut whole = std::mem::take(&mut self.half);
            whole.append(&mut bytes);
            bytes = whole;
        }
        self.half = bytes.split_off(bytes.len() - half_a_character(&bytes));
        if !bytes.is_empty() {
            self.push(EventKind::Output { bytes });
            self.hand_over();
        }
    }

    /// Whether the sinks have taken everything, or have room for it. If not, whoever makes output should wait.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether output is taken although the sinks are behind.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.impatient || self.waiting < ROOM
    }

    /// From now on, output that finds no room is dropped and counted.
    pub fn lose_patience(&mut self) {
        self.impatient = true;
    }

    /// Waits until the sinks have room. May be dropped and called again.
    pub async fn drain(&mut self) {
        while let (Some(queue), false) = (&self.queue, self.pending.is_empty()) {
            match queue.reserve().await {
                Ok(permit) => {
                    if let Some(event) = self.pending.pop_front() {
                        self.waiting -= output_bytes(&event);
                        permit.send(event);
                    }
                }
                // The sinks' thread is gone: it panicked.
                Err(_) => self.pending.clear(),
            }
        }
    }

    /// Waits until the sinks have written what was recorded, but no longer than `limit`, and goes on after that.
    pub async fn settle(&mut self, limit: Duration) {
        let written = async {
            self.drain().await;
            while self.progress.events.load(Ordering::Acquire) < self.sequence {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(limit, written).await;
    }

    /// Waits until the sinks have written everything, but no longer than `limit`. Returns those that could not.
    pub async fn finish(mut self, limit: impl Future<Output = ()>) -> Vec<SinkFailure> {
        let (mut failures, written) = tokio::select! {
            failures = self.all_written() => (failures, true),
            () = limit => (Vec::new(), false),
        };
        failures.extend(self.unwritten(written));
        failures
    }

    async fn all_written(&mut self) -> Vec<SinkFailure> {
        self.drain().await;
        self.queue = None;
        let gone = || SinkFailure {
            sink: "the log".to_owned(),
            error: io::Error::other("its thread panicked"),
        };
        (&mut self.failures).await.unwrap_or_else(|_| vec![gone()])
    }

    /// What nobody took (LOG-19).
    fn unwritten(&self, all_written: bool) -> Option<SinkFailure> {
        let of = |number: u64, what: &str| match number {
            0 => None,
            1 => Some(format!("1 {what}")),
            _ => Some(format!("{number} {what}s")),
        };
        let (mut events, mut bytes) = (0, self.dropped);
        if !all_written {
            events = self.sequence - self.progress.events.load(Ordering::Acquire);
            bytes += self.recorded - self.progress.bytes.load(Ordering::Acquire);
        }
        let mut missing: Vec<String> = of(events, "event")
            .into_iter()
            .chain(of(bytes, "byte").map(|bytes| format!("{bytes} of output")))
            .collect();
        if missing.is_empty() {
            if all_written {
                return None;
            }
            // Every event was taken, but not what the sink itself held back.
            missing.push("the last of it".to_owned());
        }
        let name = (self.progress.writing.load(Ordering::Acquire).checked_sub(1))
            .and_then(|sink| self.names.get(sink))
            .map_or("the log", String::as_str);
        let mut message = format!("nobody took {} in time", missing.join(" with "));
        if self.names.len() > 1 {
            message.push_str(", and they are missing in the other logs too");
        }
        Some(SinkFailure {
            sink: name.to_owned(),
            error: io::Error::other(message),
        })
    }

    fn push(&mut self, kind: EventKind) -> &Event {
        let event = Event {
            sequence: self.sequence,
            time: stamp(),
            kind,
        };
        self.sequence += 1;
        let bytes = output_bytes(&event);
        self.waiting += bytes;
        self.recorded += bytes as u64;
        self.pending.push_back(event);
        self.pending
            .back()
            .expect("invariant: it was just put there")
    }

    fn hand_over(&mut self) {
        let Some(queue) = &self.queue else { return };
        while let (Some(_), Ok(permit)) = (self.pending.front(), queue.try_reserve()) {
            if let Some(event) = self.pending.pop_front() {
                self.waiting -= output_bytes(&event);
                permit.send(event);
            }
        }
    }

    /// The same event without secrets: every text in it that comes from the build.
    fn redacted(&self, kind: EventKind) -> EventKind {
        if self.secrets.is_empty() {
            return kind;
        }
        let text = |text: String| self.secrets.redact(&text);
        match kind {
            EventKind::SourceReady(mut source) => {
                source.directory = text(source.directory);
                EventKind::SourceReady(source)
            }
            EventKind::BuildspecFound { location } => EventKind::BuildspecFound {
                location: text(location),
            },
            EventKind::CommandStarted(mut command) => {
                command.text = text(command.text);
                EventKind::CommandStarted(command)
            }
            EventKind::PhaseFinished {
                phase,
                status,
                aborted,
                mut contexts,
                duration,
            } => {
                for context in &mut contexts {
                    context.message = self.secrets.redact(&context.message);
                    context.help = context.help.take().map(|help| self.secrets.redact(&help));
                }
                EventKind::PhaseFinished {
                    phase,
                    status,
                    aborted,
                    contexts,
                    duration,
                }
            }
            EventKind::ArtifactSelected(mut selected) => {
                selected.base_directory = text(selected.base_directory);
                for directory in &mut selected.directories {
                    directory.directory = self.secrets.redact(&directory.directory);
                    for (pattern, _) in &mut directory.patterns {
                        *pattern = self.secrets.redact(pattern);
                    }
                }
                EventKind::ArtifactSelected(selected)
            }
            EventKind::ArtifactFileStored {
                identifier,
                path,
                location,
                bytes,
                sha256,
            } => EventKind::ArtifactFileStored {
                identifier,
                path: text(path),
                location: text(location),
                bytes,
                sha256,
            },
            EventKind::ArtifactStored(mut stored) => {
                stored.location = text(stored.location);
                EventKind::ArtifactStored(stored)
            }
            EventKind::Cache(event) => EventKind::Cache(super::cache::map(event, text)),
            EventKind::RuntimeChosen(choice) => EventKind::RuntimeChosen(choice.map(text)),
            EventKind::ReportSelected(selected) => {
                EventKind::ReportSelected(report::selected(selected, text))
            }
            EventKind::ReportCollected(collected) => {
                EventKind::ReportCollected(report::collected(collected, text))
            }
            EventKind::ReportsWritten(mut written) => {
                written.directory = text(written.directory);
                EventKind::ReportsWritten(written)
            }
            // Whoever goes on with them needs them as they are; what gives a secret away is not among them (ENV-43).
            EventKind::ExportedVariables(variables) => EventKind::ExportedVariables(variables),
            EventKind::Warning(mut warning) => {
                warning.message = text(warning.message);
                warning.help = warning.help.map(|help| self.secrets.redact(&help));
                EventKind::Warning(warning)
            }
            EventKind::BuildStarted(mut started) => {
                started.build_id = text(started.build_id);
                started.project = text(started.project);
                EventKind::BuildStarted(started)
            }
            EventKind::BuildspecRead(mut read) => {
                read.shell = text(read.shell);
                for (section, keys) in &mut read.unrecognized {
                    *section = self.secrets.redact(section);
                    for key in keys {
                        *key = self.secrets.redact(key);
                    }
                }
                EventKind::BuildspecRead(read)
            }
            EventKind::ReportsDiscovered {
                pattern,
                files,
                duration,
            } => EventKind::ReportsDiscovered {
                pattern: text(pattern),
                files,
                duration,
            },
            kind @ (EventKind::PhaseStarted { .. }
            | EventKind::RuntimesSkipped
            | EventKind::Output { .. }
            | EventKind::CommandFinished { .. }
            | EventKind::ArtifactProgress(_)
            | EventKind::Retried(_)
            | EventKind::BreakpointReached(_)
            | EventKind::BreakpointLeft(_)
            | EventKind::StopRequested { .. }
            | EventKind::BuildFinished { .. }) => kind,
        }
    }
}

fn output_bytes(event: &Event) -> usize {
    match &event.kind {
        EventKind::Output { bytes } => bytes.len(),
        _ => 0,
    }
}

/// How many bytes at the end are the beginning of a character that is not complete.
fn half_a_character(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    let Some(lead) = tail.iter().rposition(|byte| *byte >= 0xc0) else {
        return 0;
    };
    let length = match tail[lead] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    let there = tail.len() - lead;
    if there < length { there } else { 0 }
}

/// The sinks' thread: every event to every sink that still works.
fn feed(
    sinks: Vec<Box<dyn Sink>>,
    mut events: mpsc::Receiver<Event>,
    close: &watch::Sender<bool>,
    progress: &Progress,
) -> Vec<SinkFailure> {
    let mut working: Vec<(usize, Box<dyn Sink>)> = (1..).zip(sinks).collect();
    let mut failures = Vec::new();
    let mut attempt = |sink: &mut Box<dyn Sink>, result: io::Result<()>| match result {
        Ok(()) => true,
        Err(error) => {
            // A reader that goes away is no failure of ours; like any program with a closed pipe, the build ends.
            if error.kind() == io::ErrorKind::BrokenPipe {
                let _ = close.send(true);
            } else {
                failures.push(SinkFailure {
                    sink: sink.name(),
                    error,
                });
            }
            false
        }
    };
    while let Some(event) = events.blocking_recv() {
        working.retain_mut(|(number, sink)| {
            progress.writing.store(*number, Ordering::Release);
            let result = sink.event(&event);
            attempt(sink, result)
        });
        progress.writing.store(0, Ordering::Release);
        let bytes = output_bytes(&event) as u64;
        progress.bytes.fetch_add(bytes, Ordering::AcqRel);
        progress.events.fetch_add(1, Ordering::AcqRel);
    }
    for (number, sink) in &mut working {
        progress.writing.store(*number, Ordering::Release);
        let result = sink.finish();
        attempt(sink, result);
    }
    progress.writing.store(0, Ordering::Release);
    failures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Collected;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    fn outputs(chunks: &[&[u8]], secrets: &[&str]) -> Vec<Vec<u8>> {
        let collected = Collected::default();
        let events = collected.events();
        let secrets = Secrets::new(secrets.iter().map(|secret| secret.as_bytes().to_vec()));
        runtime().block_on(async {
            let mut recorder = Recorder::start(vec![Box::new(collected)], secrets);
            for chunk in chunks {
                recorder.output(chunk.to_vec());
            }
            recorder.record(EventKind::PhaseStarted {
                phase: crate::phase::Phase::Build,
            });
            assert!(recorder.finish(std::future::pending()).await.is_empty());
        });
        let events = events.lock().unwrap();
        let bytes = events.iter().filter_map(|event| match &event.kind {
            EventKind::Output { bytes } => Some(bytes.clone()),
            _ => None,
        });
        bytes.collect()
    }

    // LOG-24: a bug's last words come from elsewhere, and what was fetched is hidden there too.
    #[tokio::test]
    async fn whoever_wants_to_know_is_told_what_is_hidden() {
        static TOLD: std::sync::Mutex<Option<Secrets>> = std::sync::Mutex::new(None);
        let mut recorder = Recorder::start(Vec::new(), Secrets::default());
        recorder.tell(|secrets| *TOLD.lock().unwrap() = Some(secrets));
        recorder.hide(["fetched-meanwhile"]);
        let told = TOLD.lock().unwrap().clone().unwrap();
        assert_eq!(told.redact("a fetched-meanwhile b"), "a *** b");
    }

    #[test]
    fn characters_and_secrets_are_not_cut() {
        let e = "é".as_bytes();
        assert_eq!(
            outputs(&[b"a", &e[..1], &e[1..], b"b"], &[]),
            [&b"a"[..], e, b"b"]
        );
        assert_eq!(
            outputs(&[&[0xff], &[0xe2, 0x82]], &[]),
            [&[0xff][..], &[0xe2, 0x82]]
        );
        assert_eq!(
            outputs(&[b"s3c", b"r3t", b"!"], &["s3cr3t"]),
            [&b"***"[..], b"!"]
        );
    }

    struct Failing(io::ErrorKind);

    impl Sink for Failing {
        fn event(&mut self, _event: &Event) -> io::Result<()> {
            Err(self.0.into())
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn name(&self) -> String {
            "a full disk".to_owned()
        }
    }

    #[test]
    fn a_sink_that_fails_is_reported_and_the_others_go_on() {
        let collected = Collected::default();
        let events = collected.events();
        let failures = runtime().block_on(async {
            let sinks: Vec<Box<dyn Sink>> = vec![
                Box::new(Failing(io::ErrorKind::StorageFull)),
                Box::new(collected),
            ];
            let mut recorder = Recorder::start(sinks, Secrets::default());
            for _ in 0..3 {
                recorder.record(EventKind::PhaseStarted {
                    phase: crate::phase::Phase::Build,
                });
            }
            recorder.finish(std::future::pending()).await
        });
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].sink, "a full disk");
        assert_eq!(events.lock().unwrap().len(), 3);
    }

    #[test]
    fn a_reader_that_goes_away_is_noticed_and_is_no_failure() {
        runtime().block_on(async {
            let sinks: Vec<Box<dyn Sink>> = vec![Box::new(Failing(io::ErrorKind::BrokenPipe))];
            let mut recorder = Recorder::start(sinks, Secrets::default());
            let mut closed = recorder.closed();
            recorder.record(EventKind::PhaseStarted {
                phase: crate::phase::Phase::Build,
            });
            closed.wait_for(|closed| *closed).await.unwrap();
            assert!(recorder.finish(std::future::pending()).await.is_empty());
        });
    }

    /// A reader that never reads.
    struct Stalled(std::sync::mpsc::Receiver<()>);

    impl Sink for Stalled {
        fn event(&mut self, _event: &Event) -> io::Result<()> {
            let _ = self.0.recv();
            Ok(())
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn name(&self) -> String {
            "a stalled reader".to_owned()
        }
    }

    #[test]
    fn what_nobody_takes_is_counted() {
        let (go_on, stalled) = std::sync::mpsc::channel();
        let megabyte = vec![b'x'; 1024 * 1024];
        let failures = runtime().block_on(async {
            let sinks: Vec<Box<dyn Sink>> = vec![Box::new(Stalled(stalled))];
            let mut recorder = Recorder::start(sinks, Secrets::default());
            recorder.output(b"x".to_vec());
            while recorder.progress.writing.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
            // Until the queue is full, and one event more.
            while recorder.is_drained() {
                recorder.output(b"x".to_vec());
            }
            let before = recorder.sequence;
            recorder.lose_patience();
            for _ in 0..10 {
                recorder.output(megabyte.clone());
            }
            assert_eq!(recorder.sequence, before + 4);
            assert_eq!(recorder.dropped, 6 * 1024 * 1024);
            recorder.finish(std::future::ready(())).await
        });
        drop(go_on);
        let failure = &failures[0];
        assert_eq!(failure.sink, "a stalled reader");
        let expected = format!(
            "nobody took {} events with {} bytes of output in time",
            QUEUE + 2 + 4,
            10 * 1024 * 1024 + QUEUE + 2
        );
        assert_eq!(failure.error.to_string(), expected);
    }
}
