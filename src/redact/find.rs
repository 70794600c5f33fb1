//! Where secrets are in a text: exact, for thousands of them, in a time that hardly depends on their number.
//!
//! Every secret with at least `m` bytes contains one of the places 0, s, 2s, … of a text with its gram of `q` bytes, where
//! `s = m - q + 1`. So only those places are looked at, and a bitmap says of nearly all of them that the gram there is in no
//! secret. Where it may be in one, the table of grams says how far into secrets it stands, which gives the places where a
//! secret may begin; the table of heads says which secrets begin as the text does there; and those are compared.

use std::cmp::Reverse;

use aho_corasick::Span;
use aho_corasick::packed::Searcher;

/// Bytes of a gram at most.
const GRAM: usize = 4;

/// Bytes of a head at most.
const HEAD: usize = 8;

/// Short secrets that are looked for by other means, at most.
const SHORT: usize = 32;

/// Places of a gram in a secret that are told apart: the bits of what the table has for it.
const STRIDE: usize = 16;

/// Odd, with bits all over: spreads what it is multiplied with.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Secrets, ready to be found.
#[derive(Debug)]
pub(super) struct Finder {
    /// Sorted; no two are the same, none is empty.
    needles: Vec<Vec<u8>>,
    longest: usize,
    /// Those shorter than a head, where they are few: every byte of a text may be the first of one.
    short: Option<Searcher>,
    sampled: Option<Sampled>,
    /// What a text may end in that is the beginning of a secret: one byte, and two.
    beginnings: Bits,
}

impl Finder {
    /// `None` if there is nothing to find. Empty ones would be everywhere and are left out.
    pub(super) fn new(mut needles: Vec<Vec<u8>>) -> Option<Self> {
        needles.retain(|needle| !needle.is_empty());
        needles.sort_unstable();
        needles.dedup();
        let longest = needles.iter().map(Vec::len).max()?;
        let (short, sampled) = match short(&needles) {
            None => (None, needles.clone()),
            Some(searcher) => {
                let long = needles.iter().filter(|needle| needle.len() >= HEAD);
                (Some(searcher), long.cloned().collect())
            }
        };
        let mut beginnings = Bits::for_number(needles.len() * 2);
        for needle in &needles {
            beginnings.set(word(&needle[..1]));
            beginnings.set(pair(needle));
        }
        Some(Self {
            needles,
            longest,
            short,
            sampled: Sampled::new(sampled),
            beginnings,
        })
    }

    /// The secrets, sorted.
    pub(super) fn needles(&self) -> &[Vec<u8>] {
        &self.needles
    }

    /// Length of the longest secret, in bytes.
    pub(super) const fn longest(&self) -> usize {
        self.longest
    }

    /// Where secrets begin before `end` and are whole in the text, with where they end, in the order of places. Of those that
    /// begin at one place the longest is among them.
    pub(super) fn find(&self, text: &[u8], end: usize) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        if let Some(sampled) = &self.sampled {
            sampled.find(text, end, &mut found);
        }
        if let Some(short) = &self.short {
            let mut at = 0;
            while at < end
                && let Some(next) = short.find_in(text, Span::from(at..text.len()))
                && next.start() < end
            {
                found.push((next.start(), next.end()));
                at = next.start() + 1;
            }
            found.sort_unstable();
        }
        found
    }

    /// The first place from which on the whole rest of the text is the beginning of a longer secret.
    pub(super) fn undecided_from(&self, text: &[u8]) -> usize {
        let length = text.len();
        let earliest = (length + 1).saturating_sub(self.longest);
        (earliest..length)
            .find(|&start| self.may_go_on(&text[start..]))
            .unwrap_or(length)
    }

    fn may_go_on(&self, tail: &[u8]) -> bool {
        if !self.beginnings.has(pair(tail)) {
            return false;
        }
        // What begins with the tail and is longer follows it at once.
        let after = self
            .needles
            .partition_point(|needle| needle.as_slice() <= tail);
        self.needles
            .get(after)
            .is_some_and(|next| next.starts_with(tail))
    }
}

/// Finds the secrets that are shorter than a head; `None` if there are none, or more than it is made for, or if this processor
/// cannot.
fn short(needles: &[Vec<u8>]) -> Option<Searcher> {
    let mut short: Vec<&Vec<u8>> = needles
        .iter()
        .filter(|needle| needle.len() < HEAD)
        .collect();
    if short.is_empty() || short.len() > SHORT {
        return None;
    }
    // Of those that begin at one place, the first is found.
    short.sort_unstable_by_key(|needle| Reverse(needle.len()));
    Searcher::new(short)
}

/// Secrets whose grams are looked for at some places only.
#[derive(Debug)]
struct Sampled {
    needles: Vec<Vec<u8>>,
    /// For each, the place of the longest other one that it begins with.
    shorter: Vec<Option<u32>>,
    gram: usize,
    stride: usize,
    head: usize,
    bits: Bits,
    /// For each gram, one bit for every place it has in a secret.
    grams: Table<u16>,
    head_bits: Bits,
    /// For each head, the secrets that begin with it.
    heads: Table<(u32, u32)>,
}

impl Sampled {
    /// Of sorted secrets, none of them empty.
    fn new(needles: Vec<Vec<u8>>) -> Option<Self> {
        let shortest = needles.iter().map(Vec::len).min()?;
        let gram = shortest.min(GRAM);
        let stride = (shortest - gram + 1).min(STRIDE);
        let mut sampled = Self {
            shorter: shorter(&needles),
            gram,
            stride,
            head: shortest.min(HEAD),
            bits: Bits::for_number(needles.len() * stride),
            grams: Table::for_number(needles.len() * stride),
            head_bits: Bits::for_number(needles.len()),
            heads: Table::for_number(needles.len()),
            needles,
        };
        sampled.fill();
        Some(sampled)
    }

    fn fill(&mut self) {
        for (number, needle) in (0..).zip(&self.needles) {
            for place in 0..self.stride {
                let gram = word(&needle[place..place + self.gram]);
                self.bits.set(gram);
                *self.grams.entry(gram, 0) |= 1 << place;
            }
            let head = word(&needle[..self.head]);
            self.head_bits.set(head);
            self.heads.entry(head, (number, number)).1 = number + 1;
        }
    }

    /// Adds the longest secret at every place before `end` where one begins.
    fn find(&self, text: &[u8], end: usize, found: &mut Vec<(usize, usize)>) {
        // What comes later is in secrets only that begin at `end` or later.
        let last = text
            .len()
            .min(end.saturating_add(self.stride - 1 + self.gram));
        let mut at = 0;
        while let Some(hit) = self.next_gram(&text[..last], at) {
            at = hit + self.stride;
            let gram = first(&text[hit..], self.gram).unwrap_or_default();
            let mut places = self.grams.get(gram).unwrap_or(0);
            // The farther into the secret, the earlier it begins.
            while let Some(place) = places.checked_ilog2() {
                places &= !(1 << place);
                if let Some(start) = hit.checked_sub(place as usize)
                    && start < end
                    && let Some(length) = self.longest_at(&text[start..])
                {
                    found.push((start, start + length));
                }
            }
        }
    }

    /// The next place, in steps of the stride, whose gram may be in a secret.
    fn next_gram(&self, text: &[u8], mut at: usize) -> Option<usize> {
        let stride = self.stride;
        if self.gram == GRAM {
            let has = |at: usize| {
                let bytes = text[at..].first_chunk::<GRAM>();
                bytes.is_some_and(|bytes| self.bits.has(u64::from(u32::from_le_bytes(*bytes))))
            };
            // Four at once, with one decision for all of them.
            while at + 3 * stride + GRAM <= text.len() {
                if has(at) | has(at + stride) | has(at + 2 * stride) | has(at + 3 * stride) {
                    break;
                }
                at += 4 * stride;
            }
        }
        while let Some(bytes) = text.get(at..at + self.gram) {
            if self.bits.has(word(bytes)) {
                return Some(at);
            }
            at += stride;
        }
        None
    }

    /// How long the longest secret is that the text begins with.
    fn longest_at(&self, text: &[u8]) -> Option<usize> {
        let head = first(text, self.head)?;
        if !self.head_bits.has(head) {
            return None;
        }
        let (from, to) = self.heads.get(head)?;
        let alike = &self.needles[from as usize..to as usize];
        // What the text begins with is not greater than the text, and the longest of it is the greatest.
        let not_greater = alike.partition_point(|needle| needle.as_slice() <= text);
        let mut candidate = (from as usize + not_greater).checked_sub(1)?;
        loop {
            let needle = &self.needles[candidate];
            if text.starts_with(needle) {
                return Some(needle.len());
            }
            candidate = self.shorter[candidate]? as usize;
        }
    }
}

/// For each of sorted texts, the place of the longest other one that it begins with.
fn shorter(needles: &[Vec<u8>]) -> Vec<Option<u32>> {
    let mut above: Vec<u32> = Vec::new();
    let mut shorter = Vec::with_capacity(needles.len());
    for (number, needle) in (0..).zip(needles) {
        while above
            .last()
            .is_some_and(|last| !needle.starts_with(&needles[*last as usize]))
        {
            above.pop();
        }
        shorter.push(above.last().copied());
        above.push(number);
    }
    shorter
}

/// Up to eight bytes as one number.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// The first `length` bytes, of up to eight, as [`word`] has them; `None` if there are not so many.
#[inline]
fn first(text: &[u8], length: usize) -> Option<u64> {
    match text.first_chunk::<8>() {
        Some(bytes) => Some(u64::from_le_bytes(*bytes) & (u64::MAX >> (64 - 8 * length))),
        None => text.get(..length).map(word),
    }
}

/// The first two bytes, as no single byte is; of a text of one byte, that byte.
fn pair(text: &[u8]) -> u64 {
    match text {
        [first, second, ..] => word(&[*first, *second, 1]),
        _ => word(text),
    }
}

/// A set of numbers that errs on the side of yes.
#[derive(Debug)]
struct Bits {
    bits: Vec<u64>,
    shift: u32,
}

impl Bits {
    /// With room for so many.
    fn for_number(number: usize) -> Self {
        let bits = (number * 32).next_power_of_two().clamp(1 << 12, 1 << 24);
        Self {
            bits: vec![0; bits / 64],
            shift: 64 - bits.trailing_zeros(),
        }
    }

    #[inline]
    fn place(&self, number: u64) -> (usize, u64) {
        let bit = number.wrapping_mul(SPREAD) >> self.shift;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn set(&mut self, number: u64) {
        let (word, bit) = self.place(number);
        self.bits[word] |= bit;
    }

    #[inline]
    fn has(&self, number: u64) -> bool {
        let (word, bit) = self.place(number);
        self.bits[word] & bit != 0
    }
}

/// A map of numbers, for many more questions than answers.
#[derive(Debug)]
struct Table<T> {
    slots: Vec<Option<(u64, T)>>,
    shift: u32,
}

impl<T: Copy> Table<T> {
    /// With room for so many.
    fn for_number(number: usize) -> Self {
        let slots = (number * 2).next_power_of_two().max(16);
        Self {
            slots: vec![None; slots],
            shift: 64 - slots.trailing_zeros(),
        }
    }

    /// The slot that has this number, or else the one it would be put into.
    fn slot(&self, number: u64) -> usize {
        let spread = number.wrapping_mul(SPREAD) >> self.shift;
        let mut slot = usize::try_from(spread).unwrap_or_default();
        // There is always room, so this ends.
        while let Some((other, _)) = self.slots[slot]
            && other != number
        {
            slot = (slot + 1) % self.slots.len();
        }
        slot
    }

    fn entry(&mut self, number: u64, empty: T) -> &mut T {
        let slot = self.slot(number);
        &mut self.slots[slot].get_or_insert((number, empty)).1
    }

    fn get(&self, number: u64) -> Option<T> {
        self.slots[self.slot(number)].map(|(_, value)| value)
    }
}
