//! Stripe's form encoding, and the requests that are stored: what is sent is exactly what was stored (H21 d).
//!
//! Fields keep the order in which they were added. A stored request is one line per call, `<path> <form>`; both are
//! percent-encoded, so that neither holds a space or a line break. Most have one line. Giving money back may take
//! several, each under a key of its own (H23). Not here: how a line is sent (`http`), what goes into one (`prepare`).

use std::fmt::{self, Write as _};

/// Fields in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    text: String,
}

impl Form {
    /// No field.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more field; its name has brackets where Stripe nests.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        if !self.text.is_empty() {
            self.text.push('&');
        }
        self.text.extend(form_urlencoded::byte_serialize(name.as_bytes()));
        self.text.push('=');
        self.text.extend(form_urlencoded::byte_serialize(value.to_string().as_bytes()));
        self
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// One call of a stored request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Begins with `/v1/`.
    pub path: String,
    /// The body.
    pub form: String,
}

impl Part {
    /// A call to a path of checked words.
    pub fn new(path: String, form: &Form) -> Self {
        Self { path, form: form.text.clone() }
    }

    /// What a field holds.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut all = form_urlencoded::parse(self.form.as_bytes());
        all.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    }
}

/// The text to store.
pub fn stored(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {}", part.path, part.form);
    }
    text
}

/// The calls of a stored text; none if it is not one of ours.
pub fn parts(stored: &str) -> Option<Vec<Part>> {
    let part = |line: &str| {
        let (path, form) = line.split_once(' ')?;
        path.starts_with("/v1/").then(|| Part { path: path.to_owned(), form: form.to_owned() })
    };
    stored.lines().map(part).collect()
}

/// A name that Stripe gave, checked before it becomes part of a path: letters, digits, `_` and `-`.
pub fn name(text: &str) -> Option<&str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    ((1..=255).contains(&text.len()) && text.bytes().all(plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_what_is_sent() {
        let form =
            Form::new().with("items[0][price]", "price_1").with("metadata[change_id]", "a b&c=d\n").with("n", -5);
        assert_eq!(form.as_str(), "items%5B0%5D%5Bprice%5D=price_1&metadata%5Bchange_id%5D=a+b%26c%3Dd%0A&n=-5");
        let two = [Part::new("/v1/refunds".to_owned(), &form), Part::new("/v1/a".to_owned(), &Form::new())];
        let text = stored(&two);
        assert_eq!(parts(&text).expect("ours"), two);
        assert_eq!(two[0].field("metadata[change_id]").as_deref(), Some("a b&c=d\n"));
        assert_eq!(two[0].field("metadata"), None);
        assert_eq!(parts("").expect("nothing to do is a request too"), []);
        assert!(parts("{\"kind\":\"forward\"}").is_none() && parts("/v2/a b").is_none());
    }

    #[test]
    fn a_name_cannot_lead_to_another_path() {
        assert_eq!(name("sub_1Abc-x"), Some("sub_1Abc-x"));
        for bad in ["", "a/b", "..", "a b", "a\n", "a?b", "a%2f", "é", &"a".repeat(256)] {
            assert_eq!(name(bad), None, "{bad:?}");
        }
    }
}
