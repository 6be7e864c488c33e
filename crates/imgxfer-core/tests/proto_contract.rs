//! `docs/imgxfer.proto` says what `wire/message.rs` does: messages, fields, numbers and types.
//!
//! Both are read as text: the one with as much of the protobuf language as it uses, the other by the
//! attributes that the derive reads. That those attributes mean the bytes is shown by the golden vectors.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic is the report")]

use std::collections::BTreeMap;
use std::path::Path;

/// A field: label and type, and name. The oneof's members are fields of the envelope like any other, as
/// they are in the encoding.
type Field = (String, String);
/// Fields of each message by number.
type Contract = BTreeMap<String, BTreeMap<u32, Field>>;

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// `PageRef` becomes `page_ref`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn insert(fields: &mut BTreeMap<u32, Field>, message: &str, number: u32, field: Field) {
    let before = fields.insert(number, field);
    assert!(before.is_none(), "{message} has number {number} twice");
}

/// Reads proto3: messages of plain fields, and a oneof. Panics at anything else.
fn of_proto(text: &str) -> Contract {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join(" ");
    let spaced = code.replace('{', " { ").replace('}', " } ").replace(';', " ; ").replace('=', " = ");
    let mut tokens = spaced.split_whitespace();
    let mut contract = Contract::new();
    let (mut message, mut depth, mut statement) = (String::new(), 0, Vec::new());
    while let Some(token) = tokens.next() {
        match token {
            "message" if depth == 0 => {
                message = tokens.next().unwrap().to_owned();
                assert!(contract.insert(message.clone(), BTreeMap::new()).is_none(), "{message} is there twice");
                assert_eq!(tokens.next(), Some("{"));
                depth = 1;
            }
            "oneof" if depth == 1 => {
                tokens.next().unwrap();
                assert_eq!(tokens.next(), Some("{"));
                depth = 2;
            }
            "}" => depth -= 1,
            ";" => {
                match (depth, statement.as_slice()) {
                    (0, ["syntax", "=", "\"proto3\""] | ["package", "imgxfer.v1"]) => {}
                    (1 | 2, [of_type @ .., name, "=", number]) if (1..=2).contains(&of_type.len()) => {
                        let field = (of_type.join(" "), (*name).to_owned());
                        insert(contract.get_mut(&message).unwrap(), &message, number.parse().unwrap(), field);
                    }
                    (_, other) => panic!("{other:?} is more than this parser reads"),
                }
                statement.clear();
            }
            word => statement.push(word),
        }
    }
    assert_eq!(depth, 0, "the braces of the .proto do not match");
    contract
}

/// What stands between the brackets of `#[prost(...)]`: label and type, and number.
fn of_attribute(attribute: &str) -> (String, u32) {
    let parts: Vec<&str> = attribute.split(", ").collect();
    let kind = parts[0].split(" = ").next().unwrap();
    let number = parts.iter().find_map(|part| part.strip_prefix("tag = \"")?.strip_suffix('"')).unwrap();
    let label = if parts.contains(&"repeated") { "repeated " } else { "" };
    // A message may be absent in any case, and where it is kept is the program's affair.
    let known = ["repeated", "optional", "boxed"].map(str::to_owned);
    let rest = parts[1..].iter().filter(|part| !part.starts_with("tag = ") && !known.contains(&(**part).to_owned()));
    assert_eq!(rest.count(), 0, "an option that the contract does not know: {attribute}");
    (format!("{label}{kind}"), number.parse().unwrap())
}

/// Reads the source of the derive.
fn of_source(text: &str) -> Contract {
    let mut contract = Contract::new();
    let (mut derived, mut message, mut attribute) = (None, None::<String>, None::<String>);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[derive(") {
            derived = Some(line.contains("prost::Message") || line.contains("prost::Oneof"));
        } else if let Some(inside) = line.strip_prefix("#[prost(").and_then(|l| l.strip_suffix(")]")) {
            attribute = (inside != "skip_debug").then(|| inside.to_owned());
        } else if let Some(rest) = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum ")) {
            let name = rest.split_whitespace().next().unwrap();
            // The oneof's members travel as fields of the envelope.
            let name = if name == "Body" { "Envelope" } else { name };
            message = (derived == Some(true)).then(|| name.to_owned());
            if let Some(name) = &message {
                contract.entry(name.clone()).or_default();
            }
        } else if line == "}" {
            message = None;
        } else if let (Some(message), Some(attribute)) = (&message, attribute.take()) {
            if attribute.starts_with("oneof") {
                continue;
            }
            let (mut of_type, number) = of_attribute(&attribute);
            let name = match line.strip_prefix("pub ") {
                Some(field) => {
                    let (name, of) = field.trim_end_matches(',').split_once(": ").unwrap();
                    // Which message it is says the field's own type.
                    let message = of.rsplit_once('<').map(|(_, inner)| inner.trim_end_matches('>'));
                    if let (Some(label), Some(message)) = (of_type.strip_suffix("message"), message) {
                        of_type = format!("{label}{message}");
                    }
                    name.to_owned()
                }
                None => {
                    let (name, of) = line.trim_end_matches(',').split_once('(').unwrap();
                    assert_eq!(of_type, "message", "{line}");
                    of.trim_end_matches(')').clone_into(&mut of_type);
                    snake(name)
                }
            };
            insert(contract.get_mut(message).unwrap(), message, number, (of_type, name));
        }
    }
    contract
}

#[test]
fn the_published_contract_is_what_the_program_speaks() {
    let published = of_proto(&text("../../docs/imgxfer.proto"));
    let source = text("src/wire/message.rs");
    let spoken = of_source(&source);
    assert_eq!(published.keys().collect::<Vec<_>>(), spoken.keys().collect::<Vec<_>>(), "the messages");
    for (message, fields) in &published {
        assert_eq!(fields, &spoken[message], "{message}: docs/imgxfer.proto on the left, wire/message.rs on the right");
    }
    let fields: usize = spoken.values().map(BTreeMap::len).sum();
    let attributes =
        source.lines().filter(|line| line.trim().starts_with("#[prost(") && line.contains("tag = ")).count();
    assert_eq!(fields, attributes, "this test has overlooked a field");
}

#[test]
fn the_envelope_lists_every_kind_of_message() {
    let source = text("src/wire/message.rs");
    let (_, tags) = source.split_once("tags = \"").unwrap();
    let (tags, _) = tags.split_once('"').unwrap();
    let tags: Vec<u32> = tags.split(", ").map(|tag| tag.parse().unwrap()).collect();
    let spoken: Vec<u32> = of_source(&source)["Envelope"].keys().copied().collect();
    assert_eq!(tags, spoken);
}

#[test]
fn a_difference_is_found() {
    let proto = text("../../docs/imgxfer.proto");
    for (from, to) in [
        ("bytes hash = 2", "bytes hash = 3"),
        ("bytes hash = 2", "string hash = 2"),
        ("hash = 2", "digest = 2"),
        ("repeated Value by = 2", "Value by = 2"),
        ("Place after = 3", "Value after = 3"),
    ] {
        assert!(proto.contains(from));
        assert_ne!(of_proto(&proto.replace(from, to)), of_proto(&proto), "{to}");
    }
}

/// The numbers of codes in `docs/wire-format.md` are those of the program.
#[test]
fn codes_are_those_of_the_document() {
    use imgxfer_core::wire::message::{FailCode, RefuseCode};
    let document = text("../../docs/wire-format.md");
    let has = |row: String| assert!(document.contains(&row), "docs/wire-format.md lacks {row:?}");
    let refusals = [
        (RefuseCode::Other, "other"),
        (RefuseCode::NotAllowed, "not allowed"),
        (RefuseCode::NotFound, "not found"),
        (RefuseCode::NoSpace, "no space"),
        (RefuseCode::Busy, "busy"),
        (RefuseCode::ShuttingDown, "shutting down"),
        (RefuseCode::Protocol, "protocol"),
        (RefuseCode::Internal, "internal"),
    ];
    refusals.iter().for_each(|(code, name)| has(format!("\n| {} | {name} |", code.number())));
    for (code, name) in
        [(FailCode::Other, "other"), (FailCode::Integrity, "integrity"), (FailCode::Identity, "identity")]
    {
        has(format!("\n| {} | {name}", code.number()));
    }
}

#[cfg(feature = "quic")]
#[test]
fn close_codes_are_those_of_the_document() {
    use imgxfer_core::transport::CloseCode;
    let document = text("../../docs/wire-format.md");
    let names = [
        (CloseCode::Done, "done"),
        (CloseCode::Refused, "refused"),
        (CloseCode::Version, "version"),
        (CloseCode::Busy, "busy"),
        (CloseCode::ShuttingDown, "shutting down"),
        (CloseCode::Protocol, "protocol"),
        (CloseCode::Limit, "limit"),
        (CloseCode::Stalled, "stalled"),
        (CloseCode::Integrity, "integrity"),
        (CloseCode::Internal, "internal"),
        (CloseCode::Cancelled, "cancelled"),
        (CloseCode::Pairing, "pairing"),
    ];
    for (code, name) in names {
        let row = format!("\n| {} | {name} |", code.number());
        assert!(document.contains(&row), "docs/wire-format.md lacks {row:?}");
    }
}
