//! Where events go.
//!
//! A [`Sink`] is a fold over the event stream that shows it: on the console, in a log file, as JSON. All sinks of a
//! build live on one thread of their own, fed by the [`Recorder`] through a bounded channel: whoever reads the output
//! slowly slows the build down, but never keeps it from hearing a signal or its time limit.

mod cache;
mod codebuild;
mod console;
mod failure;
mod json;
mod pretty;
mod read;
mod recorder;
mod report;

pub use codebuild::{CodebuildLog, log_line};
pub use console::{Console, ConsoleFormat, render_warning};
pub use json::{JsonLines, event_json};
pub use pretty::{Pretty, PrettyStyle};
pub use read::read_event;
pub use recorder::{Recorder, SinkFailure};

use std::io;

use crate::event::{Event, EventKind};

/// Shows or keeps events.
pub trait Sink: Send {
    /// Takes one event. After an error the sink hears no more: its failure is reported at the end of the build, and
    /// does not change how the build ends (LOG-16).
    fn event(&mut self, event: &Event) -> io::Result<()>;

    /// The stream is over: what was held back is written.
    fn finish(&mut self) -> io::Result<()>;

    /// What it is, for a message about its failure.
    fn name(&self) -> String;
}

/// Hands everything on but what commands write.
#[derive(Debug)]
pub struct WithoutOutput<S>(pub S);

impl<S: Sink> Sink for WithoutOutput<S> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match event.kind {
            EventKind::Output { .. } => Ok(()),
            _ => self.0.event(event),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.finish()
    }

    fn name(&self) -> String {
        self.0.name()
    }
}

/// Keeps every event, for tests.
#[derive(Debug, Default)]
pub struct Collected {
    events: std::sync::Arc<std::sync::Mutex<Vec<Event>>>,
}

impl Collected {
    /// The list that the events appear in.
    #[must_use]
    pub fn events(&self) -> std::sync::Arc<std::sync::Mutex<Vec<Event>>> {
        std::sync::Arc::clone(&self.events)
    }
}

impl Sink for Collected {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        if let Ok(mut events) = self.events.lock() {
            events.push(event.clone());
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn name(&self) -> String {
        "collected events".to_owned()
    }
}
