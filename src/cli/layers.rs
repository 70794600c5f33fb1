//! How the layers of an image are shown on standard error while they move (IMG-26, IMG-27).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::When;
use super::{complain, terminal};
use crate::diagnostic::Colour;
use crate::registry::{Layer, LayerState, Progress};
use crate::units::{render_duration, render_size};

/// Columns of the word that each line begins with, as cargo has them.
const WORD: usize = 12;

/// Frames a second of bars: enough to look alive.
const FRAMES: u8 = 15;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing but trouble.
    Quiet,
    /// A line for each change.
    Lines,
    /// A bar for each layer on its way; what is done becomes a line above them.
    Bars,
}

/// Shows images that move.
pub(super) struct Layers {
    mode: Mode,
    colour: bool,
    unicode: bool,
    bars: MultiProgress,
    shown: HashMap<String, Shown>,
    started: Instant,
    /// Bytes that moved, and layers that were there already, of the image at hand.
    moved: u64,
    known: usize,
}

/// A layer as it was shown last.
struct Shown {
    state: LayerState,
    total: u64,
    bar: Option<ProgressBar>,
}

#[derive(Clone, Copy)]
enum Paint {
    Done,
    Going,
    Trouble,
}

impl Layers {
    /// Shows them as the terminal and the caller want it.
    pub(super) fn new(colour: When, quiet: bool) -> Self {
        let mode = match (quiet, terminal::has_bars()) {
            (true, _) => Mode::Quiet,
            (false, true) => Mode::Bars,
            (false, false) => Mode::Lines,
        };
        let target = match mode {
            Mode::Bars => ProgressDrawTarget::stderr_with_hz(FRAMES),
            Mode::Quiet | Mode::Lines => ProgressDrawTarget::hidden(),
        };
        Self {
            mode,
            colour: terminal::error_colour(colour) == Colour::Yes,
            unicode: terminal::speaks_utf8(),
            bars: MultiProgress::with_draw_target(target),
            shown: HashMap::new(),
            started: Instant::now(),
            moved: 0,
            known: 0,
        }
    }

    /// An image begins to move.
    pub(super) fn begin(&mut self, word: &str, image: &str) {
        self.clear();
        self.started = Instant::now();
        (self.moved, self.known) = (0, 0);
        self.line(Paint::Going, word, image);
    }

    /// It is there.
    pub(super) fn end(&mut self, word: &str, image: &str) {
        let layers = self.shown.len();
        self.clear();
        let mut facts = Vec::new();
        if layers > 0 {
            let plural = if layers == 1 { "" } else { "s" };
            facts.push(format!("{layers} layer{plural}"));
        }
        if self.known > 0 {
            facts.push(format!("{} there already", self.known));
        }
        if self.moved > 0 {
            facts.push(render_size(self.moved));
        }
        let facts = if facts.is_empty() {
            String::new()
        } else {
            format!(" ({})", facts.join(", "))
        };
        let took = render_duration(self.started.elapsed());
        self.line(Paint::Done, word, &format!("{image}{facts} in {took}"));
    }

    /// What is no image is there, or so far that no line needs to say more.
    pub(super) fn done(&mut self, word: &str, text: &str) {
        self.clear();
        self.line(Paint::Done, word, text);
    }

    /// So many bytes of something that is no image have come. Bars show it, and lines do not.
    pub(super) fn received(&mut self, name: &str, bytes: u64, total: Option<u64>) {
        if self.mode == Mode::Bars {
            self.layer(Layer {
                id: name.to_owned(),
                state: LayerState::Downloading,
                current: bytes,
                total: total.unwrap_or_default(),
            });
        }
    }

    /// Takes every bar away.
    pub(super) fn clear(&mut self) {
        for (_, shown) in self.shown.drain() {
            if let Some(bar) = shown.bar {
                bar.finish_and_clear();
            }
        }
        // A bar that cannot be taken away from a terminal that is gone is no loss.
        let _ = self.bars.clear();
    }

    /// Something happened.
    pub(super) fn progress(&mut self, progress: Progress) {
        match progress {
            Progress::Layer(layer) => self.layer(layer),
            Progress::Retry {
                next,
                of,
                wait,
                reason,
            } => self.retry(next, of, wait, &reason),
            Progress::Note(note) => self.trouble("Note", &note),
            Progress::Said(_) => {}
        }
    }

    fn retry(&mut self, next: u32, of: u32, wait: Duration, reason: &str) {
        self.clear();
        let wait = render_duration(wait);
        let text = format!("in {wait} (try {next} of {of}): {reason}");
        self.trouble("Retrying", &text);
    }

    fn layer(&mut self, layer: Layer) {
        let before = self.shown.get(&layer.id);
        let changed = before.is_none_or(|shown| shown.state != layer.state);
        let was_final = before.is_some_and(|shown| shown.state.is_final());
        let total = layer.total.max(before.map_or(0, |shown| shown.total));
        if changed && !was_final {
            self.change(&layer, total);
        }
        if self.mode == Mode::Bars {
            self.bar(&layer, total);
        }
        let shown = self.shown.entry(layer.id).or_insert(Shown {
            state: LayerState::Waiting,
            total: 0,
            bar: None,
        });
        (shown.state, shown.total) = (layer.state, total);
    }

    /// A layer is at something else: a line says so, unless a bar does.
    fn change(&mut self, layer: &Layer, total: u64) {
        match layer.state {
            LayerState::Exists => self.known += 1,
            LayerState::Pushed | LayerState::Downloaded => self.moved += total,
            _ => {}
        }
        let is_shown = match self.mode {
            Mode::Quiet => false,
            Mode::Bars => layer.state.is_final(),
            Mode::Lines => layer.state != LayerState::Waiting,
        };
        if is_shown {
            let (paint, word) = word(&layer.state);
            let text = describe(layer, total);
            self.line(paint, word, &text);
        }
    }

    fn bar(&mut self, layer: &Layer, total: u64) {
        let (paint, word) = word(&layer.state);
        let prefix = self.paint(paint, word);
        let style = self.style(&layer.state, layer.total);
        let shown = self.shown.entry(layer.id.clone()).or_insert(Shown {
            state: LayerState::Waiting,
            total,
            bar: None,
        });
        if layer.state.is_final() {
            if let Some(bar) = shown.bar.take() {
                bar.finish_and_clear();
                self.bars.remove(&bar);
            }
            return;
        }
        let is_new = shown.bar.is_none();
        // Layers that wait for their turn would take the rows of those on their way.
        if is_new && layer.state == LayerState::Waiting {
            return;
        }
        let bar = shown
            .bar
            .get_or_insert_with(|| self.bars.add(ProgressBar::no_length()));
        if is_new || shown.state != layer.state || bar.length() != Some(layer.total) {
            bar.set_length(layer.total);
            bar.set_style(style);
            bar.set_prefix(prefix);
            bar.set_message(match &layer.state {
                LayerState::Retrying(wait) => format!("{} in {wait}", layer.id),
                _ => layer.id.clone(),
            });
        }
        bar.set_position(layer.current);
    }

    fn style(&self, state: &LayerState, total: u64) -> ProgressStyle {
        let is_moving = matches!(
            state,
            LayerState::Pushing | LayerState::Downloading | LayerState::Extracting
        );
        let template = match (is_moving, total) {
            (false, _) => "{prefix} {msg}",
            (true, 0) => "{prefix} {msg} {binary_bytes} {binary_bytes_per_sec}",
            (true, _) => {
                "{prefix} {msg} [{bar:24}] {binary_bytes:>10}/{binary_total_bytes:10} {binary_bytes_per_sec}"
            }
        };
        // The templates are ours, and are read by every test that shows a bar.
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        style.progress_chars(if self.unicode {
            "█▉▊▋▌▍▎▏ "
        } else {
            "=> "
        })
    }

    fn trouble(&self, word: &str, text: &str) {
        let line = format!("{} {text}", self.paint(Paint::Trouble, word));
        self.write(&line);
    }

    fn line(&self, paint: Paint, word: &str, text: &str) {
        if self.mode != Mode::Quiet {
            self.write(&format!("{} {text}", self.paint(paint, word)));
        }
    }

    /// A line above all bars.
    fn write(&self, line: &str) {
        self.bars.suspend(|| complain(&format!("{line}\n")));
    }

    fn paint(&self, paint: Paint, word: &str) -> String {
        if !self.colour {
            return format!("{word:>WORD$}");
        }
        let code = match paint {
            Paint::Done => "1;32",
            Paint::Going => "1;36",
            Paint::Trouble => "1;33",
        };
        format!("\x1b[{code}m{word:>WORD$}\x1b[0m")
    }
}

/// The word that a layer's line begins with.
const fn word(state: &LayerState) -> (Paint, &'static str) {
    match state {
        LayerState::Waiting => (Paint::Going, "Waiting"),
        LayerState::Pushing => (Paint::Going, "Pushing"),
        LayerState::Pushed => (Paint::Done, "Pushed"),
        LayerState::Exists => (Paint::Done, "Exists"),
        LayerState::Mounted(_) => (Paint::Done, "Mounted"),
        LayerState::Retrying(_) => (Paint::Trouble, "Retrying"),
        LayerState::Downloading => (Paint::Going, "Downloading"),
        LayerState::Verifying => (Paint::Going, "Verifying"),
        LayerState::Downloaded => (Paint::Going, "Downloaded"),
        LayerState::Extracting => (Paint::Going, "Extracting"),
        LayerState::Pulled => (Paint::Done, "Pulled"),
    }
}

/// A layer, and what is worth saying of its state.
fn describe(layer: &Layer, total: u64) -> String {
    let id = &layer.id;
    match &layer.state {
        LayerState::Mounted(from) => format!("{id} from {from}"),
        LayerState::Retrying(wait) => format!("{id} in {wait}"),
        LayerState::Exists | LayerState::Verifying => id.clone(),
        _ if total > 0 => format!("{id} {}", render_size(total)),
        _ => id.clone(),
    }
}
