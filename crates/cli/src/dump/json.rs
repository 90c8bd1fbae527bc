//! Turns Rust's debug text of a record into JSON.
//!
//! Records are plain data: structs of numbers, strings, ids, lists and options, whose
//! derived debug text is regular. One reader of that text saves a hand-written
//! rendering of every record type.

use serde_json::{Map, Value};

/// The name and the fields of a value: `Topic(TopicRecord { name: "a" })` is `TopicRecord` and
/// `{"name":"a"}`.
pub fn from_debug(text: &str) -> (String, Value) {
    let mut reader = Reader { rest: text };
    let (name, value) = reader.named();
    (name, value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    /// A struct or variant with its name; the innermost name of nested variants.
    fn named(&mut self) -> (String, Value) {
        let name = self.word();
        if self.eat("(") {
            let inner = self.named();
            self.eat(")");
            return if inner.0.is_empty() { (name, inner.1) } else { inner };
        }
        if self.eat("{") { (name, self.fields()) } else { (String::new(), scalar(&name)) }
    }

    fn value(&mut self) -> Value {
        self.blanks();
        if self.rest.starts_with('"') {
            return self.string();
        }
        if self.eat("[") {
            let mut items = Vec::new();
            while !self.eat("]") && !self.rest.is_empty() {
                items.push(self.value());
                self.eat(",");
            }
            return Value::Array(items);
        }
        let word = self.word();
        if self.eat("{") {
            return self.fields();
        }
        if self.eat("(") {
            let inner = self.value();
            self.eat(",");
            self.eat(")");
            return inner;
        }
        if word.is_empty() {
            // Not text that a record has; step over it rather than stand still.
            let next = self.rest.chars().next().map_or(0, char::len_utf8);
            self.rest = &self.rest[next..];
        }
        scalar(&word)
    }

    fn fields(&mut self) -> Value {
        let mut fields = Map::new();
        while !self.eat("}") && !self.rest.is_empty() {
            let name = self.word();
            if !self.eat(":") {
                break;
            }
            let value = self.value();
            fields.insert(name, value);
            self.eat(",");
        }
        Value::Object(fields)
    }

    /// A quoted string: Rust escapes differ from JSON's in the form of unicode ones alone.
    fn string(&mut self) -> Value {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Value::String(text);
                }
                '\\' => match characters.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some('0') => text.push('\0'),
                    Some('u') => {
                        let digits: String = characters
                            .by_ref()
                            .map(|(_, digit)| digit)
                            .skip(1)
                            .take_while(|digit| *digit != '}')
                            .collect();
                        let decoded = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        text.push(decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    Some(other) => text.push(other),
                    None => break,
                },
                other => text.push(other),
            }
        }
        self.rest = "";
        Value::String(text)
    }

    fn word(&mut self) -> String {
        self.blanks();
        let ends = |character: char| " ,:()[]{}\"".contains(character);
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn eat(&mut self, token: &str) -> bool {
        self.blanks();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

fn scalar(word: &str) -> Value {
    match word {
        "None" | "" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match (word.parse::<i64>(), word.parse::<f64>()) {
            (Ok(number), _) => number.into(),
            // An id may look like a number to Rust ("inf", "1e5..."), but never has a point.
            (_, Ok(number)) if word.contains('.') => number.into(),
            _ => Value::String(word.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::from_debug;

    #[derive(Debug)]
    #[expect(dead_code, reason = "only its debug text is read")]
    struct Inner {
        name: String,
        level: Option<i16>,
        list: Vec<i32>,
    }

    #[derive(Debug)]
    #[expect(dead_code, reason = "only its debug text is read")]
    enum Outer {
        Variant(Inner),
        Nested { inner: Vec<Inner>, share: f64, yes: bool, id: model::Uuid, bytes: Option<Vec<u8>> },
        Unit,
    }

    fn check(value: &Outer, name: &str, json: &str) {
        let (found, body) = from_debug(&format!("{value:?}"));
        assert_eq!((found.as_str(), body.to_string().as_str()), (name, json));
    }

    #[test]
    fn structs_become_objects_whatever_stands_in_their_strings() {
        let inner = |name: &str, level| Inner { name: name.to_owned(), level, list: vec![1, -2] };
        check(&Outer::Variant(inner("a", Some(3))), "Inner", r#"{"level":3,"list":[1,-2],"name":"a"}"#);
        check(
            &Outer::Variant(inner("\"}],:{ \\ \n \u{1} é", None)),
            "Inner",
            r#"{"level":null,"list":[1,-2],"name":"\"}],:{ \\ \n \u0001 é"}"#,
        );
        let id = model::Uuid::from_u128(1 << 70);
        let nested =
            Outer::Nested { inner: vec![inner("", None)], share: 0.5, yes: true, id, bytes: Some(vec![7]) };
        check(
            &nested,
            "Nested",
            &format!(
                r#"{{"bytes":[7],"id":"{id}","inner":[{{"level":null,"list":[1,-2],"name":""}}],"share":0.5,"yes":true}}"#
            ),
        );
        assert_eq!(from_debug(&format!("{:?}", Outer::Unit)).1, "Unit");
    }

    #[test]
    fn no_text_stops_the_reader() {
        for text in [
            "",
            "(",
            "{",
            "A {",
            "A { b",
            "A { b:",
            "A { b: [",
            "A { b: \"",
            "A { b: \"\\",
            "]]]",
            "A(B(C",
            "A { b: [:::] }",
        ] {
            let _ = from_debug(text);
        }
    }
}
