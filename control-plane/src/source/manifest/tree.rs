//! A document as a tree in which every value knows its line.
//!
//! Types are filled from the tree as JSON, as the Kubernetes API would; whatever is found wrong,
//! then or later, names a field, and the tree tells the field's line.

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DefaultMessageFormatter, MessageFormatter, Spanned};
use std::fmt;

/// A value, with the line on which it begins.
#[derive(Debug)]
pub(super) struct Tree {
    line: u64,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Scalar(Value),
    List(Vec<Tree>),
    /// With the line of each key.
    Map(Vec<(String, u64, Tree)>),
}

/// What is not YAML: the line, from 1, and why.
#[derive(Debug)]
pub(super) struct NotYaml {
    pub(super) line: u64,
    pub(super) message: String,
}

impl Tree {
    /// Reads one document.
    pub(super) fn parse(text: &str) -> Result<Self, NotYaml> {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options::<Spanned<Node>>(text, options)
            .map(Self::from)
            .map_err(|error| {
                let error = error.without_snippet();
                NotYaml {
                    line: error.location().map_or(1, |location| location.line()),
                    message: DefaultMessageFormatter.format_message(error).into_owned(),
                }
            })
    }

    /// As JSON.
    pub(super) fn to_json(&self) -> Value {
        match &self.node {
            Node::Scalar(value) => value.clone(),
            Node::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Node::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, _, value)| (key.clone(), value.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The text of a field, `metadata.name`.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        let mut tree = self;
        for segment in path.split('.') {
            tree = tree.get(segment)?.1;
        }
        match &tree.node {
            Node::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The line of a field, `spec.strategy.steps[1].weight`; of the nearest one around it, where
    /// it does not exist.
    pub(super) fn line_of(&self, path: &str) -> u64 {
        let (mut tree, mut line) = (self, self.line);
        let mut rest = path;
        while !rest.is_empty() {
            let Some((found, tail)) = tree.longest(rest) else {
                break;
            };
            (line, tree) = found;
            rest = tail;
        }
        line
    }

    /// The child that the path's beginning names, and the path within it. Keys may hold dots, so
    /// the longest key that fits is the one meant.
    fn longest<'t, 'p>(&'t self, path: &'p str) -> Option<((u64, &'t Self), &'p str)> {
        if let Some(inner) = path.strip_prefix('[') {
            let (index, tail) = inner.split_once(']')?;
            let item = self.item(index.parse().ok()?)?;
            return Some(((item.line, item), tail.strip_prefix('.').unwrap_or(tail)));
        }
        let Node::Map(entries) = &self.node else {
            return None;
        };
        entries
            .iter()
            .filter_map(|(key, line, value)| {
                let tail = path.strip_prefix(key.as_str())?;
                let tail = match tail.strip_prefix('.') {
                    Some(tail) => tail,
                    None if tail.is_empty() || tail.starts_with('[') => tail,
                    None => return None,
                };
                Some(((*line, value), tail))
            })
            .min_by_key(|(_, tail)| tail.len())
    }

    fn get(&self, key: &str) -> Option<(u64, &Self)> {
        match &self.node {
            Node::Map(entries) => entries
                .iter()
                .find(|(name, ..)| name == key)
                .map(|(_, line, value)| (*line, value)),
            _ => None,
        }
    }

    fn item(&self, index: usize) -> Option<&Self> {
        match &self.node {
            Node::List(items) => items.get(index),
            _ => None,
        }
    }
}

impl From<Spanned<Node>> for Tree {
    fn from(spanned: Spanned<Node>) -> Self {
        Self {
            line: spanned.referenced.line(),
            node: spanned.value,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Number::from_f64(value)
            .map(|number| Node::Scalar(Value::Number(number)))
            .ok_or_else(|| E::custom(format!("{value} is not a finite number")))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::from(value)))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Node>>()? {
            items.push(item.into());
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let value = map.next_value::<Spanned<Node>>()?;
            entries.push((key.value, key.referenced.line(), value.into()));
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::Tree;
    use serde_json::json;

    const TEXT: &str =
        "a: 1\nb:\n  - x: {y: true}\n    z.w: 5\n\n  - 'text'\nc:\n  d: 0.5\n  e: null\n";

    #[test]
    fn a_tree_is_read_as_json_would_be() {
        assert_eq!(
            Tree::parse(TEXT).unwrap().to_json(),
            json!({"a": 1, "b": [{"x": {"y": true}, "z.w": 5}, "text"], "c": {"d": 0.5, "e": null}})
        );
    }

    #[test]
    fn every_field_knows_its_line() {
        let tree = Tree::parse(TEXT).unwrap();
        for (path, line) in [
            ("", 1),
            ("a", 1),
            ("b[0].x.y", 3),
            ("b[0].z.w", 4),
            ("b[1]", 6),
            ("c.d", 8),
            ("c.missing", 7),
            ("b[7].x", 2),
        ] {
            assert_eq!(tree.line_of(path), line, "{path}");
        }
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_its_line() {
        let wrong = Tree::parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(wrong.line >= 2, "{wrong:?}");
        let twice = Tree::parse("a: 1\na: 2\n").unwrap_err();
        assert_eq!(twice.line, 2, "{twice:?}");
        assert!(!twice.message.contains('\n'), "{twice:?}");
    }
}
