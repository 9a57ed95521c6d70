//! How money moves: prorations, invoices and what pays them, and what goes back.

use crate::calendar::share;
use crate::model::{Invoice, Line, Payment, State, Subscription};

/// Stripe charges no card less than this many cents: it is owed until the next invoice.
const LEAST_CHARGE: i64 = 50;

impl State {
    /// What a change of price at an instant is invoiced with; none outside of the period.
    pub(crate) fn prorated(&self, sub: &Subscription, price: &str, at_s: i64) -> Option<Vec<Line>> {
        let (start_s, end_s) = (sub.period_start(), sub.period_end());
        if !(start_s..=end_s).contains(&at_s) {
            return None;
        }
        let (left_s, whole_s) = (end_s - at_s, end_s - start_s);
        let (old, new) = (self.prices.get(&sub.price)?.cents, self.prices.get(price)?.cents);
        let line = |cents: i64, price: &str| Line { cents, price: price.to_owned(), proration: true };
        let mut lines = vec![line(-share(old, left_s, whole_s), &sub.price), line(share(new, left_s, whole_s), price)];
        if self.surcharge != 0 {
            lines.push(line(self.surcharge, price));
        }
        Some(lines)
    }

    /// A new invoice that waits to be paid; gives its name.
    pub(crate) fn invoice(
        &mut self,
        subscription: &str,
        sub: &Subscription,
        reason: &'static str,
        lines: Vec<Line>,
        at_s: i64,
    ) -> String {
        let id = self.name("in");
        let currency = self.prices.get(&sub.price).map(|p| p.currency.clone()).unwrap_or_default();
        self.invoices.push(Invoice {
            id: id.clone(),
            customer: sub.customer.clone(),
            subscription: subscription.to_owned(),
            status: "open",
            reason,
            created_s: at_s,
            currency,
            lines,
            metadata: sub.metadata.clone(),
            payment: None,
        });
        if let Some(sub) = self.subscriptions.get_mut(subscription) {
            sub.latest_invoice = Some(id.clone());
        }
        id
    }

    /// What a card would have to pay for an amount, once the customer's balance is set off.
    pub(crate) fn due(&self, customer: &str, total: i64) -> i64 {
        let balance = self.customers.get(customer).map_or(0, |c| c.balance);
        let due = total + balance;
        if due < LEAST_CHARGE { 0 } else { due }
    }

    /// Pays an open invoice: by the balance, and by card.
    pub(crate) fn pay(&mut self, invoice: &str) {
        let Some(at) = self.invoices.iter().position(|i| i.id == invoice && i.status == "open") else { return };
        let (customer, total) = (self.invoices[at].customer.clone(), self.invoices[at].total());
        let due = self.due(&customer, total);
        if let Some(customer) = self.customers.get_mut(&customer) {
            customer.balance += total - due;
        }
        if due > 0 {
            let id = self.name("pi");
            self.payments.insert(id.clone(), Payment { customer, cents: due });
            self.invoices[at].payment = Some(id);
        }
        self.invoices[at].status = "paid";
    }

    /// What was refunded of a payment.
    pub(crate) fn refunded(&self, payment: &str) -> i64 {
        self.refunds.iter().filter(|r| r.payment == payment).map(|r| r.cents).sum()
    }

    pub(crate) fn net_cents(&self, customer: &str) -> i64 {
        let paid = self.payments.iter().filter(|(_, p)| p.customer == customer);
        let by_card: i64 = paid.map(|(id, p)| p.cents - self.refunded(id)).sum();
        by_card + self.customers.get(customer).map_or(0, |c| c.balance)
    }
}
