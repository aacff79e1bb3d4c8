//! Encodings as text.

use std::fmt::Write as _;

/// Percent-encodes the bytes of all characters but those to be kept.
pub fn percent_encode(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        if keep(c) {
            encoded.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The body of a form (`application/x-www-form-urlencoded`).
///
/// Source: WHATWG URL Standard, 5.2; spaces are encoded as `%20`, which every reader decodes.
pub fn form(fields: &[(&str, &str)]) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let field = |(name, value): &(&str, &str)| {
        format!(
            "{}={}",
            percent_encode(name, keep),
            percent_encode(value, keep)
        )
    };
    let fields: Vec<_> = fields.iter().map(field).collect();
    fields.join("&")
}
