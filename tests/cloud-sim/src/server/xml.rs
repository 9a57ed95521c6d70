//! A writer of XML: elements, texts, lists. No attributes but the root's namespace, no reading.

use std::fmt::Display;

/// A document under construction.
#[derive(Debug, Default)]
pub(super) struct Xml {
    text: String,
}

impl Xml {
    /// A document with one root element in a namespace.
    pub(super) fn document(root: &str, namespace: &str, fill: impl FnOnce(&mut Self)) -> String {
        let mut xml = Self { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned() };
        let attribute = if namespace.is_empty() { String::new() } else { format!(" xmlns=\"{namespace}\"") };
        xml.push(&["<", root, &attribute, ">"]);
        fill(&mut xml);
        xml.push(&["</", root, ">"]);
        xml.text
    }

    /// An element with elements in it.
    pub(super) fn element(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.push(&["<", name, ">"]);
        fill(self);
        self.push(&["</", name, ">"]);
    }

    fn push(&mut self, texts: &[&str]) {
        self.text.extend(texts.iter().copied());
    }

    /// An element with a text in it.
    pub(super) fn value(&mut self, name: &str, value: impl Display) {
        self.element(name, |xml| xml.escaped(&value.to_string()));
    }

    /// An element with a text in it, if there is one.
    pub(super) fn option(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.value(name, value);
        }
    }

    /// An element with a text in it, unless that is empty: the model's way to say that there is none.
    pub(super) fn some(&mut self, name: &str, value: &str) {
        self.option(name, (!value.is_empty()).then_some(value));
    }

    /// A list: EC2 calls its elements `item`, the older services `member`.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        element: &str,
        items: impl IntoIterator<Item = T>,
        fill: impl Fn(&mut Self, T),
    ) {
        self.element(name, |xml| {
            for item in items {
                xml.element(element, |xml| fill(xml, item));
            }
        });
    }

    /// The text of the element that is being filled.
    pub(super) fn escaped(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                // A parser would turn them into line feeds or spaces.
                '\r' => self.text.push_str("&#13;"),
                '\n' => self.text.push_str("&#10;"),
                '\t' => self.text.push_str("&#9;"),
                // XML 1.0 has no way to write them.
                control if control < ' ' => self.text.push(char::REPLACEMENT_CHARACTER),
                other => self.text.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_lists_and_texts() {
        let text = Xml::document("R", "urn:x", |xml| {
            xml.value("a", 1);
            xml.option("b", None::<u32>);
            xml.some("c", "");
            xml.list("set", "item", ["x", "y"], |xml, item| xml.value("v", item));
            xml.list("none", "item", [] as [&str; 0], |xml, item| xml.value("v", item));
        });
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"urn:x\"><a>1</a><set><item><v>x</v></item>\
             <item><v>y</v></item></set><none></none></R>"
        );
    }

    #[test]
    fn what_means_something_in_xml_is_escaped() {
        let mut xml = Xml::default();
        xml.value("t", "<a & \"b\">\r\n\u{1}é");
        assert_eq!(xml.text, "<t>&lt;a &amp; &quot;b&quot;&gt;&#13;&#10;\u{fffd}é</t>");
    }
}
