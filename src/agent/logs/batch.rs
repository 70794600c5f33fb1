//! What goes into one request (AGENT-63).

use super::lines::{LogEvent, PER_EVENT};

/// What a service takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most items.
    pub items: usize,
    /// Most bytes, counted as the service counts them.
    pub bytes: usize,
    /// Most milliseconds from the first to the last, exclusive.
    pub span: i64,
}

/// What `PutLogEvents` takes.
pub const PUT_LOG_EVENTS: Limits = Limits {
    items: 10_000,
    bytes: 1_048_576,
    span: 24 * 60 * 60 * 1000,
};

/// Something that is sent.
pub trait Item {
    /// Bytes that the service counts for it.
    fn size(&self) -> usize;

    /// Milliseconds since 1970.
    fn time(&self) -> i64;
}

impl Item for LogEvent {
    fn size(&self) -> usize {
        self.message.len() + PER_EVENT
    }

    fn time(&self) -> i64 {
        self.time
    }
}

/// Items for one request.
#[derive(Debug)]
pub struct Batch<I> {
    limits: Limits,
    items: Vec<I>,
    bytes: usize,
}

impl<I: Item> Batch<I> {
    /// An empty one.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            items: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes one more; gives it back where it has to wait for the next request. An empty batch takes everything: what is
    /// too large for every request is the service's to refuse.
    pub fn add(&mut self, item: I) -> Result<(), I> {
        if !self.items.is_empty() && !self.fits(&item) {
            return Err(item);
        }
        self.bytes += item.size();
        self.items.push(item);
        Ok(())
    }

    fn fits(&self, item: &I) -> bool {
        let (first, last) = (self.items.first(), self.items.last());
        let since = |one: Option<&I>| one.map_or(0, |one| item.time() - one.time());
        self.items.len() < self.limits.items
            && self.bytes + item.size() <= self.limits.bytes
            && since(first) < self.limits.span
            && since(last) >= 0
    }

    /// The items, in order. What is taken out has not to be sent any more.
    pub const fn items(&mut self) -> &mut Vec<I> {
        &mut self.items
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes that the service counts.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins the next one.
    pub fn clear(&mut self) {
        self.items.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: i64, length: usize) -> LogEvent {
        LogEvent {
            time,
            message: "x".repeat(length),
        }
    }

    #[test]
    fn a_batch_ends_at_each_limit_and_not_before() {
        let day = PUT_LOG_EVENTS.span;
        // What is in it, and what comes then: whether there is room.
        let table = [
            (vec![event(0, 1_048_576 - 26)], event(0, 0), false),
            (vec![event(0, 1_048_576 - 26 - 27)], event(0, 1), true),
            (vec![event(0, 1_048_576 - 26 - 27)], event(0, 2), false),
            (vec![event(5, 1)], event(5 + day - 1, 1), true),
            (vec![event(5, 1)], event(5 + day, 1), false),
            (vec![event(5, 1)], event(5, 1), true),
            (vec![event(5, 1)], event(4, 1), false),
            (vec![event(0, 0); 9_999], event(0, 0), true),
            (vec![event(0, 0); 10_000], event(0, 0), false),
            // Whatever it is, nothing waits for ever.
            (vec![], event(0, 2_000_000), true),
        ];
        for (row, (before, next, has_room)) in table.into_iter().enumerate() {
            let mut batch = Batch::new(PUT_LOG_EVENTS);
            for one in before {
                batch.add(one).unwrap();
            }
            assert_eq!(batch.add(next).is_ok(), has_room, "row {row}");
        }
    }
}
