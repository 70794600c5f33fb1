//! Breakpoints of a debug session: what is told of them, and the shell at the build's own terminal (TOOL-33 to TOOL-35).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::drive::{Driver, LAST_WRITES, at};
use crate::event::{BreakpointLeft, BreakpointReached, EventKind, Warning};
use crate::exec::Terminal;
use crate::tool::{DebugSession, News, Visited};

/// How long what a command wrote before its breakpoint may take to be here: it comes another way.
const WRITTEN_BEFORE: Duration = Duration::from_millis(100);

/// A build's debug session, as the build sees it.
#[derive(Debug)]
pub struct Debugging {
    /// What knows who waits.
    pub session: DebugSession,
    /// What happens in it.
    pub news: mpsc::UnboundedReceiver<News>,
    /// Where a shell is shown by itself, if there is somebody to see it.
    pub terminal: Option<Terminal>,
}

/// Breakpoints of a build that goes on.
pub(super) struct Breakpoints {
    session: DebugSession,
    news: mpsc::UnboundedReceiver<News>,
    terminal: Option<Arc<Terminal>>,
    /// When each of those that wait was reached.
    reached: BTreeMap<u64, Instant>,
    /// Those that the terminal is for next, and when.
    next: VecDeque<(u64, Instant)>,
    visit: Option<Visit>,
    /// What is told when the terminal is the build's again.
    held: Vec<News>,
}

/// A shell at the terminal.
struct Visit {
    breakpoint: u64,
    begun: Instant,
    /// The build's time limit, which does not count meanwhile.
    deadline: Option<Instant>,
    task: JoinHandle<Result<Visited, String>>,
}

/// What there is to do.
pub(super) enum Happened {
    News(News),
    /// It is time for a shell at the terminal.
    Due(u64),
    /// The shell at the terminal is over.
    Visited(Result<Visited, String>),
}

impl Breakpoints {
    pub(super) fn new(debugging: Debugging) -> Self {
        Self {
            session: debugging.session,
            news: debugging.news,
            terminal: debugging.terminal.map(Arc::new),
            reached: BTreeMap::new(),
            next: VecDeque::new(),
            visit: None,
            held: Vec::new(),
        }
    }

    /// Takes the terminal from the shell: the build is to end.
    pub(super) fn hurry(&self) {
        if let Some(visit) = &self.visit {
            visit.task.abort();
        }
    }

    /// Whether the terminal is a shell's now: nothing else is shown there.
    pub(super) const fn has_terminal(&self) -> bool {
        self.visit.is_some()
    }

    /// What was told and not yet heard.
    pub(super) fn untold(&mut self) -> Option<News> {
        self.news.try_recv().ok()
    }

    /// May be dropped.
    async fn happens(&mut self) -> Happened {
        if let Some(visit) = &mut self.visit {
            return tokio::select! {
                Some(news) = self.news.recv() => Happened::News(news),
                visited = &mut visit.task => {
                    Happened::Visited(visited.unwrap_or_else(|error| Err(error.to_string())))
                }
            };
        }
        let next = self.next.front().copied();
        tokio::select! {
            Some(news) = self.news.recv() => Happened::News(news),
            () = at(next.map(|(_, due)| due)) => {
                self.next.pop_front();
                Happened::Due(next.map_or(0, |(breakpoint, _)| breakpoint))
            }
        }
    }
}

/// What happens next; never without a debug session. May be dropped.
pub(super) async fn happens(breakpoints: &mut Option<Breakpoints>) -> Happened {
    match breakpoints {
        Some(breakpoints) => breakpoints.happens().await,
        None => std::future::pending().await,
    }
}

impl Driver {
    pub(super) async fn at_breakpoint(&mut self, happened: Happened) {
        match happened {
            Happened::News(news) => self.tell_of_breakpoint(news),
            Happened::Due(breakpoint) => self.begin_visit(breakpoint).await,
            Happened::Visited(visited) => self.end_visit(visited),
        }
    }

    pub(super) fn tell_of_breakpoint(&mut self, news: News) {
        let Some(breakpoints) = &mut self.breakpoints else {
            return;
        };
        // A terminal that passes on every key shows lines otherwise.
        if breakpoints.visit.is_some() {
            breakpoints.held.push(news);
            return;
        }
        match news {
            News::Reached { number } => {
                let now = Instant::now();
                breakpoints.reached.insert(number, now);
                let at_terminal = breakpoints.terminal.is_some();
                if at_terminal {
                    breakpoints.next.push_back((number, now + WRITTEN_BEFORE));
                }
                let reached = BreakpointReached {
                    breakpoint: number,
                    build: breakpoints.session.short_name().to_owned(),
                    at_terminal,
                };
                self.record(EventKind::BreakpointReached(reached));
            }
            News::Left { number, resumed } => {
                let Some(reached) = breakpoints.reached.remove(&number) else {
                    // It was told when the place closed where it waited.
                    return;
                };
                breakpoints.next.retain(|(next, _)| *next != number);
                let left = BreakpointLeft {
                    breakpoint: number,
                    resumed,
                    duration: reached.elapsed(),
                };
                self.record(EventKind::BreakpointLeft(left));
            }
        }
    }

    /// Tells of what waited until all of the build's processes were ended, and was not yet heard of.
    pub(super) fn end_breakpoints(&mut self) {
        let waiting = self.breakpoints.as_ref();
        let waiting: Vec<u64> = waiting
            .map(|breakpoints| breakpoints.reached.keys().copied().collect())
            .unwrap_or_default();
        for number in waiting {
            let resumed = false;
            self.tell_of_breakpoint(News::Left { number, resumed });
        }
    }

    /// Gives the terminal to a shell. What a person looks at counts for no limit, and the log up to here comes first.
    async fn begin_visit(&mut self, breakpoint: u64) {
        self.recorder.settle(LAST_WRITES).await;
        let Some(breakpoints) = &mut self.breakpoints else {
            return;
        };
        let Some(terminal) = breakpoints.terminal.clone() else {
            return;
        };
        let session = breakpoints.session.clone();
        let task = tokio::spawn(async move { session.visit(breakpoint, &terminal).await });
        breakpoints.visit = Some(Visit {
            breakpoint,
            begun: Instant::now(),
            deadline: self.deadline.take(),
            task,
        });
    }

    /// Takes the terminal back. Whoever leaves the shell lets the command go on (TOOL-34).
    fn end_visit(&mut self, visited: Result<Visited, String>) {
        let Some(breakpoints) = &mut self.breakpoints else {
            return;
        };
        let Some(visit) = breakpoints.visit.take() else {
            return;
        };
        if let (Some(deadline), false) = (visit.deadline, self.hurried) {
            self.deadline = deadline.checked_add(visit.begun.elapsed());
        }
        let why = match visited {
            Ok(Visited::Ended(_)) => {
                breakpoints.session.let_one_go(visit.breakpoint);
                None
            }
            Ok(Visited::Over) => None,
            Ok(Visited::Refused(why)) | Err(why) => Some(why),
        };
        let elsewhere = breakpoints.session.short_name().to_owned();
        for news in std::mem::take(&mut breakpoints.held) {
            self.tell_of_breakpoint(news);
        }
        let waits = self
            .breakpoints
            .as_ref()
            .is_some_and(|breakpoints| breakpoints.reached.contains_key(&visit.breakpoint));
        // It waits, and somebody has to be able to let it go.
        if let (Some(why), true, false) = (why, waits, self.hurried) {
            let warning = Warning::new(format!("there is no shell at the breakpoint: {why}"));
            let help = format!(
                "the command waits; try `runner shell {elsewhere}` in another terminal, or end the build with Ctrl-C"
            );
            self.record(EventKind::Warning(warning.with_help(help)));
        }
    }
}

impl Drop for Breakpoints {
    /// Gives the terminal back where a build is left at once.
    fn drop(&mut self) {
        self.hurry();
    }
}
