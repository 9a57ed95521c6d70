//! What a measurement is told in: percentiles and ratios, with three digits.

use std::time::Duration;

/// A percentile of some times, in milliseconds with three digits; 0 if there are none. Sorts them.
pub fn percentile_ms(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    let found = times.get((last * percent).div_ceil(100)).copied().unwrap_or_default();
    (found.as_secs_f64() * 1e6).round() / 1e3
}

/// A ratio with three digits.
pub fn ratio(one: f64, other: f64) -> f64 {
    if other > 0.0 { (one / other * 1e3).round() / 1e3 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert!((percentile_ms(&mut times, 100) - 100.0).abs() < 1e-9);
        assert!((percentile_ms(&mut times, 0) - 1.0).abs() < 1e-9);
        let median = percentile_ms(&mut times, 50);
        assert!((50.0..=51.0).contains(&median), "{median}");
        assert!(percentile_ms(&mut [], 50).abs() < 1e-9);
        assert!((ratio(1.0, 3.0) - 0.333).abs() < 1e-9);
    }
}
