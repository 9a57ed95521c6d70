//! Opaque page tokens and stream cursors.
//!
//! A token is a version, a position as JSON, and a checksum over the position, the list's name and its filters. So a
//! token of another list, of the same list with other filters, of another version, or made up, is refused with
//! PAGE_TOKEN_INVALID (for cursors: CURSOR_INVALID) and never read as a position. The checksum is no secret: a token
//! grants nothing, every page is authorised by itself.
//!
//! Not here: what a position is, and whether a cursor's epoch is the present one (the stores).

use serde::Serialize;
use serde::de::DeserializeOwned;
use tiershift_core::{Error, Kind, Reason};

/// First character of every token. A new layout takes a new one, and old tokens are refused.
const VERSION: char = '1';

/// Longest token, in characters, as the contract promises to callers. A position therefore takes at most 247 bytes of
/// JSON: a few ids and numbers.
pub const TOKEN_CHARACTERS_MAX: usize = 512;

/// A list, or a stream, together with what the caller selected in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    reason: Reason,
    field: &'static str,
    /// Name and filters, as the checksum sees them.
    text: String,
}

impl Scope {
    /// The pages of `list` (the RPC's name), selected by `filters`: every field of the request but size and token.
    pub fn pages(list: &str, filters: &impl Serialize) -> Self {
        Self { reason: Reason::PageTokenInvalid, field: "page_token", text: text("pages", list, filters) }
    }

    /// The cursors of `stream` (the RPC's name), selected by `selection`: what the caller watches.
    pub fn cursors(stream: &str, selection: &impl Serialize) -> Self {
        Self { reason: Reason::CursorInvalid, field: "cursor", text: text("cursors", stream, selection) }
    }

    /// The token of a position.
    pub fn token(&self, position: &impl Serialize) -> String {
        let body = hex(json(position).as_bytes());
        format!("{VERSION}{:016x}{body}", self.checksum(&body))
    }

    /// The position of a token that this scope gave out; none for an empty one (from the beginning).
    pub fn position<P: DeserializeOwned>(&self, token: &str) -> Result<Option<P>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        self.read(token).map(Some).ok_or_else(|| {
            let mut error = Error::invalid_field(self.field, "must be one that this call, with these filters, gave");
            (error.kind, error.reason) = (Kind::InvalidArgument, self.reason);
            error.message =
                format!("the {} was not given by this call with these filters; begin without one", self.field);
            error
        })
    }

    fn read<P: DeserializeOwned>(&self, token: &str) -> Option<P> {
        // Only ASCII is sliced below.
        if token.len() > TOKEN_CHARACTERS_MAX || !token.is_ascii() {
            return None;
        }
        let rest = token.strip_prefix(VERSION)?;
        let (sum, body) = rest.split_at_checked(16)?;
        if sum != format!("{:016x}", self.checksum(body)) {
            return None;
        }
        serde_json::from_slice(&unhex(body)?).ok()
    }

    fn checksum(&self, body: &str) -> u64 {
        let version = [u8::try_from(VERSION).unwrap_or(0)];
        let parts = [&version[..], self.text.as_bytes(), body.as_bytes()];
        // FNV-1a with each part's length before it, so that no two splits of the same bytes agree.
        let bytes = parts.iter().flat_map(|part| part.len().to_be_bytes().into_iter().chain(part.iter().copied()));
        bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

fn text(kind: &str, name: &str, filters: &impl Serialize) -> String {
    json(&(kind, name, json(filters)))
}

/// JSON of plain values. What cannot be written (a map with keys that are no strings) would be a fault of the
/// caller's types; it gives "null", which no position reads back.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some((digit(*pair.first()?)? << 4) | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope::pages("ListTierChanges", &("org_a", Some("kg0123456789abcdef")))
    }

    #[test]
    fn a_position_comes_back() {
        let position = (17_i64, "chg_ä".to_owned());
        let token = scope().token(&position);
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric()), "{token}");
        assert_eq!(scope().position::<(i64, String)>(&token), Ok(Some(position)));
        assert_eq!(scope().position::<(i64, String)>(""), Ok(None));
    }

    #[test]
    fn a_token_is_good_only_where_it_was_given() {
        let token = scope().token(&5);
        let strangers = [
            Scope::pages("ListSubscriptions", &("org_a", Some("kg0123456789abcdef"))),
            Scope::pages("ListTierChanges", &("org_b", Some("kg0123456789abcdef"))),
            Scope::pages("ListTierChanges", &("org_a", None::<&str>)),
            Scope::cursors("ListTierChanges", &("org_a", Some("kg0123456789abcdef"))),
        ];
        for stranger in strangers {
            let error = stranger.position::<i64>(&token).expect_err("not its own");
            assert_eq!(error.kind, Kind::InvalidArgument);
            assert_eq!(error.fields.len(), 1);
        }
        let error = Scope::cursors("WatchTierChange", &1).position::<i64>(&token).expect_err("not its own");
        assert_eq!((error.reason, error.fields[0].field.as_str()), (Reason::CursorInvalid, "cursor"));
        let error = strangers_reason(&token);
        assert_eq!(error, Reason::PageTokenInvalid);
    }

    fn strangers_reason(token: &str) -> Reason {
        Scope::pages("Other", &()).position::<i64>(token).expect_err("not its own").reason
    }

    #[test]
    fn what_was_made_up_or_changed_is_refused() {
        let token = scope().token(&5);
        for i in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[i] = if changed[i] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(scope().position::<i64>(&changed).is_err(), "character {i}");
        }
        let long = "1".repeat(TOKEN_CHARACTERS_MAX + 1);
        for made_up in ["1", "x", "10000000000000000", "1ää", &token[..token.len() - 1], &long] {
            assert!(scope().position::<i64>(made_up).is_err(), "{made_up}");
        }
        assert!(scope().position::<String>(&token).is_err(), "a position of another type");
    }
}
