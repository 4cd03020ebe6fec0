//! From a tree to the settings: serde's derived readers over [`Node`]s, with errors that know which setting is wrong.
//!
//! The TOML crate's own reader stops at the first error, tells its place only by byte, and repeats the value, which may
//! be a secret. This one is read again without the value that was wrong until nothing is, so that one start of the
//! server tells everything.

use std::fmt::{self, Display};

use serde::{
    Deserialize,
    de::{
        self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
        value::BorrowedStrDeserializer,
    },
    forward_to_deserialize_any,
};

use super::{
    setting::{Setting, Step},
    tree::{Node, Value},
};

/// A setting that could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misread {
    /// Which.
    pub setting: Setting,
    /// Why.
    pub fault: Fault,
}

/// Why a setting could not be read. Only what cannot be a secret is repeated.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is of another type.
    Type { found: String, wanted: String },
    /// It is of the type, but no such value.
    Value { found: String, wanted: String },
    /// There is no setting of this name; these there are.
    UnknownKey { key: String, known: &'static [&'static str] },
    /// It is a word, and not one of these.
    UnknownWord { word: String, known: &'static [&'static str] },
    /// It is a table that lacks a setting.
    Missing { key: &'static str },
    /// What another type's parser says.
    Other { cause: String },
}

/// Reads `tree` as a `T`, leaving out what cannot be read: that is marked in the tree, and returned.
pub(super) fn read<T: Default + for<'de> Deserialize<'de>>(tree: &mut Node) -> (T, Vec<Misread>) {
    let mut misreads = Vec::new();
    loop {
        let misread = match T::deserialize(Reader(tree)) {
            Ok(settings) => return (settings, misreads),
            Err(misread) => misread,
        };
        let node = tree.find_mut(&misread.setting).filter(|node| !node.unread);
        let passed_over = node.map(|node| node.unread = true).is_some();
        misreads.push(misread);
        if !passed_over {
            return (T::default(), misreads);
        }
    }
}

impl Misread {
    fn new(fault: Fault) -> Self {
        Self { setting: Setting::default(), fault }
    }

    /// The same, seen from the table or list in which it stands under `step`.
    fn under(mut self, step: Step) -> Self {
        self.setting.prepend(step);
        self
    }
}

impl Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.setting, self.fault)
    }
}

impl std::error::Error for Misread {}

impl de::Error for Misread {
    fn custom<T: Display>(cause: T) -> Self {
        Self::new(Fault::Other { cause: cause.to_string() })
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a number",
            Unexpected::Str(_) => "a string",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a table",
            Unexpected::Other(kind) => kind,
            _ => "something else",
        };
        Self::new(Fault::Type { found: found.to_owned(), wanted: plain(wanted) })
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Float(number) => number.to_string(),
            Unexpected::Str(text) => format!("{text:?}"),
            other => other.to_string(),
        };
        Self::new(Fault::Value { found, wanted: plain(wanted) })
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownWord { word: word.to_owned(), known })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownKey { key: key.to_owned(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Fault::Missing { key })
    }
}

/// What serde's own readers call the types, in the words of a configuration.
fn plain(wanted: &dyn Expected) -> String {
    let wanted = wanted.to_string();
    match wanted.as_str() {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number of 0 or more",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "path string" => "a path in quotes",
        "a string" => "a string in quotes",
        "socket address" => "an address such as \"127.0.0.1:8080\"",
        wanted if wanted.starts_with("struct ") => "a table",
        wanted => wanted,
    }
    .to_owned()
}

/// Reads one node.
struct Reader<'de>(&'de Node);

impl<'de> Reader<'de> {
    /// The node as text, if it is that: what a variable says stands, whatever it looks like.
    fn text(&self) -> Option<&'de str> {
        match (&self.0.text, &self.0.value) {
            (Some(text), _) | (None, Value::String(text)) => Some(text),
            _ => None,
        }
    }

    fn mistyped(&self, wanted: &dyn Expected) -> Misread {
        de::Error::invalid_type(Unexpected::Other(self.0.kind()), wanted)
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Misread;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        match &self.0.value {
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(truth) => visitor.visit_bool(*truth),
            Value::List(elements) => visitor.visit_seq(Elements(elements.iter().enumerate())),
            Value::Table(entries) => visitor.visit_map(Entries { rest: entries.iter(), current: None }),
            Value::Foreign(_) => Err(self.mistyped(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        match self.text() {
            Some(text) => visitor.visit_borrowed_str(text),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misread> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Misread> {
        visitor.visit_newtype_struct(self)
    }

    /// A derived struct would also take a list of its fields' values; nobody means that.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misread> {
        if matches!(self.0.value, Value::Table(_)) {
            self.deserialize_any(visitor)
        } else {
            Err(self.mistyped(&visitor))
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misread> {
        match self.text() {
            Some(word) => visitor.visit_enum(word.into_deserializer()),
            None => Err(self.mistyped(&"a string in quotes")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct
        map identifier ignored_any
    }
}

/// Reads a list's elements.
struct Elements<'de>(std::iter::Enumerate<std::slice::Iter<'de, Node>>);

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Misread;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misread> {
        let Some((index, node)) = self.0.find(|(_, node)| !node.unread) else { return Ok(None) };
        seed.deserialize(Reader(node)).map(Some).map_err(|misread| misread.under(Step::Index(index)))
    }
}

/// Reads a table's entries.
struct Entries<'de> {
    rest: std::slice::Iter<'de, (String, Node)>,
    current: Option<&'de (String, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Misread;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misread> {
        self.current = self.rest.find(|(_, node)| !node.unread);
        let Some((key, _)) = self.current else { return Ok(None) };
        let read = seed.deserialize(BorrowedStrDeserializer::new(key));
        read.map(Some).map_err(|misread: Misread| misread.under(Step::Key(key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misread> {
        let Some((key, node)) = self.current else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(Reader(node)).map_err(|misread| misread.under(Step::Key(key.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Table {
        name: String,
        count: usize,
        part: Part,
        list: Vec<Part>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Part {
        share: f64,
        on: Option<bool>,
        colour: Colour,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Colour {
        #[default]
        Red,
        Blue,
    }

    fn table(text: &str) -> (Table, Vec<Misread>) {
        read(&mut Node::from_file(text).unwrap_or_else(|_| panic!("not TOML: {text}")))
    }

    #[test]
    fn what_is_right_is_read() {
        let (table, misreads) =
            table("name = 'n'\ncount = 2\npart = { share = 1 }\n[[list]]\non = true\ncolour = 'blue'");
        assert_eq!(misreads, []);
        assert_eq!((table.name.as_str(), table.count, table.part.share), ("n", 2, 1.0));
        assert_eq!(table.list, [Part { on: Some(true), colour: Colour::Blue, ..Part::default() }]);
    }

    #[test]
    fn everything_that_is_wrong_is_told_and_the_rest_is_read() {
        let (table, misreads) = table(
            "name = 7\ncount = -1\npart = []\nother = 1\n\
             list = [{ share = 'x' }, 3, { on = true, colour = 'bleu', of = 1 }]",
        );
        let told: Vec<_> = misreads.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "name: Type { found: \"a whole number\", wanted: \"a string in quotes\" }",
                "count: Value { found: \"-1\", wanted: \"a whole number of 0 or more\" }",
                "part: Type { found: \"a list\", wanted: \"a table\" }",
                "other: UnknownKey { key: \"other\", known: [\"name\", \"count\", \"part\", \"list\"] }",
                "list[0].share: Type { found: \"a string\", wanted: \"a number\" }",
                "list[1]: Type { found: \"a whole number\", wanted: \"a table\" }",
                "list[2].colour: UnknownWord { word: \"bleu\", known: [\"red\", \"blue\"] }",
                "list[2].of: UnknownKey { key: \"of\", known: [\"share\", \"on\", \"colour\"] }",
            ]
        );
        assert_eq!(table.list, [Part::default(), Part { on: Some(true), ..Part::default() }]);
    }

    #[test]
    fn a_setting_that_wants_a_string_takes_the_letters_of_a_variable() {
        let mut tree = Node::from_file("").unwrap_or_else(|_| panic!("not TOML"));
        let variables = [("LOGWEIR__NAME", "007"), ("LOGWEIR__COUNT", "007"), ("LOGWEIR__LIST", "[{ share = 2 }]")];
        let variables = variables.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(super::super::environment::overlay(&mut tree, variables.into_iter()), []);
        let (table, misreads): (Table, _) = read(&mut tree);
        assert_eq!((table.name.as_str(), table.list.len()), ("007", 1));
        assert_eq!(misreads.len(), 1, "TOML knows no number that begins with a zero");
    }
}
