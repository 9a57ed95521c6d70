//! Which services to talk to, and as whom: flags first, then the environment, then the stack of this machine.

use crate::exit::Fault;
use crate::stack::{self, Stack};
use clap::Args;
use std::path::PathBuf;
use tiershift_common::caller::Caller;
use tiershift_common::client::{CallerChannel, channel_as};
use tiershift_proto::subscription::v1::access_service_client::AccessServiceClient;
use tiershift_proto::subscription::v1::graph_service_client::GraphServiceClient;
use tiershift_proto::subscription::v1::subscription_service_client::SubscriptionServiceClient;
use tiershift_proto::subscription::v1::tier_service_client::TierServiceClient;
use tiershift_proto::subscription::v1::webhook_service_client::WebhookServiceClient;
use tiershift_proto::volume::v1::migration_service_client::MigrationServiceClient;

/// Where the services are, and who calls.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub struct Options {
    /// Address of subscription-svc [default: the stack's]
    #[arg(long, global = true, value_name = "URL", env = "TIERSHIFT_SUBSCRIPTION_URL", hide_env_values = true)]
    pub subscription_url: Option<String>,
    /// Address of volume-svc [default: the stack's]
    #[arg(long, global = true, value_name = "URL", env = "TIERSHIFT_VOLUME_URL", hide_env_values = true)]
    pub volume_url: Option<String>,
    /// Who calls: `alice;org_acme=owner`, `ops;operator` or `service:NAME` [default: the stack's]
    #[arg(long = "as", global = true, value_name = "CALLER", env = "TIERSHIFT_CALLER", hide_env_values = true)]
    pub caller: Option<String>,
    /// File that describes the stack of this machine
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TIERSHIFT_STACK",
        hide_env_values = true,
        default_value = stack::PATH
    )]
    pub stack: PathBuf,
}

/// The services and the caller that were chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    subscription_url: Option<String>,
    volume_url: Option<String>,
    caller: Caller,
}

impl Target {
    /// Chooses from the options; the stack's file is read only if something is not said.
    pub fn choose(options: &Options) -> Result<Self, Fault> {
        let told = options.subscription_url.is_some() && options.volume_url.is_some() && options.caller.is_some();
        let stack = if told { None } else { Stack::read(&options.stack).map_err(|fault| Fault::usage(&fault))? };
        let or_stack = |said: &Option<String>, of: fn(&Stack) -> &String| {
            said.clone().or_else(|| stack.as_ref().map(|stack| of(stack).clone()))
        };
        let caller = or_stack(&options.caller, |stack| &stack.dev_caller).ok_or_else(|| {
            Fault::Usage(format!(
                "no caller: there is no {}; start the stack with `./x run`, or say who calls with --as",
                options.stack.display()
            ))
        })?;
        Ok(Self {
            subscription_url: or_stack(&options.subscription_url, |stack| &stack.subscription_url),
            volume_url: or_stack(&options.volume_url, |stack| &stack.volume_url),
            caller: Caller::parse_dev(&caller).map_err(|fault| Fault::Usage(format!("--as: {fault}")))?,
        })
    }

    /// The stack's services, as its default caller.
    pub fn of_stack(stack: &Stack) -> Result<Self, Fault> {
        Ok(Self {
            subscription_url: Some(stack.subscription_url.clone()),
            volume_url: Some(stack.volume_url.clone()),
            caller: Caller::parse_dev(&stack.dev_caller).map_err(|fault| Fault::usage(&fault))?,
        })
    }

    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Tiers and their changes.
    pub fn tiers(&self) -> Result<TierServiceClient<CallerChannel>, Fault> {
        Ok(TierServiceClient::new(self.subscription()?))
    }

    /// Graphs.
    pub fn graphs(&self) -> Result<GraphServiceClient<CallerChannel>, Fault> {
        Ok(GraphServiceClient::new(self.subscription()?))
    }

    /// The payment provider's events.
    pub fn webhooks(&self) -> Result<WebhookServiceClient<CallerChannel>, Fault> {
        Ok(WebhookServiceClient::new(self.subscription()?))
    }

    /// Subscriptions.
    pub fn subscriptions(&self) -> Result<SubscriptionServiceClient<CallerChannel>, Fault> {
        Ok(SubscriptionServiceClient::new(self.subscription()?))
    }

    /// Access.
    pub fn access(&self) -> Result<AccessServiceClient<CallerChannel>, Fault> {
        Ok(AccessServiceClient::new(self.subscription()?))
    }

    /// Migrations.
    pub fn migrations(&self) -> Result<MigrationServiceClient<CallerChannel>, Fault> {
        Ok(MigrationServiceClient::new(self.channel(self.volume_url.as_deref(), "--volume-url")?))
    }

    fn subscription(&self) -> Result<CallerChannel, Fault> {
        self.channel(self.subscription_url.as_deref(), "--subscription-url")
    }

    fn channel(&self, url: Option<&str>, flag: &str) -> Result<CallerChannel, Fault> {
        let url =
            url.ok_or_else(|| Fault::Usage(format!("no address: start the stack with `./x run`, or give {flag}")))?;
        channel_as(url, &self.caller).map_err(|fault| Fault::Usage(format!("{flag}: {fault}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack_at(path: PathBuf) -> Options {
        let stack = Stack {
            subscription_url: "http://127.0.0.1:1".into(),
            volume_url: "http://127.0.0.1:2".into(),
            cloud_url: "http://127.0.0.1:3".into(),
            dev_caller: "dev-operator;operator".into(),
            speed: 20,
            environment: "dev".into(),
            pids: std::collections::BTreeMap::new(),
        };
        stack.write(&path).expect("written");
        Options { stack: path, ..Options::default() }
    }

    #[test]
    fn what_is_said_goes_before_the_stack() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = stack_at(folder.path().join("stack.json"));
        let target = Target::choose(&options).expect("the stack");
        assert_eq!(target.subscription_url.as_deref(), Some("http://127.0.0.1:1"));
        assert!(target.caller().is_operator());
        let said = Options {
            volume_url: Some("http://127.0.0.1:9".into()),
            caller: Some("alice;org_a=owner".into()),
            ..options
        };
        let target = Target::choose(&said).expect("half the stack");
        assert_eq!(target.subscription_url.as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(target.volume_url.as_deref(), Some("http://127.0.0.1:9"));
        assert_eq!(target.caller().to_string(), "alice;org_a=owner");
    }

    #[tokio::test]
    async fn what_is_missing_or_wrong_is_wrong_usage_with_the_flag_to_mend_it() {
        let nowhere = Options { stack: "/nonexistent/stack.json".into(), ..Options::default() };
        let usage = |fault: Fault| match fault {
            Fault::Usage(text) => text,
            other => panic!("{other:?}"),
        };
        assert!(usage(Target::choose(&nowhere).expect_err("nobody")).contains("--as"));
        let alice = Options { caller: Some("alice".into()), ..nowhere.clone() };
        let target = Target::choose(&alice).expect("a caller is enough to begin");
        assert!(usage(target.tiers().expect_err("no address")).contains("--subscription-url"));
        assert!(usage(target.migrations().expect_err("no address")).contains("--volume-url"));
        let wrong = Options { subscription_url: Some("127.0.0.1:1".into()), ..alice };
        let target = Target::choose(&wrong).expect("checked when it is used");
        assert!(usage(target.tiers().expect_err("no address")).contains("http://127.0.0.1:7101"));
        let nobody = Options { caller: Some("alice;king".into()), ..nowhere };
        assert!(usage(Target::choose(&nobody).expect_err("no caller")).contains("`king`"));
    }
}
