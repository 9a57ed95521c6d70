//! Objects as JSON, in the shape of the API's version 2025-09-30.clover.

use crate::model::{Invoice, Line, Metadata, Price, Refund, State, Subscription, Transaction};
use serde_json::{Value, json};

impl State {
    pub(crate) fn subscription_json(&self, id: &str, sub: &Subscription, expanded: bool) -> Value {
        let invoice = sub.latest_invoice.as_ref().and_then(|id| self.invoices.iter().find(|i| &i.id == id));
        let latest = match invoice {
            Some(invoice) if expanded => self.invoice_json(invoice, false),
            Some(invoice) => json!(invoice.id),
            None => Value::Null,
        };
        let item = json!({
            "id": sub.item,
            "object": "subscription_item",
            "price": self.prices.get(&sub.price).map(|price| price_json(&sub.price, price)),
            "quantity": 1,
            "current_period_start": sub.period_start(),
            "current_period_end": sub.period_end(),
        });
        json!({
            "id": id,
            "object": "subscription",
            "customer": sub.customer,
            "status": sub.status,
            "collection_method": if sub.automatic { "charge_automatically" } else { "send_invoice" },
            "items": { "object": "list", "data": [item], "has_more": false },
            "metadata": metadata_json(&sub.metadata),
            "pending_update": null,
            "latest_invoice": latest,
            "cancel_at": sub.cancel_at_period_end.then(|| sub.period_end()),
            "cancel_at_period_end": sub.cancel_at_period_end,
            "canceled_at": sub.canceled_at,
            "ended_at": sub.ended_at,
        })
    }

    pub(crate) fn invoice_json(&self, invoice: &Invoice, payments: bool) -> Value {
        let mut all = json!({
            "id": invoice.id,
            "object": "invoice",
            "customer": invoice.customer,
            "status": invoice.status,
            "billing_reason": invoice.reason,
            "created": invoice.created_s,
            "currency": invoice.currency,
            "total": invoice.total(),
            "lines": { "object": "list", "data": invoice.lines.iter().map(line_json).collect::<Vec<_>>(), "has_more": false },
            "parent": {
                "type": "subscription_details",
                "subscription_details": {
                    "subscription": invoice.subscription,
                    "metadata": metadata_json(&invoice.metadata),
                },
            },
        });
        if let (true, Some(fields)) = (payments, all.as_object_mut()) {
            let paid = invoice.payment.iter().filter_map(|id| Some((id, self.payments.get(id)?)));
            let paid: Vec<Value> = paid
                .map(|(id, payment)| {
                    json!({ "object": "invoice_payment", "status": "paid", "amount_paid": payment.cents,
                        "payment": { "type": "payment_intent", "payment_intent": id } })
                })
                .collect();
            fields.insert("payments".to_owned(), json!({ "object": "list", "data": paid, "has_more": false }));
        }
        all
    }
}

pub(crate) fn price_json(id: &str, price: &Price) -> Value {
    json!({
        "id": id,
        "object": "price",
        "active": price.active,
        "currency": price.currency,
        "unit_amount": price.cents,
        "lookup_key": price.lookup_key,
        "recurring": { "interval": price.every.word(), "interval_count": 1, "usage_type": "licensed" },
    })
}

pub(crate) fn line_json(line: &Line) -> Value {
    json!({
        "object": "line_item",
        "amount": line.cents,
        "parent": {
            "type": "subscription_item_details",
            "subscription_item_details": { "proration": line.proration },
        },
        "pricing": { "type": "price_details", "price_details": { "price": line.price } },
    })
}

pub(crate) fn refund_json(refund: &Refund) -> Value {
    json!({
        "id": refund.id,
        "object": "refund",
        "amount": refund.cents,
        "payment_intent": refund.payment,
        "status": "succeeded",
        "metadata": metadata_json(&refund.metadata),
    })
}

pub(crate) fn transaction_json(transaction: &Transaction) -> Value {
    json!({
        "id": transaction.id,
        "object": "customer_balance_transaction",
        "amount": transaction.cents,
        "currency": transaction.currency,
        "customer": transaction.customer,
        "type": "adjustment",
        "metadata": metadata_json(&transaction.metadata),
    })
}

fn metadata_json(metadata: &Metadata) -> Value {
    json!(metadata)
}
