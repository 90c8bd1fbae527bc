//! Writes Rust for a [`Schema`]: one struct an item, its defaults, its codec.
//!
//! What every field does alike lives in `src/codec`; here is only what differs:
//! order, versions, tags, defaults.

use std::fmt::Write;

use crate::schema::{Field, Item, Kind, Scalar, Schema, Shape, Versions};

/// The file for one schema; with an enum over its records when they are a `family`.
pub fn rust(schema: &Schema, family: Option<&str>) -> String {
    let mut out = String::from("// Generated from proto/*.schema by build/emit.rs.\n");
    for item in &schema.items {
        declaration(&mut out, item);
        default(&mut out, item);
        if let Kind::Record { .. } = item.kind {
            message(&mut out, item);
        }
        wire(&mut out, item);
        if schema.items.iter().flat_map(|item| &item.fields).any(|field| field.is_null_of(&item.name)) {
            nullable(&mut out, item);
        }
        draw(&mut out, item);
    }
    if let Some(name) = family {
        enumeration(&mut out, name, schema);
    }
    out
}

/// Appends lines; a `String` takes them all.
macro_rules! line {
    ($out:expr, $($text:tt)*) => { writeln!($out, $($text)*).expect("a String takes every line") };
}

fn declaration(out: &mut String, item: &Item) {
    match &item.kind {
        Kind::Record { key: Some(key), versions, .. } => {
            line!(out, "\n/// Record {key}, {}.", versions_text(versions));
        }
        Kind::Record { versions, .. } => line!(out, "\n/// A message, {}.", versions_text(versions)),
        Kind::Struct => line!(out, "\n/// Part of a record."),
    }
    let default = if is_zero_by_default(item) { ", Default" } else { "" };
    line!(out, "#[derive(Clone, Debug{default}, PartialEq, Eq)]");
    line!(out, "pub struct {} {{", item.name);
    for field in &item.fields {
        line!(out, "    /// {}.", field_text(field));
        line!(out, "    pub {}: {},", field.name, field_type(field));
    }
    line!(out, "}}");
}

fn default(out: &mut String, item: &Item) {
    if is_zero_by_default(item) {
        return;
    }
    line!(out, "\nimpl Default for {} {{\n    fn default() -> Self {{\n        Self {{", item.name);
    for field in &item.fields {
        line!(out, "            {}: {},", field.name, default_value(field));
    }
    line!(out, "        }}\n    }}\n}}");
}

/// Whether Rust's own defaults are the record's.
fn is_zero_by_default(item: &Item) -> bool {
    item.fields.iter().all(|field| match field.default.as_deref() {
        None => field.null_from.is_none(),
        default => default == Some("null"),
    })
}

fn message(out: &mut String, item: &Item) {
    let Kind::Record { versions, flexible_from, .. } = &item.kind else { return };
    let last = versions.last.expect("checked when parsed");
    line!(out, "\nimpl Message for {} {{", item.name);
    line!(out, "    const NAME: &'static str = \"{}\";", item.name);
    line!(out, "    const VERSIONS: RangeInclusive<i16> = {}..={last};", versions.first);
    line!(out, "    const FLEXIBLE_FROM: Option<i16> = {flexible_from:?};\n}}");
}

fn wire(out: &mut String, item: &Item) {
    let plain = || item.fields.iter().filter(|field| field.tag.is_none());
    let mut tagged: Vec<&Field> = item.fields.iter().filter(|field| field.tag.is_some()).collect();
    tagged.sort_by_key(|field| field.tag);

    line!(out, "\nimpl Wire for {} {{", item.name);
    let everywhere = |field: &&Field| field.versions.first == 0 && field.versions.last.is_none();
    let sizes: Vec<String> = plain()
        .filter(everywhere)
        .map(|field| format!("<{} as Wire>::SIZE_MIN", field_type(field)))
        .collect();
    // An item of no fields still has its tags, or is never an element.
    let sum = if sizes.is_empty() { "1".to_owned() } else { sizes.join(" + ") };
    line!(out, "    const SIZE_MIN: usize = {sum};\n");

    line!(out, "    fn put(&self, form: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {{");
    plain().for_each(|field| put_plain(out, item, field));
    if tagged.is_empty() {
        line!(out, "        Tags::default().finish(form, out)\n    }}\n");
    } else {
        line!(out, "        let mut tags = Tags::default();");
        tagged.iter().for_each(|field| put_tagged(out, item, field));
        line!(out, "        tags.finish(form, out)\n    }}\n");
    }

    line!(out, "    fn get(form: Form, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {{");
    let mutable = if tagged.is_empty() { "" } else { "mut " };
    line!(out, "        let {mutable}record = Self {{");
    plain().for_each(|field| get_plain(out, field));
    tagged.iter().for_each(|field| line!(out, "            {}: {},", field.name, default_value(field)));
    line!(out, "        }};");
    get_tagged(out, &tagged);
    line!(out, "        Ok(record)\n    }}\n}}");
}

/// A tagged struct that may be null has a number in front: 0, or 1 and then the struct.
fn nullable(out: &mut String, item: &Item) {
    let name = &item.name;
    line!(out, "\nimpl Wire for Option<{name}> {{\n    const SIZE_MIN: usize = 1;\n");
    line!(out, "    fn put(&self, form: Form, out: &mut Vec<u8>) -> Result<(), EncodeError> {{");
    line!(out, "        put_varint(u32::from(self.is_some()), out);");
    line!(out, "        self.as_ref().map_or(Ok(()), |value| value.put(form, out))\n    }}\n");
    line!(out, "    fn get(form: Form, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {{");
    line!(
        out,
        "        if reader.varint()? == 0 {{ Ok(None) }} else {{ {name}::get(form, reader).map(Some) }}"
    );
    line!(out, "    }}\n}}");
}

fn put_plain(out: &mut String, item: &Item, field: &Field) {
    let name = &field.name;
    let put = match field.null_from {
        Some(from) if from > field.versions.first => {
            format!("put_null_from({from}, &self.{name}, form, out)?")
        }
        _ => format!("self.{name}.put(form, out)?"),
    };
    match guard(&field.versions) {
        None => line!(out, "        {put};"),
        Some(guard) => {
            line!(out, "        if {guard} {{\n            {put};\n        }}{}", lacking(item, field));
        }
    }
}

/// The branch for a version without the field.
fn lacking(item: &Item, field: &Field) -> String {
    if field.ignorable {
        return String::new();
    }
    format!(
        " else if {} {{\n            return Err(form.lacks(\"{}\", \"{}\"));\n        }}",
        differs(field),
        item.name,
        field.name
    )
}

fn put_tagged(out: &mut String, item: &Item, field: &Field) {
    let tag = field.tag.expect("only tagged fields come here");
    let put = format!("tags.put({tag}, &self.{}, form)?;", field.name);
    let differs = differs(field);
    match guard(&field.versions) {
        None => line!(out, "        if {differs} {{\n            {put}\n        }}"),
        Some(guard) if field.ignorable => {
            line!(out, "        if {guard} && {differs} {{\n            {put}\n        }}");
        }
        Some(guard) => line!(
            out,
            "        if {guard} {{\n            if {differs} {{\n                {put}\n            }}\n        }}{}",
            lacking(item, field)
        ),
    }
}

fn get_plain(out: &mut String, field: &Field) {
    let get = match field.null_from {
        Some(from) if from > field.versions.first => format!("get_null_from({from}, form, reader)?"),
        _ => "Wire::get(form, reader)?".to_owned(),
    };
    let value = match guard(&field.versions) {
        None => get,
        Some(guard) => format!("if {guard} {{ {get} }} else {{ {} }}", default_value(field)),
    };
    line!(out, "            {}: {value},", field.name);
}

fn get_tagged(out: &mut String, tagged: &[&Field]) {
    if tagged.is_empty() {
        line!(out, "        reader.tags(form, |_, _| Ok(false))?;");
        return;
    }
    line!(out, "        reader.tags(form, |tag, reader| {{\n            match tag {{");
    for field in tagged {
        let tag = field.tag.expect("only tagged fields come here");
        let guard = guard(&field.versions).map(|guard| format!(" if {guard}")).unwrap_or_default();
        line!(out, "                {tag}{guard} => record.{} = Wire::get(form, reader)?,", field.name);
    }
    line!(out, "                _ => return Ok(false),\n            }}\n            Ok(true)\n        }})?;");
}

/// For tests: a random value that the version can carry.
fn draw(out: &mut String, item: &Item) {
    line!(out, "\n#[cfg(test)]\nimpl Draw for {} {{", item.name);
    line!(out, "    #[allow(unused_variables)]");
    line!(out, "    fn draw(form: Form, random: &mut Random) -> Self {{\n        Self {{");
    for field in &item.fields {
        let value = match guard(&field.versions) {
            None => "Draw::draw(form, random)".to_owned(),
            Some(guard) => {
                format!("if {guard} {{ Draw::draw(form, random) }} else {{ {} }}", default_value(field))
            }
        };
        line!(out, "            {}: {value},", field.name);
    }
    line!(out, "        }}\n    }}\n}}");
}

/// The enum over a family's records, and what it does by matching on them.
fn enumeration(out: &mut String, name: &str, schema: &Schema) {
    let records: Vec<(&str, &str, i16)> = schema
        .items
        .iter()
        .filter_map(|item| match item.kind {
            Kind::Record { key: Some(key), .. } => Some((variant(&item.name), item.name.as_str(), key)),
            _ => None,
        })
        .collect();
    line!(out, "\n/// Any record of this family.");
    line!(out, "#[derive(Clone, Debug, PartialEq, Eq)]\npub enum {name} {{");
    for (variant, record, key) in &records {
        line!(out, "    /// Record {key}.\n    {variant}({record}),");
    }
    line!(out, "}}\n\nimpl {name} {{");
    line!(out, "    /// Each record's key, name and versions.");
    line!(out, "    pub const TYPES: &'static [(i16, &'static str, RangeInclusive<i16>)] = &[");
    for (_, record, key) in &records {
        line!(out, "        ({key}, {record}::NAME, {record}::VERSIONS),");
    }
    line!(out, "    ];\n");
    by_variant(out, "/// The number that tells its type.", "key(&self) -> i16", &records, |_, key| {
        format!("(_) => {key}")
    });
    by_variant(out, "/// Its type's name.", "name(&self) -> &'static str", &records, |record, _| {
        format!("(_) => {record}::NAME")
    });
    let encode = "encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), EncodeError>";
    by_variant(out, "/// Appends the body in `version`.", encode, &records, |_, _| {
        "(record) => record.encode(version, out)".to_owned()
    });
    line!(out, "    /// Reads a body of type `key` in `version`, all of it.");
    line!(out, "    pub fn decode(key: i16, version: i16, bytes: &[u8]) -> Result<Self, DecodeError> {{");
    line!(out, "        match key {{");
    for (variant, record, key) in &records {
        line!(out, "            {key} => Ok(Self::{variant}({record}::decode(version, bytes)?)),");
    }
    line!(out, "            key => Err(DecodeError::Type {{ key }}),\n        }}\n    }}\n}}");
    for (variant, record, _) in &records {
        line!(out, "\nimpl From<{record}> for {name} {{\n    fn from(record: {record}) -> Self {{");
        line!(out, "        Self::{variant}(record)\n    }}\n}}");
    }
}

fn by_variant(
    out: &mut String,
    doc: &str,
    signature: &str,
    records: &[(&str, &str, i16)],
    arm: impl Fn(&str, i16) -> String,
) {
    line!(out, "    {doc}\n    pub fn {signature} {{\n        match self {{");
    for (variant, record, key) in records {
        line!(out, "            Self::{variant}{},", arm(record, *key));
    }
    line!(out, "        }}\n    }}\n");
}

fn variant(record: &str) -> &str {
    record.strip_suffix("Record").unwrap_or(record)
}

/// The condition under which a version has the field; `None` when each has.
fn guard(versions: &Versions) -> Option<String> {
    match (versions.first, versions.last) {
        (0, None) => None,
        (first, None) => Some(format!("form.version >= {first}")),
        (0, Some(last)) => Some(format!("form.version <= {last}")),
        (first, Some(last)) => Some(format!("({first}..={last}).contains(&form.version)")),
    }
}

/// The condition under which the field is not its default.
fn differs(field: &Field) -> String {
    let name = &field.name;
    match (&field.shape, field.default.as_deref()) {
        (_, Some("null")) => format!("self.{name}.is_some()"),
        (Shape::Scalar(Scalar::Bool), Some("true")) => format!("!self.{name}"),
        (Shape::Scalar(Scalar::Bool), _) => format!("self.{name}"),
        (Shape::Array(_) | Shape::Scalar(Scalar::String | Scalar::Bytes), None)
            if field.null_from.is_none() =>
        {
            format!("!self.{name}.is_empty()")
        }
        _ => format!("self.{name} != {}", default_value(field)),
    }
}

fn default_value(field: &Field) -> String {
    if field.default.as_deref() == Some("null") {
        return "None".to_owned();
    }
    let plain = match (&field.shape, field.default.as_deref()) {
        (Shape::Array(_) | Shape::Scalar(Scalar::Bytes), _) => "Vec::new()".to_owned(),
        (Shape::Struct(name), _) => format!("{name}::default()"),
        (Shape::Scalar(Scalar::Uuid), _) => "Uuid::ZERO".to_owned(),
        (Shape::Scalar(Scalar::Float64), text) => format!("Float64::new({}_f64)", text.unwrap_or("0")),
        (Shape::Scalar(Scalar::String), None) => "String::new()".to_owned(),
        (Shape::Scalar(Scalar::String), Some(text)) => format!("{text:?}.to_owned()"),
        (Shape::Scalar(Scalar::Bool), text) => text.unwrap_or("false").to_owned(),
        (Shape::Scalar(_), text) => text.unwrap_or("0").to_owned(),
    };
    if field.null_from.is_some() { format!("Some({plain})") } else { plain }
}

fn field_type(field: &Field) -> String {
    let plain = shape_type(&field.shape);
    if field.null_from.is_some() { format!("Option<{plain}>") } else { plain }
}

fn shape_type(shape: &Shape) -> String {
    match shape {
        Shape::Scalar(Scalar::Bool) => "bool".to_owned(),
        Shape::Scalar(Scalar::Int8) => "i8".to_owned(),
        Shape::Scalar(Scalar::Int16) => "i16".to_owned(),
        Shape::Scalar(Scalar::Uint16) => "u16".to_owned(),
        Shape::Scalar(Scalar::Int32) => "i32".to_owned(),
        Shape::Scalar(Scalar::Int64) => "i64".to_owned(),
        Shape::Scalar(Scalar::Float64) => "Float64".to_owned(),
        Shape::Scalar(Scalar::Uuid) => "Uuid".to_owned(),
        Shape::Scalar(Scalar::String) => "String".to_owned(),
        Shape::Scalar(Scalar::Bytes) => "Vec<u8>".to_owned(),
        Shape::Struct(name) => name.clone(),
        Shape::Array(element) => format!("Vec<{}>", shape_type(element)),
    }
}

fn versions_text(versions: &Versions) -> String {
    match (versions.first, versions.last) {
        (first, Some(last)) if first == last => format!("version {first}"),
        (first, Some(last)) => format!("versions {first} to {last}"),
        (first, None) => format!("from version {first} on"),
    }
}

fn field_text(field: &Field) -> String {
    let presence = if guard(&field.versions).is_none() {
        "In every version".to_owned()
    } else {
        let text = versions_text(&field.versions);
        format!("{}{}", text[..1].to_uppercase(), &text[1..])
    };
    let tag = field.tag.map(|tag| format!(", tag {tag}")).unwrap_or_default();
    let default = field.default.as_ref().map(|text| format!(", else {text}")).unwrap_or_default();
    format!("{presence}{tag}{default}")
}
