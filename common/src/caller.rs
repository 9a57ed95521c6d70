//! Who calls: made once at the edge, typed from there on.
//!
//! Every RPC but health and reflection needs a caller. [`Layer`] makes it and puts it into the request's extensions;
//! a handler takes it with [`Caller::of`] and decides by its methods. Only the layer changes between development and
//! production.
//!
//! Development form (`--dev`): the header `x-tiershift-dev-caller`, which anybody can write and which is therefore
//! read only by a layer that was made for development. Without `--dev` every call is refused: authentication by JWT
//! and mTLS is not built yet, and an open door would not be noticed.
//!
//! Not here: which organisation a graph belongs to, and which right a use case asks for (the services).

use crate::status::{Fault, to_status};
use futures_util::future::{Either, Ready, ready};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::task::{Context, Poll};
use tiershift_core::ids::{OrgId, UserId};
use tiershift_core::{Error, Kind, Reason};
use tonic::body::Body;
use tonic::{Request, Status};
use tower::Service;

/// The development header.
pub const DEV_CALLER_HEADER: &str = "x-tiershift-dev-caller";

/// Services that answer without a caller: what load balancers and `grpcurl` ask before they know anything.
const ANONYMOUS: [&str; 3] =
    ["/grpc.health.v1.Health/", "/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"];

/// What a person may do in an organisation. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sees what the organisation has.
    Member,
    /// Sees it, and administers what has nothing to do with money.
    Admin,
    /// Decides on subscriptions and tiers.
    Owner,
}

/// An authenticated caller: a person, with roles or as an operator, or a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who, for the audit log. A service's name stands here too.
    pub user: UserId,
    /// The person's role in each organisation; empty for services.
    pub orgs: BTreeMap<OrgId, Role>,
    /// Whether this is an operator of the system, who may do all that an owner may, everywhere.
    pub operator: bool,
    /// The service's name, if a service calls.
    pub service: Option<String>,
}

impl Caller {
    /// The caller of a request that came through [`Layer`].
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = request.extensions().get::<Self>().cloned();
        caller.ok_or_else(|| Fault::internal("a handler was reached without the caller layer").into_status())
    }

    /// A service, by the name it authenticates with.
    pub fn service(name: UserId) -> Self {
        Self { service: Some(name.to_string()), user: name, orgs: BTreeMap::new(), operator: false }
    }

    /// May decide on the organisation's subscriptions and tiers: its owners, and operators. No service may: those
    /// act on behalf of a person, who is the caller then.
    pub fn may_manage(&self, org: &OrgId) -> bool {
        self.operator || self.orgs.get(org) == Some(&Role::Owner)
    }

    /// May see what belongs to the organisation: everyone with a role in it, operators and services.
    pub fn may_see(&self, org: &OrgId) -> bool {
        self.operator || self.is_service() || self.orgs.contains_key(org)
    }

    /// May read what was done in the organisation: its owners and admins, and operators.
    pub fn may_audit(&self, org: &OrgId) -> bool {
        self.operator || self.orgs.get(org).is_some_and(|role| *role >= Role::Admin)
    }

    /// Whether this is an operator.
    pub fn is_operator(&self) -> bool {
        self.operator
    }

    /// Whether this is a service.
    pub fn is_service(&self) -> bool {
        self.service.is_some()
    }

    /// Reads the development form: `<user>;org_x=owner;org_y=member`, `<user>;operator` or `service:<name>`.
    pub fn parse_dev(text: &str) -> Result<Self, DevFault> {
        if let Some(name) = text.strip_prefix("service:") {
            return Ok(Self::service(UserId::parse(name).map_err(|_| DevFault::User)?));
        }
        let mut parts = text.split(';').map(str::trim);
        let user = UserId::parse(parts.next().unwrap_or_default()).map_err(|_| DevFault::User)?;
        let mut caller = Self { user, orgs: BTreeMap::new(), operator: false, service: None };
        for part in parts {
            if part == "operator" {
                caller.operator = true;
                continue;
            }
            let (org, role) = part.split_once('=').ok_or_else(|| DevFault::Part(part.to_owned()))?;
            let org = OrgId::parse(org).map_err(|_| DevFault::Part(part.to_owned()))?;
            let role = match role {
                "owner" => Role::Owner,
                "admin" => Role::Admin,
                "member" => Role::Member,
                _ => return Err(DevFault::Part(part.to_owned())),
            };
            if caller.orgs.insert(org, role).is_some() {
                return Err(DevFault::Twice(part.to_owned()));
            }
        }
        Ok(caller)
    }
}

/// The development form, as [`Caller::parse_dev`] reads it.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.service {
            return write!(f, "service:{name}");
        }
        write!(f, "{}", self.user)?;
        if self.operator {
            f.write_str(";operator")?;
        }
        for (org, role) in &self.orgs {
            let role = match role {
                Role::Owner => "owner",
                Role::Admin => "admin",
                Role::Member => "member",
            };
            write!(f, ";{org}={role}")?;
        }
        Ok(())
    }
}

/// Why a text is no development caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DevFault {
    /// The user or service name is malformed.
    #[error("a caller begins with a user id of 1 to 120 letters, digits, `_`, `-` or `.`")]
    User,
    /// A part is neither a role nor `operator`.
    #[error("`{0}` must be `operator` or `org_…=owner`, `org_…=admin`, `org_…=member`")]
    Part(String),
    /// An organisation stands twice.
    #[error("the organisation of `{0}` stands twice")]
    Twice(String),
}

/// Makes the caller of each request, or refuses it with UNAUTHENTICATED.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    dev: bool,
}

impl Layer {
    /// Reads the development header. For a stack on one machine only: anybody can be anyone.
    pub fn dangerous_dev() -> Self {
        Self { dev: true }
    }

    /// Refuses every call that needs a caller, because production authentication is not built yet.
    pub fn production() -> Self {
        Self { dev: false }
    }

    fn caller(self, headers: &http::HeaderMap) -> Result<Caller, Error> {
        let refuse = |message: String| Error::new(Kind::Unauthenticated, Reason::Unauthenticated, message);
        if !self.dev {
            return Err(refuse(
                "authentication for production is not built yet; start the service with --dev on a private machine"
                    .into(),
            ));
        }
        let mut values = headers.get_all(DEV_CALLER_HEADER).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(refuse(format!("send one header {DEV_CALLER_HEADER}, such as `alice;org_acme=owner`")));
        };
        let text = value.to_str().map_err(|_| refuse(format!("{DEV_CALLER_HEADER} must be ASCII")))?;
        Caller::parse_dev(text).map_err(|fault| refuse(format!("{DEV_CALLER_HEADER}: {fault}")))
    }
}

impl<S> tower::Layer<S> for Layer {
    type Service = Callers<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Callers { layer: *self, inner }
    }
}

/// A service behind [`Layer`].
#[derive(Clone, Debug)]
pub struct Callers<S> {
    layer: Layer,
    inner: S,
}

impl<S> Service<http::Request<Body>> for Callers<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Self::Response, Infallible>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if ANONYMOUS.iter().any(|prefix| path.starts_with(prefix)) {
            return Either::Right(self.inner.call(request));
        }
        match self.layer.caller(request.headers()) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Either::Right(self.inner.call(request))
            }
            Err(error) => Either::Left(ready(Ok(to_status(&error).into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::from_status;
    use tower::{Layer as _, ServiceExt as _};

    fn org(text: &str) -> OrgId {
        OrgId::parse(text).expect("an organisation id")
    }

    #[test]
    fn the_development_form_round_trips() {
        for text in ["alice;org_a=owner;org_b=member;org_c=admin", "root;operator", "bob", "service:graph-api"] {
            assert_eq!(Caller::parse_dev(text).expect(text).to_string(), text);
        }
        let both = Caller::parse_dev("root;org_a=admin;operator").expect("in any order");
        assert_eq!(both.to_string(), "root;operator;org_a=admin");
    }

    #[test]
    fn what_is_malformed_is_named() {
        let part = |text: &str| Err(DevFault::Part(text.to_owned()));
        for (text, fault) in [
            ("", Err(DevFault::User)),
            (";operator", Err(DevFault::User)),
            ("service:", Err(DevFault::User)),
            ("service:a b", Err(DevFault::User)),
            ("alice;", part("")),
            ("alice;admin", part("admin")),
            ("alice;org_a=king", part("org_a=king")),
            ("alice;acme=owner", part("acme=owner")),
            ("alice;org_a=owner;org_a=member", Err(DevFault::Twice("org_a=member".into()))),
        ] {
            assert_eq!(Caller::parse_dev(text), fault, "{text}");
        }
    }

    #[test]
    fn each_role_may_what_it_should_and_no_more() {
        for (text, manages, sees) in [
            ("u;org_a=owner", true, true),
            ("u;org_a=admin", false, true),
            ("u;org_a=member", false, true),
            ("u;org_b=owner", false, false),
            ("u", false, false),
            ("u;operator", true, true),
            ("service:s", false, true),
        ] {
            let caller = Caller::parse_dev(text).expect(text);
            assert_eq!((caller.may_manage(&org("org_a")), caller.may_see(&org("org_a"))), (manages, sees), "{text}");
            assert_eq!(caller.is_operator(), text.contains("operator"));
            assert_eq!(caller.is_service(), text.contains("service"));
        }
    }

    #[test]
    fn a_handler_without_the_layer_refuses() {
        assert_eq!(Caller::of(&Request::new(())).expect_err("no caller").code(), tonic::Code::Internal);
        let mut request = Request::new(());
        let caller = Caller::parse_dev("u").expect("a caller");
        request.extensions_mut().insert(caller.clone());
        assert_eq!(Caller::of(&request).expect("a caller"), caller);
    }

    /// What the layer makes of a call: the caller that the handler sees, or the error.
    async fn through(layer: Layer, path: &str, headers: &[&str]) -> Result<Option<Caller>, Error> {
        let mut request = http::Request::builder().uri(path);
        for value in headers {
            request = request.header(DEV_CALLER_HEADER, *value);
        }
        let handler = tower::service_fn(|request: http::Request<Body>| {
            let mut response = http::Response::new(Body::empty());
            response.extensions_mut().insert(request.extensions().get::<Caller>().cloned());
            ready(Ok::<_, Infallible>(response))
        });
        let call = layer.layer(handler).oneshot(request.body(Body::empty()).expect("a request"));
        let response = call.await.expect("infallible");
        match Status::from_header_map(response.headers()) {
            Some(status) => Err(from_status(&status)),
            None => Ok(response.extensions().get::<Option<Caller>>().cloned().flatten()),
        }
    }

    #[tokio::test]
    async fn the_header_is_read_in_development_only() {
        let path = "/tiershift.subscription.v1.TierService/ListTiers";
        let read = through(Layer::dangerous_dev(), path, &["alice;org_a=owner"]).await;
        assert_eq!(read, Ok(Some(Caller::parse_dev("alice;org_a=owner").expect("a caller"))));
        let error = through(Layer::production(), path, &["alice;operator"]).await.expect_err("not read");
        assert_eq!((error.kind, error.reason), (Kind::Unauthenticated, Reason::Unauthenticated));
        assert!(error.message.contains("not built yet"), "{}", error.message);
    }

    #[tokio::test]
    async fn without_one_good_header_nobody_comes_in() {
        let path = "/tiershift.subscription.v1.TierService/ListTiers";
        for headers in [&[][..], &["alice", "bob"], &["org_a=owner"], &["älice"]] {
            let error = through(Layer::dangerous_dev(), path, headers).await.expect_err("refused");
            assert_eq!(error.kind, Kind::Unauthenticated, "{headers:?}");
            assert!(error.message.contains(DEV_CALLER_HEADER), "{}", error.message);
        }
    }

    #[tokio::test]
    async fn health_and_reflection_need_no_caller_and_names_like_theirs_do() {
        for path in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] {
            assert_eq!(through(Layer::production(), path, &[]).await, Ok(None), "{path}");
        }
        for path in ["/grpc.health.v1.HealthX/Check", "/x/grpc.health.v1.Health/Check"] {
            assert!(through(Layer::production(), path, &[]).await.is_err(), "{path}");
        }
    }
}
