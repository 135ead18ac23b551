//! The JSON scanner: every shape, broken grammar, every cut, the nesting limit.

#![allow(clippy::indexing_slicing)]

use tickd_core::decode::json::{Cursor, Shape};
use tickd_core::error::{Reason, Result};

fn whole(text: &str) -> Result<Shape> {
    let mut cursor = Cursor::new(text.as_bytes());
    let value = cursor.value()?;
    cursor.end()?;
    Ok(value.shape)
}

#[test]
fn values_of_every_shape_are_taken_whole() {
    for (text, shape) in [
        (r#""a\"b\u00e9\\""#, Shape::Text),
        ("-12.5e+3", Shape::Number),
        (" [1 , [ ] , {} ] \n", Shape::Array),
        (r#"{"a":{"b":[1,"]}"]},"c":null}"#, Shape::Object),
        ("true", Shape::Word),
    ] {
        assert_eq!(whole(text), Ok(shape), "{text}");
    }
}

#[test]
fn broken_grammar_is_refused() {
    for text in [
        "[1,]",
        "{,}",
        "[1 2]",
        "{\"a\" 1}",
        "01",
        "1.e",
        "-x",
        "tru ",
        "\"\\x\"",
        "\"a\nb\"",
        "[]]",
        "nul!",
        "{1:2}",
    ] {
        assert_eq!(
            whole(text).map_err(|error| error.reason),
            Err(Reason::Malformed),
            "{text}"
        );
    }
}

#[test]
fn every_cut_of_an_object_is_truncated() {
    let text = r#"{"a":[["1.5","2"],[]],"b":{"c":true,"d":-1.5e-3,"e":"x\u1234y"},"f":null}"#;
    for cut in 0..text.len() {
        assert_eq!(
            whole(&text[..cut]).map_err(|error| error.reason),
            Err(Reason::Truncated),
            "cut at {cut}"
        );
    }
    assert!(whole(text).is_ok());
}

#[test]
fn nesting_has_a_limit() {
    let fine = "[".repeat(32) + &"]".repeat(32);
    let deep = "[".repeat(33) + &"]".repeat(33);
    assert!(whole(&fine).is_ok());
    assert_eq!(whole(&deep).map_err(|error| error.reason), Err(Reason::TooLarge));
}
