//! The `Stripe-Signature` header of a webhook: who sent it, and when. Pure: body, header, secrets and time go in.
//!
//! The header is `t=<unix seconds>,v1=<hex>[,v1=<hex>...]`; each `v1` is HMAC-SHA256 over `<t>.<body>`. While a secret is
//! rotated the header has several, and so may we. The time is signed too, so that a recorded delivery cannot be
//! played again later. Not here: what an event means, and that each is taken once.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;
use tiershift_core::UnixMs;

/// How far a delivery's time may lie from ours, in seconds, in either direction: Stripe's own default.
pub const TOLERANCE_S: i64 = 300;

/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 32;

/// A signing secret of an endpoint. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret as Stripe gives them: `whsec_` and more.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("whsec_")?;
        (!rest.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// Why a delivery is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No header.
    #[error("the delivery is not signed")]
    Missing,
    /// Not one time and at least one signature.
    #[error("the signature's header cannot be read")]
    Malformed,
    /// Signed by nobody we know, or over another body.
    #[error("the signature is of another secret or another body")]
    Wrong,
    /// Rightly signed, and too long ago, or in the future.
    #[error("the delivery's time is more than {TOLERANCE_S} s from ours; check this machine's clock if it is fresh")]
    TooOld,
}

/// When a delivery was signed, if any of the secrets signed exactly this body within the tolerance.
pub fn check(header: Option<&str>, body: &[u8], secrets: &[Secret], now: UnixMs) -> Result<UnixMs, Fault> {
    let header = header.ok_or(Fault::Missing)?;
    let (mut time, mut signatures) = (None, Vec::new());
    for item in header.split(',') {
        match item.trim().split_once('=') {
            Some(("t", _)) if time.is_some() => return Err(Fault::Malformed),
            Some(("t", text)) => time = Some(text),
            Some(("v1", hex)) => signatures.push(hex),
            // Other schemes: Stripe says to ignore them.
            Some(_) => {}
            None => return Err(Fault::Malformed),
        }
    }
    let time = time.filter(|_| !signatures.is_empty()).ok_or(Fault::Malformed)?;
    if time.is_empty() || !time.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Fault::Malformed);
    }
    let signed_s: i64 = time.parse().map_err(|_| Fault::Malformed)?;
    let ours = |secret: &Secret| {
        let mac = signed(secret, time, body);
        signatures.iter().filter_map(|hex| bytes_of(hex)).any(|given| matches(mac.clone(), &given))
    };
    if !secrets.iter().any(ours) {
        return Err(Fault::Wrong);
    }
    let now_s = now.0.div_euclid(1_000);
    if now_s.saturating_sub(signed_s).saturating_abs() > TOLERANCE_S {
        return Err(Fault::TooOld);
    }
    Ok(UnixMs(signed_s.saturating_mul(1_000)))
}

type Signer = Hmac<Sha256>;

fn signed(secret: &Secret, time: &str, body: &[u8]) -> Option<Signer> {
    // HMAC takes keys of any length; if it did not, nothing would match.
    let mut mac = Signer::new_from_slice(secret.0.as_bytes()).ok()?;
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(mac)
}

/// In constant time.
fn matches(mac: Option<Signer>, given: &[u8; SIGNATURE_BYTES]) -> bool {
    mac.is_some_and(|mac| mac.verify_slice(given).is_ok())
}

fn bytes_of(hex: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    let mut bytes = [0; SIGNATURE_BYTES];
    if hex.len() != 2 * SIGNATURE_BYTES || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with another implementation: Python's hmac module.
    const T: i64 = 1_768_435_200;
    const BODY: &[u8] = b"{\"id\":\"evt_1\",\"object\":\"event\",\"type\":\"invoice.paid\"}";
    const OLD: &str = "299720d2bb1dea61ad0a873ff8cdca6c391bc70c5c7ccd9090947b57230f61c0";
    const NEW: &str = "7124b6ce5d40f99592613852dff17cae9164482d3fe03d17682ff72bf1506b98";
    const EMPTY: &str = "0fabe6045784d0ef495343cd9e879e824029f13d834e13778228c6b5978b866e";
    const UTF8: &str = "677825f86864d1ba1fdd30e47c2871421f79674b0381c5b2946bc67cd4e7bcad";

    fn secrets(all: &[&str]) -> Vec<Secret> {
        all.iter().map(|text| Secret::parse(text).expect("a secret")).collect()
    }

    fn of(header: &str, body: &[u8], all: &[&str], after_s: i64) -> Result<UnixMs, Fault> {
        check(Some(header), body, &secrets(all), UnixMs((T + after_s) * 1_000))
    }

    #[test]
    fn what_another_implementation_signed_is_believed() {
        let good = Ok(UnixMs(T * 1_000));
        assert_eq!(of(&format!("t={T},v1={NEW}"), BODY, &["whsec_new"], 0), good);
        assert_eq!(of(&format!("t={T},v1={EMPTY}"), b"", &["whsec_new"], 0), good);
        let text = "{\"name\":\"Żółć\"}\n";
        assert_eq!(of(&format!("t={T},v1={UTF8}"), text.as_bytes(), &["whsec_new"], 0), good);
        let upper = NEW.to_uppercase();
        assert_eq!(of(&format!("t={T}, v0=abc, v1={upper}, later=1"), BODY, &["whsec_new"], 0), good);
    }

    #[test]
    fn a_rotation_has_two_of_each() {
        let good = Ok(UnixMs(T * 1_000));
        let both = format!("t={T},v1={OLD},v1={NEW}");
        assert_eq!(of(&both, BODY, &["whsec_new"], 0), good);
        assert_eq!(of(&both, BODY, &["whsec_old"], 0), good);
        assert_eq!(of(&format!("t={T},v1={OLD}"), BODY, &["whsec_new", "whsec_old"], 0), good);
        assert_eq!(of(&both, BODY, &["whsec_third"], 0), Err(Fault::Wrong));
        assert_eq!(of(&both, BODY, &[], 0), Err(Fault::Wrong));
    }

    #[test]
    fn another_body_time_or_secret_is_wrong() {
        let header = format!("t={T},v1={NEW}");
        let mut body = BODY.to_vec();
        body.push(b' ');
        assert_eq!(of(&header, &body, &["whsec_new"], 0), Err(Fault::Wrong));
        assert_eq!(of(&header, BODY, &["whsec_old"], 0), Err(Fault::Wrong));
        assert_eq!(of(&format!("t={},v1={NEW}", T + 1), BODY, &["whsec_new"], 0), Err(Fault::Wrong));
        for at in 0..NEW.len() {
            let mut hex = NEW.to_owned();
            let other = if &hex[at..=at] == "0" { "1" } else { "0" };
            hex.replace_range(at..=at, other);
            assert_eq!(of(&format!("t={T},v1={hex}"), BODY, &["whsec_new"], 0), Err(Fault::Wrong), "digit {at}");
        }
        for short in ["", "ab", &NEW[..62], &format!("{NEW}00")] {
            assert_eq!(of(&format!("t={T},v1={short}"), BODY, &["whsec_new"], 0), Err(Fault::Wrong), "{short}");
        }
    }

    #[test]
    fn the_tolerance_holds_in_both_directions() {
        let header = format!("t={T},v1={NEW}");
        for (after_s, fresh) in [(-301, false), (-300, true), (300, true), (301, false)] {
            let wanted = if fresh { Ok(UnixMs(T * 1_000)) } else { Err(Fault::TooOld) };
            assert_eq!(of(&header, BODY, &["whsec_new"], after_s), wanted, "{after_s}");
        }
        assert_eq!(of(&header, BODY, &["whsec_old"], 301), Err(Fault::Wrong), "who it is comes first");
    }

    #[test]
    fn a_header_that_cannot_be_read_is_no_signature() {
        assert_eq!(check(None, BODY, &secrets(&["whsec_new"]), UnixMs(T * 1_000)), Err(Fault::Missing));
        let t = format!("t={T}");
        let v1 = format!("v1={NEW}");
        let huge = format!("t={}9,{v1}", i64::MAX);
        for header in
            ["", "x", &t, &v1, &format!("t=,{v1}"), &format!("t=-5,{v1}"), &format!("{t},{t},{v1}"), &huge, "t=1,v0=a"]
        {
            assert_eq!(of(header, BODY, &["whsec_new"], 0), Err(Fault::Malformed), "{header}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert!(!format!("{:?}", secrets(&["whsec_hunter2"])).contains("hunter2"));
        assert_eq!(
            (Secret::parse("whsec_"), Secret::parse("sk_test_1"), Secret::parse("whsec_a b")),
            (None, None, None)
        );
    }
}
