//! The price of a tier at Stripe: looked up, else made.
//!
//! Its lookup key says everything about it, and Stripe keeps lookup keys unique, so that two processes never make two.
//! A price is never changed: another amount is another price. Not here: which price a customer paid before, which
//! may be none of ours and is restored by its own name.

use super::Stripe;
use super::answer::{No, judge};
use super::form::Form;
use super::object::{List, Price, read};
use crate::payments::Unprepared;
use crate::store::rows::Interval;
use tiershift_core::Reason;
use tiershift_core::ids::TierName;

/// How often a price is tried to be made at once: a stored fault under one key is passed by under the next. The lookup
/// key keeps them from making two.
const TRIES: u32 = 3;

/// Everything about a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// For which tier.
    pub tier: &'a TierName,
    /// Of one interval.
    pub cents: i64,
    /// ISO 4217, upper case.
    pub currency: &'a str,
    /// How often.
    pub interval: Interval,
}

/// Stripe's word.
pub const fn interval_word(interval: Interval) -> &'static str {
    match interval {
        Interval::Monthly => "month",
        Interval::Annual => "year",
    }
}

impl Wanted<'_> {
    fn lookup_key(&self) -> String {
        let currency = self.currency.to_ascii_lowercase();
        format!("tiershift:{}:{}:{currency}:{}", self.tier, self.cents, interval_word(self.interval))
    }

    fn is(&self, price: &Price) -> bool {
        let often = price.recurring.as_ref();
        price.active
            && price.unit_amount == Some(self.cents)
            && price.currency.eq_ignore_ascii_case(self.currency)
            && often.is_some_and(|r| r.interval == interval_word(self.interval) && r.interval_count == 1)
    }
}

impl Stripe {
    /// The name of the price.
    pub(super) async fn price(&self, wanted: &Wanted<'_>) -> Result<String, Unprepared> {
        let lookup_key = wanted.lookup_key();
        for attempt in 1..=TRIES {
            if let Some(price) = self.look_up(&lookup_key).await? {
                if wanted.is(&price) {
                    return Ok(price.id);
                }
                tracing::error!(
                    lookup_key,
                    price = price.id,
                    "the price with this lookup key is archived or another one; give the key to the right price"
                );
                return Err(Unprepared::Refused { reason: Reason::PriceChanged });
            }
            match self.make(wanted, &lookup_key, attempt).await {
                Ok(price) => return Ok(price.id),
                // Somebody else may just have made it, or Stripe after all: look again.
                Err(No::Refused(_) | No::Missing | No::ServerFault) => {}
                Err(No::Unknown) => return Err(Unprepared::Unknown),
            }
        }
        tracing::error!(lookup_key, "the price cannot be made; make it at Stripe, with this lookup key");
        Err(Unprepared::Unknown)
    }

    async fn look_up(&self, lookup_key: &str) -> Result<Option<Price>, Unprepared> {
        let query = Form::new().with("lookup_keys[0]", lookup_key).with("limit", 1);
        let found = judge(self.client.get(&format!("/v1/prices?{}", query.as_str())).await);
        let list: List<Price> = found.ok().and_then(|body| read(body, "prices")).ok_or(Unprepared::Unknown)?;
        Ok(list.data.into_iter().next())
    }

    async fn make(&self, wanted: &Wanted<'_>, lookup_key: &str, attempt: u32) -> Result<Price, No> {
        let form = Form::new()
            .with("currency", wanted.currency.to_ascii_lowercase())
            .with("unit_amount", wanted.cents)
            .with("recurring[interval]", interval_word(wanted.interval))
            .with("lookup_key", lookup_key)
            .with("product_data[name]", wanted.tier);
        let key = format!("price/{lookup_key}/{attempt}");
        let made = judge(self.client.post("/v1/prices", form.as_str(), Some(&key)).await)?;
        read(made, "price").ok_or(No::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lookup_key_tells_every_price_apart() {
        let (large, standard) = (TierName::parse("ladybug-large"), TierName::parse("ladybug-standard"));
        let (large, standard) = (large.expect("a tier"), standard.expect("a tier"));
        let base = Wanted { tier: &large, cents: 24_900, currency: "USD", interval: Interval::Monthly };
        assert_eq!(base.lookup_key(), "tiershift:ladybug-large:24900:usd:month");
        let others = [
            Wanted { tier: &standard, ..base.clone() },
            Wanted { cents: 24_901, ..base.clone() },
            Wanted { currency: "EUR", ..base.clone() },
            Wanted { interval: Interval::Annual, ..base.clone() },
        ];
        assert!(others.iter().all(|other| other.lookup_key() != base.lookup_key()));
        let price = |over: serde_json::Value| {
            let mut price = json!({ "id": "p", "active": true, "currency": "usd", "unit_amount": 24_900,
                "recurring": { "interval": "month", "interval_count": 1 } });
            price.as_object_mut().expect("an object").extend(over.as_object().expect("an object").clone());
            serde_json::from_value::<Price>(price).expect("a price")
        };
        assert!(base.is(&price(json!({}))));
        for over in [
            json!({ "active": false }),
            json!({ "currency": "eur" }),
            json!({ "unit_amount": 24_901 }),
            json!({ "unit_amount": null }),
            json!({ "recurring": null }),
            json!({ "recurring": { "interval": "year", "interval_count": 1 } }),
            json!({ "recurring": { "interval": "month", "interval_count": 3 } }),
        ] {
            assert!(!base.is(&price(over.clone())), "{over}");
        }
    }
}
