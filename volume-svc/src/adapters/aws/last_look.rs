//! How the SDK's clients for writes honour a last look (F7): its time is the time of the signature, and a request
//! whose look has ended is not sent.

use crate::ports::cloud::last_look;
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use std::time::SystemTime;

/// The time that requests are signed with.
#[derive(Debug)]
pub(super) struct SigningTime;

impl TimeSource for SigningTime {
    fn now(&self) -> SystemTime {
        last_look::current().map_or_else(SystemTime::now, |look| look.signed_at())
    }
}

/// Stops a request whose look has ended, after it was signed and right before it leaves.
#[derive(Debug)]
pub(super) struct Guard;

/// The request was stopped: nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("the lease ran out before the request left")]
pub(super) struct Stopped;

#[dyn_dispatch_hint]
impl Intercept for Guard {
    fn name(&self) -> &'static str {
        "LastLook"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match last_look::current() {
            Some(look) if look.has_ended() => Err(Stopped.into()),
            _ => Ok(()),
        }
    }
}

/// Whether an error of the SDK comes from [`Guard`].
pub(super) fn stopped(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error>::is::<Stopped>)
}
