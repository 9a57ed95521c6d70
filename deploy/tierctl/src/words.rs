//! Numbers and enum values as words for people. Programs get the plain values (`--json`).

use tiershift_core::Reason;
use tiershift_proto::common::v1::Money;
use time::OffsetDateTime;

/// The word of a proto enum value: `TIER_CHANGE_STATE_NEEDS_ATTENTION` is `needs_attention`.
pub fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

/// A duration to a tenth of a second, to the second from two minutes on, to the minute from two hours on.
pub fn duration(ms: i64) -> String {
    let tenths = ms.max(0) / 100;
    let (minutes, seconds) = (tenths / 600, tenths % 600 / 10);
    match minutes {
        0..2 => format!("{}.{} s", tenths / 10, tenths % 10),
        2..120 => format!("{minutes} min {seconds:02} s"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

/// Bytes in GiB (2^30) to a tenth, rounded down; below a tenth of one in MiB.
pub fn bytes(bytes: i64) -> String {
    let bytes = bytes.max(0);
    let tenths_gib = (i128::from(bytes) * 10) >> 30;
    if tenths_gib == 0 && bytes > 0 {
        let tenths_mib = (i128::from(bytes) * 10) >> 20;
        return format!("{}.{} MiB", tenths_mib / 10, tenths_mib % 10);
    }
    format!("{}.{} GiB", tenths_gib / 10, tenths_gib % 10)
}

/// An amount with its currency: `-12.30 USD`.
pub fn money(money: &Money) -> String {
    format!("{} {}", cents(money.amount_cents), money.currency)
}

fn cents(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let positive = cents.unsigned_abs();
    format!("{sign}{}.{:02}", positive / 100, positive % 100)
}

/// A violation's limit or actual value, in the unit that its reason states.
pub fn amount(reason: Reason, value: i64) -> String {
    match reason {
        Reason::StorageExceedsLimit => bytes(value),
        Reason::StorageSmaller => format!("{value} GiB"),
        Reason::PriceChanged => cents(value),
        _ => value.to_string(),
    }
}

/// An instant in Unix milliseconds, to the second in UTC; a dash for 0, which means never.
pub fn when(unix_ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(unix_ms.div_euclid(1_000));
    match at {
        Ok(at) if unix_ms != 0 => {
            let (hour, minute, second) = at.to_hms();
            format!("{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}Z", at.year(), u8::from(at.month()), at.day())
        }
        Ok(_) | Err(_) => "-".to_owned(),
    }
}

/// The value, or a dash for nothing.
pub fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_in_utc_and_never_is_a_dash() {
        assert_eq!(when(1_801_396_800_999), "2027-01-31 12:00:00Z");
        assert_eq!((when(0), when(i64::MAX)), ("-".to_owned(), "-".to_owned()));
    }

    #[test]
    fn durations_keep_three_digits_or_so() {
        for (ms, text) in [
            (-5, "0.0 s"),
            (0, "0.0 s"),
            (99, "0.0 s"),
            (12_345, "12.3 s"),
            (119_999, "119.9 s"),
            (120_000, "2 min 00 s"),
            (725_000, "12 min 05 s"),
            (7_200_000, "2 h 00 min"),
            (90_000_000, "25 h 00 min"),
        ] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn sizes_and_money_have_their_units() {
        assert_eq!(bytes(0), "0.0 GiB");
        assert_eq!(bytes(20 << 30), "20.0 GiB");
        assert_eq!(bytes((20 << 30) - 1), "19.9 GiB");
        assert_eq!(bytes(5 << 20), "5.0 MiB");
        assert_eq!(bytes(1 << 60), "1073741824.0 GiB");
        let usd = |amount_cents| Money { amount_cents, currency: "USD".into() };
        assert_eq!(money(&usd(24_905)), "249.05 USD");
        assert_eq!(money(&usd(-5)), "-0.05 USD");
        assert_eq!(amount(Reason::PriceChanged, 9_900), "99.00");
        assert_eq!(amount(Reason::TooManySubgraphs, 3), "3");
    }

    #[test]
    fn enum_names_become_words() {
        assert_eq!(word("TIER_CHANGE_STATE_NEEDS_ATTENTION", "TIER_CHANGE_STATE_"), "needs_attention");
    }
}
