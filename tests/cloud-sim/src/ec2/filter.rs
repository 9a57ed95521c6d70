//! Filters and pages of the Describe calls.

use crate::api::ApiError;
use crate::api::ec2::{Filter, Paging, Tags};

/// Most values of one filter.
const VALUES_MAX: usize = 200;

/// Refuses filters that the call does not know, and filters that are too long.
pub fn check(filters: &[Filter], known: &[&str]) -> Result<(), ApiError> {
    for filter in filters {
        let by_tag = filter.name.starts_with("tag:") || filter.name == "tag-key";
        if !(known.contains(&filter.name.as_str()) || by_tag && known.contains(&"tag")) {
            return Err(ApiError::bad("InvalidParameterValue", format!("The filter '{}' is invalid", filter.name)));
        }
        if filter.values.len() > VALUES_MAX {
            return Err(ApiError::bad(
                "FilterLimitExceeded",
                format!("The maximum number of filter values specified on a single call is {VALUES_MAX}"),
            ));
        }
    }
    Ok(())
}

/// Whether a resource matches all filters. `field` gives its values for a filter name; tags are looked up here.
pub fn matches(filters: &[Filter], tags: &Tags, field: impl Fn(&str) -> Vec<String>) -> bool {
    filters.iter().all(|filter| {
        let values = if filter.name == "tag-key" {
            tags.keys().cloned().collect()
        } else if let Some(key) = filter.name.strip_prefix("tag:") {
            tags.get(key).cloned().into_iter().collect()
        } else {
            field(&filter.name)
        };
        values.iter().any(|value| filter.values.iter().any(|pattern| like(pattern, value)))
    })
}

/// The exact values that a filter names, if it is there and has no wildcard: lets a call look up instead of search.
pub fn exact<'a>(filters: &'a [Filter], name: &str) -> Option<&'a [String]> {
    let filter = filters.iter().find(|filter| filter.name == name)?;
    let wild = filter.values.iter().any(|value| value.contains(['*', '?']));
    (!wild).then_some(filter.values.as_slice())
}

/// The tags, as [`tag`] writes them, of the first filter on a tag's values that has no wildcard.
pub fn exact_tags(filters: &[Filter]) -> Option<impl Iterator<Item = String>> {
    filters.iter().find_map(|filter| {
        let key = filter.name.strip_prefix("tag:")?;
        Some(exact(filters, &filter.name)?.iter().map(move |value| tag(key, value)))
    })
}

/// A tag as one word.
pub fn tag(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

/// Cuts one page out of items in key order.
pub fn page<T>(items: Vec<(String, T)>, paging: &Paging) -> Result<(Vec<T>, Option<String>), ApiError> {
    let after =
        match &paging.next_token {
            None => None,
            Some(token) => Some(token.strip_prefix("after:").ok_or_else(|| {
                ApiError::bad("InvalidParameterValue", format!("The nextToken '{token}' is not valid"))
            })?),
        };
    let size = match paging.max_results {
        None => usize::MAX,
        Some(size @ 5..=1000) => size as usize,
        Some(size) => {
            return Err(ApiError::bad(
                "InvalidParameterValue",
                format!("Value ( {size} ) for parameter maxResults is invalid. Expecting a value between 5 and 1000."),
            ));
        }
    };
    let mut rest = items.into_iter().filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
    let mut last = None;
    let mut found = Vec::new();
    for (key, item) in rest.by_ref().take(size) {
        last = Some(key);
        found.push(item);
    }
    let next = rest.next().and(last).map(|key| format!("after:{key}"));
    Ok((found, next))
}

/// Refuses ids together with a page size, as EC2 does.
pub fn ids_or_pages(ids: &[String], paging: &Paging) -> Result<(), ApiError> {
    if !ids.is_empty() && (paging.max_results.is_some() || paging.next_token.is_some()) {
        return Err(ApiError::bad(
            "InvalidParameterCombination",
            "The parameter MaxResults cannot be used with a list of ids in the same call",
        ));
    }
    Ok(())
}

/// EC2's patterns: `*` any text, `?` one character.
fn like(pattern: &str, value: &str) -> bool {
    let (mut pattern, mut value) = (pattern.chars(), value.chars());
    loop {
        match pattern.next() {
            None => return value.next().is_none(),
            Some('*') => {
                let rest = pattern.as_str();
                let mut tail = value.as_str();
                loop {
                    if like(rest, tail) {
                        return true;
                    }
                    let mut chars = tail.chars();
                    if chars.next().is_none() {
                        return false;
                    }
                    tail = chars.as_str();
                }
            }
            Some('?') => {
                if value.next().is_none() {
                    return false;
                }
            }
            Some(wanted) => {
                if value.next() != Some(wanted) {
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(like("vol-*", "vol-1") && like("*", "") && like("a?c", "abc") && like("*x*", "axb"));
        assert!(!like("a?c", "ac") && !like("abc", "abcd") && !like("*x", "xa"));
    }

    #[test]
    fn pages_cover_everything_once() {
        let items: Vec<(String, u32)> = (0..12).map(|n| (format!("k{n:02}"), n)).collect();
        let mut seen = Vec::new();
        let mut paging = Paging { max_results: Some(5), next_token: None };
        loop {
            let (page, next) = page(items.clone(), &paging).unwrap();
            seen.extend(page);
            paging.next_token = next;
            if paging.next_token.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..12).collect::<Vec<_>>());
    }

    #[test]
    fn too_long_or_unknown_filters_are_refused() {
        let long = Filter::new("volume-id", (0..201).map(|n| n.to_string()));
        assert_eq!(check(&[long], &["volume-id"]).unwrap_err().code, "FilterLimitExceeded");
        assert_eq!(check(&[Filter::new("nope", ["x"])], &["volume-id"]).unwrap_err().code, "InvalidParameterValue");
        assert_eq!(check(&[Filter::new("tag:a", ["x"])], &["volume-id"]).unwrap_err().code, "InvalidParameterValue");
    }
}
