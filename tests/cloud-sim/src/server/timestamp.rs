//! AWS's two ways to write an instant: ISO 8601 in answers, the basic format in the signature's date.
//!
//! Days are counted by Howard Hinnant's `civil_from_days` and its inverse (proleptic Gregorian calendar, UTC).

/// `2026-11-23T20:21:00.123Z` for milliseconds since 1970.
pub(super) fn iso8601(unix_ms: u64) -> String {
    let (seconds, ms) = (unix_ms / 1_000, unix_ms % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Seconds since 1970 of `20261123T202100Z`, the form of `X-Amz-Date`.
pub(super) fn parse_basic(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('Z').filter(|rest| rest.is_ascii() && rest.len() == 15)?;
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<u64>().ok();
    if digits.as_bytes()[8] != b'T' || !digits.bytes().enumerate().all(|(at, byte)| at == 8 || byte.is_ascii_digit()) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    let in_range = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day);
    (in_range && hour < 24 && minute < 60 && second < 61)
        .then(|| days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Year, month and day of a number of days since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on, so that the leap day is the last of the year.
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Days since 1970 of a date from 1970 on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        // `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_868_799, "2000-02-29T23:59:59"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_795_465_260, "2026-11-23T20:21:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(iso8601(seconds * 1_000 + 7), format!("{text}.007Z"));
            assert_eq!(parse_basic(&format!("{}Z", text.replace(['-', ':'], ""))), Some(seconds), "{text}");
        }
    }

    #[test]
    fn every_day_of_a_century_and_a_half_comes_back() {
        for day in 0..55_000 {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in
            ["", "2026-11-23T20:21:00Z", "20261123T202100", "20261323T202100Z", "2026112xT202100Z", "20261123T252100Z"]
        {
            assert_eq!(parse_basic(text), None, "{text}");
        }
    }
}
