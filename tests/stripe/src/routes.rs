//! The API: who may call, what a key says, and each call.

use crate::calendar::Every;
use crate::call::{Call, Reaction, Seen};
use crate::keys::Known;
use crate::model::{Metadata, Price, Refund, State, Transaction};
use crate::render::{line_json, price_json, refund_json, transaction_json};
use crate::{Behaviour, KEY};
use http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

type Fields = BTreeMap<String, String>;

/// Why a call is refused.
struct Refusal {
    status: u16,
    kind: &'static str,
    code: Option<&'static str>,
}

type Outcome = Result<Value, Refusal>;

const fn refusal(status: u16, kind: &'static str, code: Option<&'static str>) -> Refusal {
    Refusal { status, kind, code }
}

fn missing() -> Refusal {
    refusal(404, "invalid_request_error", Some("resource_missing"))
}

fn invalid(code: &'static str) -> Refusal {
    refusal(400, "invalid_request_error", Some(code))
}

fn rendered(outcome: Outcome) -> (u16, String) {
    match outcome {
        Ok(value) => (200, value.to_string()),
        Err(Refusal { status, kind, code }) => {
            let message = "for people, and not to be decided by";
            (status, json!({ "error": { "type": kind, "code": code, "message": message } }).to_string())
        }
    }
}

fn answer((status, body): (u16, String)) -> Reaction {
    Reaction::Answer { status, replayed: false, body }
}

impl State {
    pub(crate) fn handle(&mut self, call: &Call, now_s: i64) -> Reaction {
        self.seen.push(Seen {
            method: call.method.clone(),
            path: call.path.clone(),
            form: call.form.clone(),
            key: call.key.clone(),
            version: call.version.clone(),
        });
        if call.authorization.as_deref().and_then(|a| a.strip_prefix("Bearer ")) != Some(KEY) {
            return answer(rendered(Err(refusal(401, "invalid_request_error", None))));
        }
        let fields = call.fields();
        let behaviour = self.behaviour(call, &fields);
        if behaviour == Some(Behaviour::Away) {
            return Reaction::Silence;
        }
        if call.method == Method::GET {
            return answer(rendered(self.get(&call.path, &fields)));
        }
        if behaviour == Some(Behaviour::Silent) {
            return Reaction::Silence;
        }
        match call.key.clone().filter(|_| call.method == Method::POST) {
            None => answer(rendered(self.change(call, &fields, behaviour, now_s))),
            Some(key) => self.keyed(&key, call, &fields, behaviour, now_s),
        }
    }

    fn keyed(&mut self, key: &str, call: &Call, fields: &Fields, behaviour: Option<Behaviour>, now_s: i64) -> Reaction {
        match self.keys.known(key, call) {
            Known::Same(status, body) => return Reaction::Answer { status, replayed: true, body },
            Known::Other => return answer(rendered(Err(refusal(400, "idempotency_error", None)))),
            Known::New => {}
        }
        let first = self.keys.first(key);
        let at_the_door = match behaviour {
            Some(Behaviour::KeyInUse) if first => Some((409, "idempotency_error", Some("idempotency_key_in_use"))),
            Some(Behaviour::TooMany) if first => Some((429, "invalid_request_error", Some("rate_limit"))),
            Some(Behaviour::Unavailable) if first => Some((503, "api_error", None)),
            Some(Behaviour::CutBefore) if first => return Reaction::Cut,
            _ => None,
        };
        if let Some((status, kind, code)) = at_the_door {
            return answer(rendered(Err(refusal(status, kind, code))));
        }
        let fault = || rendered(Err(refusal(500, "api_error", None)));
        let done = if behaviour == Some(Behaviour::FaultBefore) || self.breaks(call) {
            fault()
        } else {
            rendered(self.change(call, fields, behaviour, now_s))
        };
        let done = if behaviour == Some(Behaviour::FaultAfter) { fault() } else { done };
        // What was not carried out is not kept.
        if matches!(done.0, 200 | 402 | 500) {
            self.keys.store(key, call, done.0, &done.1);
        }
        match behaviour {
            Some(Behaviour::SilentAfter) if first => Reaction::Silence,
            Some(Behaviour::CutAfter) if first => Reaction::Cut,
            _ => answer(done),
        }
    }

    fn breaks(&mut self, call: &Call) -> bool {
        let breaks = call.path == "/v1/prices" && self.broken_prices > 0;
        self.broken_prices -= u32::from(breaks);
        breaks
    }

    /// How the requests of the customer that a call is about go.
    fn behaviour(&self, call: &Call, fields: &Fields) -> Option<Behaviour> {
        let words: Vec<&str> = call.path.trim_start_matches("/v1/").split('/').collect();
        let of_subscription = |id: &str| self.subscriptions.get(id).map(|s| s.customer.clone());
        let customer = match words.as_slice() {
            ["subscriptions", id] => of_subscription(id),
            ["customers", id, _] => Some((*id).to_owned()),
            ["refunds"] => self.payments.get(fields.get("payment_intent")?).map(|p| p.customer.clone()),
            ["invoices", ..] => of_subscription(fields.get("subscription")?),
            _ => None,
        };
        let behaviour = self.customers.get(&customer?)?.behaviour;
        // A preview moves nothing, and only who is away does not answer it.
        behaviour.filter(|b| call.path != "/v1/invoices/create_preview" || *b == Behaviour::Away)
    }

    fn get(&self, path: &str, fields: &Fields) -> Outcome {
        let words: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
        match words.as_slice() {
            ["subscriptions", id] => {
                only(fields, &["expand[0]"])?;
                let sub = self.subscriptions.get(*id).ok_or_else(missing)?;
                Ok(self.subscription_json(id, sub, fields.get("expand[0]").is_some_and(|f| f == "latest_invoice")))
            }
            ["prices"] => {
                only(fields, &["lookup_keys[0]", "limit"])?;
                let key = fields.get("lookup_keys[0]");
                let found = self.prices.iter().filter(|(_, p)| p.lookup_key.is_some() && p.lookup_key.as_ref() == key);
                Ok(list(found.map(|(id, price)| price_json(id, price)).collect(), fields))
            }
            ["invoices"] => {
                only(fields, &["subscription", "created[gte]", "limit", "expand[0]"])?;
                let since_s = fields.get("created[gte]").and_then(|text| text.parse().ok()).unwrap_or(i64::MIN);
                let payments = fields.get("expand[0]").is_some_and(|f| f == "data.payments");
                let wanted = |i: &&crate::model::Invoice| {
                    fields.get("subscription").is_none_or(|s| s == &i.subscription) && i.created_s >= since_s
                };
                let found = self.invoices.iter().rev().filter(wanted);
                Ok(list(found.map(|i| self.invoice_json(i, payments)).collect(), fields))
            }
            ["refunds"] => {
                only(fields, &["payment_intent", "limit"])?;
                let wanted = |r: &&Refund| fields.get("payment_intent").is_none_or(|p| p == &r.payment);
                Ok(list(self.refunds.iter().rev().filter(wanted).map(refund_json).collect(), fields))
            }
            ["customers", id, "balance_transactions"] => {
                only(fields, &["limit"])?;
                let found = self.transactions.iter().rev().filter(|t| t.customer == *id);
                Ok(list(found.map(transaction_json).collect(), fields))
            }
            _ => Err(missing()),
        }
    }

    fn change(&mut self, call: &Call, fields: &Fields, behaviour: Option<Behaviour>, now_s: i64) -> Outcome {
        let words: Vec<&str> = call.path.trim_start_matches("/v1/").split('/').collect();
        match words.as_slice() {
            ["subscriptions", id] if call.method == Method::DELETE => self.delete(id, now_s),
            ["subscriptions", id] => self.update(id, fields, behaviour, now_s),
            ["invoices", "create_preview"] => self.preview(fields),
            ["prices"] => self.make_price(fields),
            ["refunds"] => self.refund(fields, behaviour),
            ["customers", id, "balance_transactions"] => self.adjust(id, fields),
            _ => Err(missing()),
        }
    }

    fn update(&mut self, id: &str, fields: &Fields, behaviour: Option<Behaviour>, now_s: i64) -> Outcome {
        only(
            fields,
            &[
                "items[0][id]",
                "items[0][price]",
                "proration_behavior",
                "proration_date",
                "payment_behavior",
                "off_session",
                "cancel_at_period_end",
                "expand[0]",
            ],
        )?;
        let mut sub = self.subscriptions.get(id).filter(|s| s.status != "canceled").cloned().ok_or_else(missing)?;
        let mut lines = Vec::new();
        if let Some(price) = fields.get("items[0][price]") {
            if fields.get("items[0][id]") != Some(&sub.item) {
                return Err(missing());
            }
            let wanted = self.prices.get(price).filter(|p| p.active).ok_or_else(missing)?;
            if wanted.every != sub.every {
                return Err(invalid("parameter_invalid_empty"));
            }
            match fields.get("proration_behavior").map(String::as_str) {
                Some("always_invoice") => {
                    let at_s = fields.get("proration_date").and_then(|text| text.parse().ok()).unwrap_or(now_s);
                    lines = self.prorated(&sub, price, at_s).ok_or_else(|| invalid("proration_date"))?;
                }
                Some("none") => {}
                // It would be invoiced with the next period: nothing here asks for that.
                _ => return Err(invalid("proration_behavior")),
            }
            sub.price.clone_from(price);
        }
        let total: i64 = lines.iter().map(|line| line.cents).sum();
        let charged = sub.automatic && self.due(&sub.customer, total) > 0;
        if charged && fields.get("payment_behavior").is_some_and(|b| b == "error_if_incomplete") {
            match behaviour {
                Some(Behaviour::Decline) => return Err(refusal(402, "card_error", Some("card_declined"))),
                Some(Behaviour::RequiresAction) => {
                    return Err(refusal(402, "card_error", Some("subscription_payment_intent_requires_action")));
                }
                _ => {}
            }
        }
        sub.metadata.extend(metadata(fields));
        if let Some(end) = fields.get("cancel_at_period_end") {
            sub.cancel_at_period_end = end == "true";
            sub.canceled_at = sub.cancel_at_period_end.then_some(now_s);
        }
        self.subscriptions.insert(id.to_owned(), sub.clone());
        if !lines.is_empty() {
            let invoice = self.invoice(id, &sub, "subscription_update", lines, now_s);
            if sub.automatic && behaviour != Some(Behaviour::LeaveOpen) {
                self.pay(&invoice);
            }
        }
        let expanded = fields.get("expand[0]").is_some_and(|f| f == "latest_invoice");
        let sub = self.subscriptions.get(id).ok_or_else(missing)?;
        Ok(self.subscription_json(id, sub, expanded))
    }

    fn delete(&mut self, id: &str, now_s: i64) -> Outcome {
        let sub = self.subscriptions.get_mut(id).filter(|s| s.status != "canceled").ok_or_else(missing)?;
        sub.status = "canceled";
        sub.canceled_at = sub.canceled_at.or(Some(now_s));
        sub.ended_at = Some(now_s);
        let sub = sub.clone();
        Ok(self.subscription_json(id, &sub, false))
    }

    fn preview(&self, fields: &Fields) -> Outcome {
        let names = ["items][0][id", "items][0][price", "proration_behavior", "proration_date"];
        let names: Vec<String> = names.iter().map(|name| format!("subscription_details[{name}]")).collect();
        let mut known: Vec<&str> = names.iter().map(String::as_str).collect();
        known.push("subscription");
        only(fields, &known)?;
        let of = |n: usize| names.get(n).and_then(|name| fields.get(name));
        let sub = fields.get("subscription").and_then(|id| self.subscriptions.get(id)).ok_or_else(missing)?;
        if of(0) != Some(&sub.item) || of(2).map(String::as_str) != Some("always_invoice") {
            return Err(invalid("subscription_details"));
        }
        let price = of(1).filter(|price| self.prices.contains_key(*price)).ok_or_else(missing)?;
        let at_s = of(3).and_then(|text| text.parse().ok()).ok_or_else(|| invalid("proration_date"))?;
        let lines = self.prorated(sub, price, at_s).ok_or_else(|| invalid("proration_date"))?;
        let total: i64 = lines.iter().map(|line| line.cents).sum();
        let lines: Vec<Value> = lines.iter().map(line_json).collect();
        Ok(json!({ "id": "upcoming_in", "object": "invoice", "status": "draft", "billing_reason": "upcoming",
            "total": total, "lines": { "object": "list", "data": lines, "has_more": false } }))
    }

    fn make_price(&mut self, fields: &Fields) -> Outcome {
        only(fields, &["currency", "unit_amount", "recurring[interval]", "lookup_key", "product_data[name]"])?;
        let field = |name: &str| fields.get(name).cloned().ok_or_else(|| invalid("parameter_missing"));
        let lookup_key = field("lookup_key")?;
        if self.prices.values().any(|p| p.lookup_key.as_ref() == Some(&lookup_key)) {
            return Err(invalid("resource_already_exists"));
        }
        field("product_data[name]")?;
        let price = Price {
            cents: field("unit_amount")?.parse().map_err(|_| invalid("parameter_invalid_integer"))?,
            currency: field("currency")?,
            every: Every::parse(&field("recurring[interval]")?).ok_or_else(|| invalid("parameter_invalid"))?,
            active: true,
            lookup_key: Some(lookup_key),
        };
        let id = self.name("price");
        let made = price_json(&id, &price);
        self.prices.insert(id, price);
        Ok(made)
    }

    fn refund(&mut self, fields: &Fields, behaviour: Option<Behaviour>) -> Outcome {
        only(fields, &["payment_intent", "amount"])?;
        let name = fields.get("payment_intent").ok_or_else(|| invalid("parameter_missing"))?;
        let payment = self.payments.get(name).ok_or_else(missing)?;
        let cents = cents(fields)?;
        if behaviour == Some(Behaviour::RefuseRefund) || cents <= 0 || cents > payment.cents - self.refunded(name) {
            return Err(invalid("charge_already_refunded"));
        }
        let refund = Refund { id: self.name("re"), payment: name.clone(), cents, metadata: metadata(fields) };
        let made = refund_json(&refund);
        self.refunds.push(refund);
        Ok(made)
    }

    fn adjust(&mut self, customer: &str, fields: &Fields) -> Outcome {
        only(fields, &["amount", "currency"])?;
        let cents = cents(fields)?;
        let currency = fields.get("currency").cloned().ok_or_else(|| invalid("parameter_missing"))?;
        self.customers.get_mut(customer).ok_or_else(missing)?.balance += cents;
        let id = self.name("cbtxn");
        let made = Transaction { id, customer: customer.to_owned(), cents, currency, metadata: metadata(fields) };
        self.transactions.push(made.clone());
        Ok(transaction_json(&made))
    }
}

/// What is not known is refused.
fn only(fields: &Fields, known: &[&str]) -> Result<(), Refusal> {
    let strange = |name: &&String| !known.contains(&name.as_str()) && !name.starts_with("metadata[");
    if fields.keys().any(|name| strange(&name)) { Err(invalid("parameter_unknown")) } else { Ok(()) }
}

fn metadata(fields: &Fields) -> Metadata {
    let key = |name: &str| Some(name.strip_prefix("metadata[")?.strip_suffix(']')?.to_owned());
    fields.iter().filter_map(|(name, value)| Some((key(name)?, value.clone()))).collect()
}

fn cents(fields: &Fields) -> Result<i64, Refusal> {
    fields.get("amount").and_then(|text| text.parse().ok()).ok_or_else(|| invalid("parameter_invalid_integer"))
}

fn list(mut all: Vec<Value>, fields: &Fields) -> Value {
    let limit = fields.get("limit").and_then(|text| text.parse().ok()).unwrap_or(10);
    let has_more = all.len() > limit;
    all.truncate(limit);
    json!({ "object": "list", "data": all, "has_more": has_more })
}
