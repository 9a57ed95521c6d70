//! From proto fields to typed values, with every fault noted and its path given.
//!
//! A handler reads all fields through one [`Fields`], then asks [`Fields::finish`] once: so the caller learns of all
//! malformed fields in one answer, and nothing was changed. The limits themselves stand in the contract, at the
//! fields; here is only how they are checked.

use std::ops::RangeInclusive;
use tiershift_core::Error;
use tiershift_core::error::Fields;
use tiershift_core::ids::Malformed;

/// Rows of a page when the caller does not say (page_size 0).
pub const PAGE_SIZE_DEFAULT: u32 = 50;

/// Most rows of a page. More is refused, so that a caller who counts on them learns of it.
pub const PAGE_SIZE_MAX: u32 = 500;

/// Readers of proto fields, over [`Fields`].
pub trait FieldsExt {
    /// An id that may be left empty: `Some(None)` then. `None` = noted as a fault.
    fn optional_id<T>(
        &mut self,
        path: &str,
        text: &str,
        parse: fn(String) -> Result<T, Malformed>,
    ) -> Option<Option<T>>;

    /// Ids of a repeated field, at most `max`; each fault with its index (`graph_ids[3]`).
    fn ids<T>(
        &mut self,
        path: &str,
        texts: &[String],
        max: usize,
        parse: fn(String) -> Result<T, Malformed>,
    ) -> Option<Vec<T>>;

    /// A message field that must be there.
    fn required<T>(&mut self, path: &str, value: Option<T>) -> Option<T>;

    /// A number within its limits, both included.
    fn range(&mut self, path: &str, value: i64, limits: RangeInclusive<i64>) -> Option<i64>;

    /// A text of so many characters.
    fn text(&mut self, path: &str, value: &str, characters: RangeInclusive<usize>) -> Option<String>;

    /// An enum value that is known and not UNSPECIFIED.
    fn choice<E: TryFrom<i32>>(&mut self, path: &str, value: i32) -> Option<E>;

    /// A page size: 0 is the default; negative, or more than the most, is a fault.
    fn page_size(&mut self, path: &str, value: i32) -> Option<u32>;

    /// A value whose own check gave an error with field faults: they are taken over.
    fn checked<T>(&mut self, value: Result<T, Error>) -> Option<T>;
}

impl FieldsExt for Fields {
    fn optional_id<T>(
        &mut self,
        path: &str,
        text: &str,
        parse: fn(String) -> Result<T, Malformed>,
    ) -> Option<Option<T>> {
        if text.is_empty() { Some(None) } else { self.id(path, parse(text.to_owned())).map(Some) }
    }

    fn ids<T>(
        &mut self,
        path: &str,
        texts: &[String],
        max: usize,
        parse: fn(String) -> Result<T, Malformed>,
    ) -> Option<Vec<T>> {
        if texts.len() > max {
            self.fault(path, format!("must have at most {max} entries"));
            return None;
        }
        // Not `collect::<Option<_>>`, which would stop at the first fault.
        let ids: Vec<_> = texts
            .iter()
            .enumerate()
            .filter_map(|(i, text)| self.id(&format!("{path}[{i}]"), parse(text.clone())))
            .collect();
        (ids.len() == texts.len()).then_some(ids)
    }

    fn required<T>(&mut self, path: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.fault(path, "must be given");
        }
        value
    }

    fn range(&mut self, path: &str, value: i64, limits: RangeInclusive<i64>) -> Option<i64> {
        if limits.contains(&value) {
            return Some(value);
        }
        self.fault(path, format!("must be {} to {}", limits.start(), limits.end()));
        None
    }

    fn text(&mut self, path: &str, value: &str, characters: RangeInclusive<usize>) -> Option<String> {
        if characters.contains(&value.chars().count()) {
            return Some(value.to_owned());
        }
        self.fault(path, format!("must have {} to {} characters", characters.start(), characters.end()));
        None
    }

    fn choice<E: TryFrom<i32>>(&mut self, path: &str, value: i32) -> Option<E> {
        let known = if value == 0 { None } else { E::try_from(value).ok() };
        if known.is_none() {
            self.fault(path, "must be a known value and not unspecified");
        }
        known
    }

    fn page_size(&mut self, path: &str, value: i32) -> Option<u32> {
        match u32::try_from(value) {
            Ok(0) => Some(PAGE_SIZE_DEFAULT),
            Ok(rows) if rows <= PAGE_SIZE_MAX => Some(rows),
            _ => {
                self.fault(path, format!("must be 0 to {PAGE_SIZE_MAX}"));
                None
            }
        }
    }

    fn checked<T>(&mut self, value: Result<T, Error>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                if error.fields.is_empty() {
                    self.fault("request", error.message);
                }
                for fault in error.fields {
                    self.fault(fault.field, fault.rule);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tiershift_core::ids::GraphId;
    use tiershift_proto::common::v1::Direction;

    const GRAPH: &str = "kg0123456789abcdef";

    #[test]
    fn good_fields_leave_no_fault() {
        let mut fields = Fields::new();
        assert_eq!(fields.optional_id("graph_id", "", GraphId::parse), Some(None));
        assert_eq!(fields.optional_id("graph_id", GRAPH, GraphId::parse), Some(GraphId::parse(GRAPH).ok()));
        assert_eq!(fields.ids("graph_ids", &[GRAPH.into()], 1, GraphId::parse).map(|ids| ids.len()), Some(1));
        assert_eq!(fields.required("usage", Some(1)), Some(1));
        assert_eq!(fields.range("size_gib", 16, 1..=16), Some(16));
        assert_eq!(fields.text("message", "äö", 1..=2), Some("äö".to_owned()));
        assert_eq!(fields.choice("direction", 2), Some(Direction::Undo));
        assert_eq!(fields.page_size("page_size", 0), Some(PAGE_SIZE_DEFAULT));
        assert_eq!(fields.page_size("page_size", 500), Some(PAGE_SIZE_MAX));
        assert_eq!(fields.finish(), Ok(()));
    }

    #[test]
    fn every_fault_is_noted_with_its_path() {
        let mut fields = Fields::new();
        assert_eq!(fields.optional_id("graph_id", "x", GraphId::parse), None);
        let texts = ["y".to_owned(), GRAPH.to_owned(), "z".to_owned()];
        assert_eq!(fields.ids("graph_ids", &texts, 3, GraphId::parse), None);
        assert_eq!(fields.ids("few", &texts, 2, GraphId::parse), None);
        assert_eq!(fields.required::<i32>("usage", None), None);
        assert_eq!(fields.range("size_gib", 17, 1..=16), None);
        assert_eq!(fields.text("message", "", 1..=2), None);
        assert_eq!(fields.choice::<Direction>("direction", 0), None);
        assert_eq!(fields.choice::<Direction>("direction", 77), None);
        assert_eq!(fields.page_size("page_size", -1), None);
        assert_eq!(fields.page_size("page_size", 501), None);
        assert_eq!(fields.checked::<()>(Err(Error::invalid_field("inner", "must be good"))), None);
        let error = fields.finish().expect_err("faults");
        let paths: Vec<_> = error.fields.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(
            paths,
            [
                "graph_id",
                "graph_ids[0]",
                "graph_ids[2]",
                "few",
                "usage",
                "size_gib",
                "message",
                "direction",
                "direction",
                "page_size",
                "page_size",
                "inner"
            ]
        );
    }
}
