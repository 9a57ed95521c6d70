//! The life of one migration as its journal has it: recorded once, in virtual time, from the real driver against the
//! simulated cloud; lived again by any number of others under ids of the same length.

use tiershift_core::UnixMs;
use tiershift_core::ids::ChangeId;
use tiershift_tests::world::fuse::Fuse;
use tiershift_tests::world::process::Process;
use tiershift_tests::world::rig::Rig;
use tiershift_tests::world::run::Run;
use tiershift_tests::world::subscriber::Policy;
use volume_core::fact::{Entry, Fact, Spec};
use volume_core::settings::Settings;

/// What one append wrote, and when.
pub type Appended = (UnixMs, Vec<Fact>);

/// A life: its appends in order.
#[derive(Clone, Debug)]
pub struct Life {
    /// The first one starts it.
    pub appends: Vec<Appended>,
}

/// Why there is no life to be lived.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// It could not be written down or read back.
    #[error("the recorded life cannot be written down")]
    Text(#[from] serde_json::Error),
    /// It does not begin with a start.
    #[error("the recorded life does not begin with a start")]
    NoStart,
    /// No runtime.
    #[error("there is no runtime to record in")]
    Runtime(#[from] std::io::Error),
}

impl Life {
    /// Lets a small graph move to the large tier, in virtual time.
    pub fn record() -> Result<Self, LifeError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let entries = runtime.block_on(async {
            let rig = Rig::new(Settings::default()).await;
            let process = Process::start(&rig, Fuse::endless());
            let run = Run::begin(&rig, &process, "upgrade-1", "ladybug-large", Policy::Confirm).await;
            run.finish().await.entries
        });
        let mut appends: Vec<Appended> = Vec::new();
        for Entry { at, fact, .. } in entries {
            match appends.last_mut() {
                // The store is some milliseconds away, so what has one time was one append.
                Some((before, facts)) if *before == at => facts.push(fact),
                _ => appends.push((at, vec![fact])),
            }
        }
        Ok(Self { appends })
    }

    /// Its start.
    pub fn spec(&self) -> Result<&Spec, LifeError> {
        let first = self.appends.first().and_then(|(_, facts)| facts.first());
        match first {
            Some(Fact::Started { spec }) => Ok(spec),
            _ => Err(LifeError::NoStart),
        }
    }

    /// The same life under ids of its own, told by a number.
    pub fn of(&self, number: usize) -> Result<Self, LifeError> {
        let spec = self.spec()?;
        let mut text = serde_json::to_string(&self.appends)?;
        let hex = |prefix: &str, old: &str| {
            let digits = old.len() - prefix.len();
            format!("{prefix}{number:0>digits$x}")
        };
        let mut own = |prefix: &str, old: &str| text = text.replace(old, &hex(prefix, old));
        let targets = self.appends.iter().flat_map(|(_, facts)| facts).filter_map(|fact| match fact {
            Fact::Reserved { target } => Some(target.instance.as_str()),
            _ => None,
        });
        for target in targets {
            own("i-f", target);
        }
        own("i-", spec.source.instance.as_str());
        own("vol-", spec.volume.as_str());
        own("kg", spec.graph.as_str());
        text = text.replace(spec.id.as_str(), id(number).as_str());
        Ok(Self { appends: serde_json::from_str(&text)? })
    }
}

/// The id of a life under its own number.
#[expect(clippy::expect_used, reason = "26 decimal digits are a ULID")]
pub fn id(number: usize) -> ChangeId {
    ChangeId::parse(format!("chg_{number:026}")).expect("a change id")
}
