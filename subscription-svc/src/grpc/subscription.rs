//! SubscriptionService: create, get, list, cancel, resume, correct; and the audit.

use super::graph::all;
use super::{Api, convert, refused};
use crate::store::rows::Interval;
use crate::store::{AuditFilter, SubscriptionFilter};
use crate::usecase::{CancelSubscription, CorrectSubscription, CreateSubscription, Initial, UseCredits};
use subscription_core::lifecycle::End;
use subscription_core::status::SubscriptionStatus;
use tiershift_common::caller::Caller;
use tiershift_common::fields::FieldsExt as _;
use tiershift_common::page::Scope;
use tiershift_core::error::Fields;
use tiershift_core::ids::{AnyGraphId, AuditId, ChangeId, GraphId, OrgId, RequestId, SubscriptionId, TierName};
use tiershift_core::{Error, UnixMs};
use tiershift_proto::common::v1 as common;
use tiershift_proto::subscription::v1 as pb;
use tiershift_proto::subscription::v1::subscription_service_server::SubscriptionService;
use tonic::{Request, Response, Status};

/// Most cents of an amount, as the contract has it.
const CENTS_MAX: i64 = 1_000_000_000_000;

/// Most credits of a month, or of one use, as the contract has it.
const CREDITS_MAX: i64 = 1_000_000_000;

#[tonic::async_trait]
impl SubscriptionService for Api {
    async fn create_subscription(
        &self,
        request: Request<pb::CreateSubscriptionRequest>,
    ) -> Result<Response<pb::CreateSubscriptionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = create(request.into_inner()).map_err(refused)?;
        let made = self.run(|service| async move { service.create_subscription(&caller, command).await }).await?;
        Ok(Response::new(pb::CreateSubscriptionResponse { subscription: Some(convert::subscription(&made)) }))
    }

    async fn get_subscription(
        &self,
        request: Request<pb::GetSubscriptionRequest>,
    ) -> Result<Response<pb::GetSubscriptionResponse>, Status> {
        use pb::get_subscription_request::Key;
        let caller = Caller::of(&request)?;
        let mut fields = Fields::new();
        let found = match request.into_inner().key {
            None => {
                fields.fault("key", "must be given");
                return Err(refused(all::<()>(fields, None).err().unwrap_or_else(unreadable)));
            }
            Some(Key::SubscriptionId(id)) => {
                let id = fields.id("subscription_id", SubscriptionId::parse(id));
                self.service.get_subscription(&caller, &all(fields, id).map_err(refused)?).await?
            }
            Some(Key::GraphId(id)) => {
                let id = fields.id("graph_id", GraphId::parse(id));
                self.service.subscription_of(&caller, &all(fields, id).map_err(refused)?).await?
            }
        };
        Ok(Response::new(pb::GetSubscriptionResponse { subscription: Some(convert::subscription(&found)) }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<pb::ListSubscriptionsRequest>,
    ) -> Result<Response<pb::ListSubscriptionsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let scope = Scope::pages("ListSubscriptions", &(&request.org_id, request.status, &request.graph_id));
        let mut fields = Fields::new();
        let org = fields.optional_id("org_id", &request.org_id, OrgId::parse);
        let graph = fields.optional_id("graph_id", &request.graph_id, GraphId::parse);
        let size = fields.page_size("page_size", request.page_size);
        let status = known("status", request.status, pb::SubscriptionStatus::try_from(request.status), &mut fields);
        let ((org, graph), (size, status)) = all(fields, org.zip(graph).zip(size.zip(status))).map_err(refused)?;
        let filter = SubscriptionFilter { org, graph, status: convert::status_from(status) };
        let before: Option<SubscriptionId> = scope.position(&request.page_token).map_err(refused)?;
        let page = self.service.list_subscriptions(&caller, &filter, before.as_ref(), size).await?;
        let last = page.rows.last().filter(|_| page.more);
        Ok(Response::new(pb::ListSubscriptionsResponse {
            next_page_token: last.map(|s| scope.token(&s.id)).unwrap_or_default(),
            subscriptions: page.rows.iter().map(convert::subscription).collect(),
        }))
    }

    async fn cancel_subscription(
        &self,
        request: Request<pb::CancelSubscriptionRequest>,
    ) -> Result<Response<pb::CancelSubscriptionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = cancel(request.into_inner()).map_err(refused)?;
        let after = self.run(|service| async move { service.cancel_subscription(&caller, command).await }).await?;
        Ok(Response::new(pb::CancelSubscriptionResponse { subscription: Some(convert::subscription(&after)) }))
    }

    async fn resume_subscription(
        &self,
        request: Request<pb::ResumeSubscriptionRequest>,
    ) -> Result<Response<pb::ResumeSubscriptionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.id("request_id", RequestId::parse(request.request_id));
        let subscription = fields.id("subscription_id", SubscriptionId::parse(request.subscription_id));
        let (id, subscription) = all(fields, id.zip(subscription)).map_err(refused)?;
        let after =
            self.run(|service| async move { service.resume_subscription(&caller, id, &subscription).await }).await?;
        Ok(Response::new(pb::ResumeSubscriptionResponse { subscription: Some(convert::subscription(&after)) }))
    }

    async fn correct_subscription(
        &self,
        request: Request<pb::CorrectSubscriptionRequest>,
    ) -> Result<Response<pb::CorrectSubscriptionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let command = correct(request.into_inner()).map_err(refused)?;
        let after = self.run(|service| async move { service.correct_subscription(&caller, command).await }).await?;
        Ok(Response::new(pb::CorrectSubscriptionResponse { subscription: Some(convert::subscription(&after)) }))
    }

    async fn use_credits(
        &self,
        request: Request<pb::UseCreditsRequest>,
    ) -> Result<Response<pb::UseCreditsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let id = fields.id("request_id", RequestId::parse(request.request_id));
        let graph = fields.id("graph_id", AnyGraphId::parse(request.graph_id));
        let amount = fields.range("amount", request.amount, 1..=CREDITS_MAX);
        let read = id.zip(graph).zip(amount).map(|((request, graph), amount)| UseCredits { request, graph, amount });
        let command = all(fields, read).map_err(refused)?;
        let after = self.run(|service| async move { service.use_credits(&caller, command).await }).await?;
        Ok(Response::new(pb::UseCreditsResponse {
            subscription_id: after.id.to_string(),
            credits: Some(convert::credits(&after.credits)),
        }))
    }

    async fn list_audit_events(
        &self,
        request: Request<pb::ListAuditEventsRequest>,
    ) -> Result<Response<pb::ListAuditEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let filters = (&request.org_id, &request.graph_id, &request.subscription_id, &request.change_id);
        let scope = Scope::pages("ListAuditEvents", &filters);
        let mut fields = Fields::new();
        let org = fields.optional_id("org_id", &request.org_id, OrgId::parse);
        let graph = fields.optional_id("graph_id", &request.graph_id, GraphId::parse);
        let subscription = fields.optional_id("subscription_id", &request.subscription_id, SubscriptionId::parse);
        let change = fields.optional_id("change_id", &request.change_id, ChangeId::parse);
        let size = fields.page_size("page_size", request.page_size);
        let read = org.zip(graph).zip(subscription.zip(change)).zip(size);
        let (((org, graph), (subscription, change)), size) = all(fields, read).map_err(refused)?;
        let filter = AuditFilter { org, graph, subscription, change };
        let before: Option<AuditId> = scope.position(&request.page_token).map_err(refused)?;
        let page = self.service.list_audit(&caller, filter, before.as_ref(), size).await?;
        let last = page.rows.last().filter(|_| page.more);
        Ok(Response::new(pb::ListAuditEventsResponse {
            next_page_token: last.map(|event| scope.token(&event.id)).unwrap_or_default(),
            events: page.rows.iter().map(convert::audit).collect(),
        }))
    }
}

fn unreadable() -> Error {
    Error::invalid_field("request", "must be readable")
}

/// An enum value that may be UNSPECIFIED and must be known.
pub(super) fn known<E, X>(path: &str, _: i32, value: Result<E, X>, fields: &mut Fields) -> Option<E> {
    if value.is_err() {
        fields.fault(path, "must be a known value");
    }
    value.ok()
}

/// An amount that is not negative.
pub(super) fn price(path: &str, money: &common::Money, fields: &mut Fields) -> Option<(i64, String)> {
    let cents = fields.range(&format!("{path}.amount_cents"), money.amount_cents, 0..=CENTS_MAX);
    let currency = &money.currency;
    if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
        fields.fault(format!("{path}.currency"), "must be an ISO 4217 code in capitals, such as USD");
        return None;
    }
    Some((cents?, currency.clone()))
}

fn cancel(request: pb::CancelSubscriptionRequest) -> Result<CancelSubscription, Error> {
    let mut fields = Fields::new();
    let end = match pb::CancelTiming::try_from(request.timing) {
        Ok(pb::CancelTiming::Now) => Some(End::Now),
        Ok(pb::CancelTiming::PeriodEnd) => Some(End::PeriodEnd),
        Ok(pb::CancelTiming::Unspecified) | Err(_) => {
            fields.fault("timing", "must be NOW or PERIOD_END");
            None
        }
    };
    let id = fields.id("request_id", RequestId::parse(request.request_id));
    let subscription = fields.id("subscription_id", SubscriptionId::parse(request.subscription_id));
    let note = fields.text("note", &request.note, 0..=1_000);
    let read = id
        .zip(subscription)
        .zip(end.zip(note))
        .map(|((request, subscription), (end, note))| CancelSubscription { request, subscription, end, note });
    all(fields, read)
}

fn correct(request: pb::CorrectSubscriptionRequest) -> Result<CorrectSubscription, Error> {
    let mut fields = Fields::new();
    let asked = pb::SubscriptionStatus::try_from(request.status);
    let status = known("status", request.status, asked, &mut fields).map(convert::status_from);
    let id = fields.id("request_id", RequestId::parse(request.request_id));
    let subscription = fields.id("subscription_id", SubscriptionId::parse(request.subscription_id));
    let price = match &request.price {
        None => Some(None),
        Some(money) => price("price", money, &mut fields).map(Some),
    };
    let monthly_credits = match request.monthly_credits {
        None => Some(None),
        Some(credits) => fields.range("monthly_credits", credits, 0..=CREDITS_MAX).map(Some),
    };
    let reason = fields.text("reason", &request.reason, 1..=1_000);
    if request.price.is_none() && request.monthly_credits.is_none() && status == Some(None) {
        fields.fault("status", "must be given, or price, or monthly_credits: nothing would be corrected");
    }
    let read = match (id, subscription, status, price, monthly_credits, reason) {
        (Some(request), Some(subscription), Some(status), Some(price), Some(monthly_credits), Some(reason)) => {
            Some(CorrectSubscription { request, subscription, status, price, monthly_credits, reason })
        }
        _ => None,
    };
    all(fields, read)
}

fn create(request: pb::CreateSubscriptionRequest) -> Result<CreateSubscription, Error> {
    let mut fields = Fields::new();
    let interval = match pb::BillingInterval::try_from(request.interval) {
        Ok(pb::BillingInterval::Unspecified | pb::BillingInterval::Monthly) => Some(Interval::Monthly),
        Ok(pb::BillingInterval::Annual) => Some(Interval::Annual),
        Err(_) => {
            fields.fault("interval", "must be a known value");
            None
        }
    };
    let id = fields.id("request_id", RequestId::parse(request.request_id));
    let org = fields.id("org_id", OrgId::parse(request.org_id));
    let graph = fields.id("graph_id", GraphId::parse(request.graph_id));
    let tier = fields.id("tier", TierName::parse(request.tier));
    let initial = match request.initial {
        None => Some(None),
        Some(given) => initial(&given, &mut fields).map(Some),
    };
    let read = match (id, org, graph, tier, interval, initial) {
        (Some(request), Some(org), Some(graph), Some(tier), Some(interval), Some(initial)) => {
            Some(CreateSubscription { request, org, graph, tier, interval, initial })
        }
        _ => None,
    };
    all(fields, read)
}

fn initial(given: &pb::InitialSubscription, fields: &mut Fields) -> Option<Initial> {
    let asked = pb::SubscriptionStatus::try_from(given.status);
    let status = known("initial.status", given.status, asked, fields);
    let status = status.map(|s| convert::status_from(s).unwrap_or(SubscriptionStatus::Active));
    let price = match &given.price {
        None => Some(None),
        Some(money) => price("initial.price", money, fields).map(Some),
    };
    let mut time = |path: &str, ms: i64| {
        let ms = fields.range(path, ms, 0..=i64::MAX / 2);
        ms.map(|ms| (ms > 0).then_some(UnixMs(ms)))
    };
    let period_start = time("initial.period_start_unix_ms", given.period_start_unix_ms);
    let period_end = time("initial.period_end_unix_ms", given.period_end_unix_ms);
    let ends_at = time("initial.ends_at_unix_ms", given.ends_at_unix_ms);
    if given.ends_at_unix_ms != 0 && status.is_some_and(|s| s != SubscriptionStatus::Canceled) {
        fields.fault("initial.ends_at_unix_ms", "must be 0 unless the status is CANCELED");
    }
    let provider = fields.text("initial.provider_subscription_id", &given.provider_subscription_id, 0..=255);
    Some(Initial {
        status: status?,
        price: price?,
        period_start: period_start?,
        period_end: period_end?,
        ends_at: ends_at?,
        provider_subscription_id: provider?,
    })
}
