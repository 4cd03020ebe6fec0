//! A configuration as it was written, each value with the place where it stands.

use std::rc::Rc;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::setting::{Setting, Step};

/// A value and where it comes from.
///
/// It is not printable on purpose: any of its strings may be a secret.
pub(super) struct Node {
    /// Where it stands.
    pub origin: Origin,
    /// What stands there.
    pub value: Value,
    /// What the environment says, letter by letter: a setting that wants a string takes this, even if it looks like a
    /// number.
    pub text: Option<String>,
    /// It could not be read, and is passed over from now on.
    pub unread: bool,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// The file as a whole.
    File,
    /// The file, at this byte.
    At(usize),
    /// An environment variable.
    Variable(Rc<str>),
}

/// What a file or a variable can say.
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Node>),
    /// In the order of the text, which is the order of a warehouse's columns.
    Table(Vec<(String, Node)>),
    /// What TOML knows and no setting wants.
    Foreign(&'static str),
}

/// A text that is not TOML: what is wrong, and at which byte.
pub(super) struct SyntaxError {
    pub what: String,
    pub at: Option<usize>,
}

impl Node {
    /// What the file `text` says.
    ///
    /// # Errors
    /// Everything that is wrong with the text as TOML. No message repeats any of it.
    pub(super) fn from_file(text: &str) -> Result<Self, Vec<SyntaxError>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            let value = Value::from_table(table.into_inner(), &Origin::At);
            return Ok(Self::new(Origin::File, value));
        }
        let plain = |error: toml::de::Error| SyntaxError {
            what: error.message().to_owned(),
            at: error.span().map(|s| s.start),
        };
        Err(errors.into_iter().map(plain).collect())
    }

    /// What the environment variable `name` says: a TOML boolean, number, array or inline table, else a string.
    pub(super) fn from_variable(name: &Rc<str>, text: String) -> Self {
        let origin = Origin::Variable(Rc::clone(name));
        let parsed = DeValue::parse(&text).map(Spanned::into_inner);
        let value = match parsed {
            Ok(value) if !value.is_str() && !value.is_datetime() => Value::from_toml(value, &|_| origin.clone()),
            _ => Value::String(text.clone()),
        };
        Self { text: Some(text), ..Self::new(origin, value) }
    }

    pub(super) fn new(origin: Origin, value: Value) -> Self {
        Self { origin, value, text: None, unread: false }
    }

    /// What stands at `setting`, if it is written at all.
    pub(super) fn find(&self, setting: &Setting) -> Option<&Self> {
        setting.steps().iter().try_fold(self, |node, step| match (&node.value, step) {
            (Value::Table(entries), Step::Key(key)) => entries.iter().find(|(name, _)| name == key).map(|(_, n)| n),
            (Value::List(elements), Step::Index(index)) => elements.get(*index),
            _ => None,
        })
    }

    /// As [`Self::find`], to change it.
    pub(super) fn find_mut(&mut self, setting: &Setting) -> Option<&mut Self> {
        setting.steps().iter().try_fold(self, |node, step| match (&mut node.value, step) {
            (Value::Table(entries), Step::Key(key)) => entries.iter_mut().find(|(name, _)| name == key).map(|(_, n)| n),
            (Value::List(elements), Step::Index(index)) => elements.get_mut(*index),
            _ => None,
        })
    }

    /// What kind of value this is, for a message.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::String(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Boolean(_) => "a boolean",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Foreign(kind) => kind,
        }
    }
}

impl Value {
    fn from_toml(value: DeValue<'_>, origin: &impl Fn(usize) -> Origin) -> Self {
        match value {
            DeValue::String(text) => Self::String(text.into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Foreign("a number beyond 64 bits"), Self::Integer),
            DeValue::Float(number) => {
                number.as_str().parse().map_or(Self::Foreign("a number that no double holds"), Self::Float)
            }
            DeValue::Boolean(truth) => Self::Boolean(truth),
            DeValue::Datetime(_) => Self::Foreign("a date"),
            DeValue::Array(elements) => Self::List(
                elements
                    .into_iter()
                    .map(|element| {
                        Node::new(origin(element.span().start), Self::from_toml(element.into_inner(), origin))
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Self::from_table(table, origin),
        }
    }

    /// The parser keeps tables by name; the places of the names tell in which order they were written.
    fn from_table(table: DeTable<'_>, origin: &impl Fn(usize) -> Origin) -> Self {
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let node = |key: usize, value: Spanned<DeValue<'_>>| {
            Node::new(origin(key), Self::from_toml(value.into_inner(), origin))
        };
        Self::Table(
            entries
                .into_iter()
                .map(|(key, value)| (key.get_ref().clone().into_owned(), node(key.span().start, value)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Node {
        Node::from_file(text).unwrap_or_else(|_| panic!("not TOML: {text}"))
    }

    #[test]
    fn tables_keep_the_order_of_the_text() {
        let tree = file("[s.fields]\nz = 1\nb.c = 2\na = 3\nb.a = 4\n");
        let Some(Value::Table(fields)) = tree.find(&Setting::from("s.fields")).map(|node| &node.value) else {
            panic!("no table");
        };
        assert_eq!(fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["z", "b", "a"]);
    }

    #[test]
    fn every_value_knows_its_place() {
        let text = "[spool]\ndir = 'x'\n\n[[sinks]]\n[[sinks]]\nname = 'y'\n";
        let tree = file(text);
        for (setting, rest) in [
            (Setting::from("spool.dir"), "dir = 'x'"),
            (Setting::from("sinks").index(1), "[[sinks]]\nname"),
            (Setting::from("sinks").index(1).key("name"), "name = 'y'"),
        ] {
            let Origin::At(byte) = tree.find(&setting).unwrap().origin else { panic!("{setting}") };
            assert!(text[byte..].starts_with(rest), "{setting}");
        }
        assert!(tree.find(&Setting::from("spool.disk_quota")).is_none());
    }

    #[test]
    fn a_text_that_is_not_toml_is_told_completely_and_without_its_values() {
        let errors = Node::from_file("a = 1\na = 2\ntoken = hushhush\n").err().unwrap();
        assert_eq!(errors.iter().map(|error| error.at).collect::<Vec<_>>(), [Some(6), Some(20)]);
        assert!(errors.iter().all(|error| !error.what.contains("hush")));
    }

    #[test]
    fn a_variable_is_a_toml_value_or_else_a_string() {
        let kind = |text: &str| Node::from_variable(&"V".into(), text.to_owned()).kind();
        for (text, expected) in [
            ("12", "a whole number"),
            ("0x10", "a whole number"),
            ("1_000", "a whole number"),
            ("99999999999999999999", "a number beyond 64 bits"),
            ("0.5", "a number"),
            ("true", "a boolean"),
            ("[1, 'a']", "a list"),
            ("{ a = 1 }", "a table"),
            ("", "a string"),
            ("20GiB", "a string"),
            ("[1", "a string"),
            ("\"q\"", "a string"),
            ("1979-05-27", "a string"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }
}
