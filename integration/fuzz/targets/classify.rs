//! Any text: the classifier never fails, and nothing but a SELECT (or a LIST) is ever a read.
#![no_main]

use helix_proxy::statement::{Class, Schema, classify, classify_in};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let statement = classify(text);
    let schema = Schema::default();
    let _repeatable = statement.repeatable(&schema, Some("ks"));
    let _point = statement.point_read(&schema, Some("ks"));
    let _system = classify_in(text, Some("system"));
    let _change = classify_in(text, Some("system_schema"));

    let first = first_word(text).to_ascii_lowercase();
    let reads = match statement.class {
        Class::Read | Class::System | Class::Topology(_) | Class::Traces => first == "select",
        Class::Describe => ["desc", "describe", "list"].contains(&&*first),
        Class::Use(_) => first == "use",
        Class::Write => ["insert", "update", "delete", "begin"].contains(&&*first),
        Class::Conditional | Class::Schema(_) | Class::Unknown => true,
    };
    assert!(reads, "{:?} starts with {first}", statement.class);
    let places = text
        .bytes()
        .filter(|byte| matches!(byte, b'?' | b':'))
        .count();
    assert!(statement.markers <= places, "{} markers", statement.markers);

    let wrapped = format!("/* SELECT '*/{text}\n;");
    assert_eq!(
        classify(&wrapped).class,
        statement.class,
        "a comment and a semicolon"
    );
});

/// The first word behind comments and whitespace, found without the classifier's lexer.
fn first_word(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches([' ', '\t', '\r', '\n']);
        let rest = if text.starts_with("--") || text.starts_with("//") {
            text.find(['\r', '\n']).and_then(|end| text.get(end..))
        } else if text.starts_with("/*") {
            let inside = text.get(2..).unwrap_or_default();
            inside.find("*/").and_then(|end| inside.get(end + 2..))
        } else {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            return text.get(..end.unwrap_or(text.len())).unwrap_or_default();
        };
        let Some(rest) = rest else { return "" };
        text = rest;
    }
}
