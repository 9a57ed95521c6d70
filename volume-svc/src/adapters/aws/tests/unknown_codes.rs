//! Rule 46 over the whole way from an answer of AWS to an operator: a human is told the call and the code that no table
//! knows. That an effect is then sent twice more, and not again, is the machine's part.

use super::{aws, refusal};
use crate::adapters::agent::HttpAgent;
use crate::adapters::budget::Budget;
use crate::adapters::canned::Canned;
use crate::adapters::describe::Describer;
use crate::adapters::direct::Direct;
use crate::alerts::tests::migration;
use crate::alerts::{Alert, Alerts, Kind};
use crate::idle::Idle;
use crate::journal::Journal;
use crate::permits::Permits;
use crate::ports::cloud::{AutoScalingApi, Ec2Api};
use crate::store::memory::Memory;
use crate::world::World;
use std::sync::{Arc, Mutex};
use tiershift_common::clock::{Clock, Scaled};
use tiershift_core::event::Direction;
use tiershift_core::ids::WorkerId;
use volume_core::effect::{Answer, Command, Effect, Observe, Seen, Trouble};
use volume_core::settings::Settings;

#[derive(Debug, Default)]
struct Raised(Mutex<Vec<Alert>>);

impl Alerts for Raised {
    fn raise(&self, alert: Alert) {
        self.0.lock().unwrap().push(alert);
    }
}

async fn world(server: &Canned, alerts: Arc<Raised>) -> World {
    let aws = aws(server).await;
    let (ec2, autoscaling): (Arc<dyn Ec2Api>, Arc<dyn AutoScalingApi>) =
        (Arc::new(aws.ec2()), Arc::new(aws.autoscaling()));
    let clock: Arc<dyn Clock> = Arc::new(Scaled::wall());
    let budget = Budget::new(Arc::clone(&clock), 100);
    let worker = WorkerId::parse("w-1").unwrap();
    let journal = Journal::new(Arc::new(Memory::new()), Arc::clone(&clock), worker, Settings::default());
    World {
        ops: Arc::new(Direct::over(Arc::clone(&ec2))),
        describer: Describer::start(&ec2, &autoscaling, &budget, &clock, 50),
        ec2,
        autoscaling,
        agents: Arc::new(HttpAgent::new("key").unwrap()),
        alerts,
        permits: Permits::new(journal.clone(), Arc::clone(&clock)),
        idle: Idle::new(journal.clone(), Arc::clone(&clock)),
        journal,
        clock,
        agent_url_template: None,
        environment: "test".to_owned(),
    }
}

#[tokio::test]
async fn a_code_that_no_table_knows_is_told_with_its_call() {
    for (code, known) in [("Brand.New", false), ("IncorrectState", true)] {
        let server = Canned::start(move |_, _| refusal(400, code)).await;
        let raised = Arc::new(Raised::default());
        let world = world(&server, Arc::clone(&raised)).await;
        let m = migration(Direction::Forward);
        let instance = m.spec.as_ref().unwrap().source.instance.clone();
        let effect = Effect::Detach { instance, device: "/dev/sdf".to_owned() };
        let command = Command::Effect { n: 1, effect, token: "t".to_owned() };
        let trouble = if known { Trouble::IncorrectState } else { Trouble::Unlisted };
        assert_eq!(world.run(&m, &command).await, Some(Answer::Effect { n: 1, result: Err(trouble) }));
        // A read's, too: it tells nothing, however often.
        let trouble = if known { Trouble::IncorrectState } else { Trouble::Unknown };
        let seen = world.run(&m, &Command::Observe(Observe::Volume)).await;
        assert_eq!(seen, Some(Answer::Seen { what: Observe::Volume, seen: Seen::Nothing(trouble) }));
        let told: Vec<(Kind, String)> =
            raised.0.lock().unwrap().iter().map(|alert| (alert.kind, alert.detail.clone())).collect();
        let words = |call: &str| {
            (
                Kind::UnknownCode,
                format!("{call} was refused with the code Brand.New, which has no row in the table of errors"),
            )
        };
        assert_eq!(told, if known { vec![] } else { vec![words("DetachVolume"), words("DescribeVolumes")] });
    }
}
