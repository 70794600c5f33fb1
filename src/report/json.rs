//! What the JSON formats have in common: values of any kind, and maps and lists that are taken piece by piece.

use std::fmt;
use std::io::{BufReader, Read};
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::error::Category;

use super::clip::Clip;
use super::error::ReadError;
use super::text::Decoder;

/// Reads one value with this seed, and nothing may follow it.
pub(super) fn read<S>(bytes: impl Read, seed: S, expected: &'static str) -> Result<(), ReadError>
where
    S: for<'de> DeserializeSeed<'de, Value = ()>,
{
    let text = BufReader::new(Clip::json(Decoder::new(bytes)));
    let mut json = serde_json::Deserializer::from_reader(text);
    let result = seed.deserialize(&mut json).and_then(|()| json.end());
    result.map_err(|error| match error.classify() {
        Category::Io => ReadError::Io(error.into()),
        Category::Eof if error.line() <= 1 && error.column() == 0 => ReadError::Empty,
        Category::Eof => ReadError::Truncated { within: None },
        Category::Syntax => ReadError::Syntax(error.to_string()),
        Category::Data => ReadError::Form {
            expected,
            reason: error.to_string(),
        },
    })
}

/// A text or a number, if it is one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Loose {
    /// Anything else.
    #[default]
    Other,
    Text(String),
    Number(f64),
}

impl Loose {
    pub(super) const fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) | Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

#[expect(
    clippy::cast_precision_loss,
    reason = "times and hits of tests need no 53 bits"
)]
impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Loose, E> {
        Ok(Loose::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Loose, E> {
        Ok(Loose::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Loose, E> {
        Ok(Loose::Number(number as f64))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Loose, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }
}

/// What a step of a walk does with the value it stands before.
pub(super) trait Step<'de>: Sized {
    /// Takes the value of this key.
    fn entry<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;

    /// Takes the next value of a list, and says whether there was one.
    fn item<A: SeqAccess<'de>>(&mut self, list: &mut A) -> Result<bool, A::Error> {
        Ok(list.next_element::<IgnoredAny>()?.is_some())
    }

    /// Takes something that is neither. By default, there may be nothing.
    fn other(&mut self) -> bool {
        true
    }

    /// Called after the last of them.
    fn end(&mut self) {}
}

/// Walks over a map or a list.
pub(super) struct Walk<W>(pub(super) W);

impl<'de, W: Step<'de>> DeserializeSeed<'de> for Walk<W> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(WalkVisitor(self.0, PhantomData))
    }
}

struct WalkVisitor<'de, W>(W, PhantomData<&'de ()>);

impl<'de, W: Step<'de>> WalkVisitor<'de, W> {
    fn otherwise<E: serde::de::Error>(mut self, found: &str) -> Result<(), E> {
        if self.0.other() {
            Ok(())
        } else {
            Err(E::custom(found))
        }
    }
}

impl<'de, W: Step<'de>> Visitor<'de> for WalkVisitor<'de, W> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or a list")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            self.0.entry(&key, &mut map)?;
        }
        self.0.end();
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while self.0.item(&mut list)? {}
        self.0.end();
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.otherwise("nothing")
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.otherwise("a flag")
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.otherwise("a number")
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.otherwise("a number")
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.otherwise("a number")
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.otherwise("a text")
    }
}

/// Leaves a value out.
pub(super) fn ignore<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// The value of a key as a text.
pub(super) fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<String, A::Error> {
    match map.next_value::<Loose>()? {
        Loose::Text(text) => Ok(text),
        Loose::Number(_) | Loose::Other => Ok(String::new()),
    }
}

/// Says that a form is not the one that is read.
pub(super) fn not_this<E: serde::de::Error>(found: &str) -> E {
    E::custom(found)
}
