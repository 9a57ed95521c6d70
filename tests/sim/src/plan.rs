//! What a seed decides: which changes are asked for, what goes wrong, and when. Data, so that a history can be played
//! again with less of it (`shrink`).

use cloud_sim::faults::Fault;
use std::fmt;
use subscription_svc::payments::sim::Behaviour;
use tiershift_tests::world::dice::Dice;

/// Nothing goes wrong any more from here on, in milliseconds from the first change: long enough for every stage of a
/// change to be met, and for a second owner to take over twice.
const CALM_MS: u64 = 420_000;

/// The same where something stays broken: longer than a step of the way back is patient, so that a person is needed.
const SIEGE_MS: u64 = 3_000_000;

/// One history.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What everything else is drawn from, and what the cloud draws its durations from.
    pub seed: u64,
    /// Processes of volume-svc that run at once.
    pub processes: u64,
    /// When nothing goes wrong any more, in milliseconds from the first change.
    pub calm_ms: u64,
    /// The changes, in the order of their beginning. Two of one graph come one after the other: the later one is asked
    /// for again until the earlier one is over.
    pub changes: Vec<Wanted>,
    /// What goes wrong, by time.
    pub mishaps: Vec<Mishap>,
}

/// A change that a customer asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The seeded graph's short name.
    pub graph: &'static str,
    /// The tier wanted.
    pub tier: &'static str,
    /// When it is asked for.
    pub at_ms: u64,
    /// When the customer changes its mind, from the acceptance on.
    pub cancel_after_ms: Option<u64>,
    /// How its payments go.
    pub payments: Option<Behaviour>,
}

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub struct Mishap {
    /// When, in milliseconds from the first change.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

/// What may go wrong.
#[derive(Clone, Debug)]
pub enum What {
    /// A process of volume-svc is killed, and another starts in its place after a while.
    KillVolume {
        /// Which of them.
        process: u64,
        /// Milliseconds until its place is taken.
        gap_ms: u64,
    },
    /// The next process in that place dies (or stands still) at its n-th border of a durable change.
    Fuse {
        /// Which place.
        process: u64,
        /// The border.
        border: u64,
        /// Stands still for so long instead of dying.
        pause_ms: Option<u64>,
    },
    /// A process of volume-svc stands still, wherever it is.
    PauseVolume {
        /// Which of them.
        process: u64,
        /// For how long.
        length_ms: u64,
    },
    /// A process's store refuses or loses four in ten transactions from here on, until it dies.
    Unruly {
        /// Which place: its process is killed and the next one is unruly.
        process: u64,
        /// What the lot is drawn from.
        seed: u64,
    },
    /// The process of subscription-svc is killed and started again after a while.
    KillSubscription {
        /// Milliseconds until it is started again.
        gap_ms: u64,
    },
    /// Its store answers badly for so many transactions.
    UnrulySubscription {
        /// How many.
        transactions: u64,
        /// What the lot is drawn from.
        seed: u64,
    },
    /// A fault of the cloud, so many times.
    Fault {
        /// Which.
        fault: Fault,
        /// How often.
        count: u32,
    },
    /// A fault of the cloud that lasts until calm.
    Siege {
        /// Which.
        fault: Fault,
    },
    /// volume-svc's store does not answer for a while; what was sent may have been applied.
    StoreDown {
        /// For how long.
        length_ms: u64,
    },
    /// An instance is terminated, as by an operator or by the end of its host; its group replaces it.
    Terminate {
        /// The source of the n-th change; else the present target of the n-th live migration.
        source: bool,
        /// Which of them.
        n: u64,
    },
    /// Somebody raises a group's desired capacity: it launches in a zone of its own choice.
    ScaleOut {
        /// The tier whose group it is.
        tier: &'static str,
    },
    /// A host loses its power and boots again at once (the source), or stays dark until calm (an idle one).
    PowerCut {
        /// A source, of the n-th change; else an idle instance.
        source: bool,
        /// Which of them.
        n: u64,
    },
}

/// Seeded graphs of the development fleet, each with the tier that it can be moved to.
const MOVES: [(&str, &str); 4] = [
    ("upgrade-1", "ladybug-large"),
    ("upgrade-idle", "ladybug-large"),
    ("downgrade", "ladybug-standard"),
    ("upgrade-2", "ladybug-large"),
];

/// Calls that may be throttled or lost.
const APIS: [&str; 10] = [
    "CreateSnapshot",
    "LaunchInstances",
    "AttachVolume",
    "DetachVolume",
    "TerminateInstanceInAutoScalingGroup",
    "SetInstanceProtection",
    "AgentDrain",
    "AgentRelease",
    "AgentAdopt",
    "AgentResume",
];

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let processes = [1, 2, 2, 3][index(&mut dice, 4)];
        let first = index(&mut dice, MOVES.len());
        let several = [1, 1, 1, 2, 2, 3][index(&mut dice, 6)];
        let mut changes: Vec<Wanted> =
            (0..several).map(|n| wanted(&mut dice, MOVES[(first + n) % MOVES.len()], n)).collect();
        if one_in(&mut dice, 6) {
            changes.push(back_again(changes[0], &mut dice));
        }
        let mut mishaps: Vec<Mishap> = (0..dice.between(0, 7)).map(|_| mishap(&mut dice, processes)).collect();
        let besieged = one_in(&mut dice, 12);
        if besieged {
            mishaps.push(siege(&mut dice));
        }
        mishaps.sort_by_key(|mishap| mishap.at_ms);
        Self { seed, processes, calm_ms: if besieged { SIEGE_MS } else { CALM_MS }, changes, mishaps }
    }
}

/// The way back of an earlier change, as a change of its own.
fn back_again(first: Wanted, dice: &mut Dice) -> Wanted {
    let tier = if first.tier == "ladybug-large" { "ladybug-standard" } else { "ladybug-large" };
    Wanted { tier, at_ms: first.at_ms + dice.between(1_000, 200_000), ..first }
}

/// Something that is broken for so long that the way forward and the way back both give up.
fn siege(dice: &mut Dice) -> Mishap {
    let apis = ["AttachVolume", "DetachVolume", "AgentRelease", "AgentAdopt", "AgentResume", "DeleteSnapshot"];
    let api = apis[index(dice, apis.len())].to_owned();
    let fault = match dice.between(0, 3) {
        0 => Fault::Throttle { api },
        1 => Fault::LostAnswerAfter { api },
        2 => Fault::StuckAttach,
        _ => Fault::LostAnswerBefore { api },
    };
    Mishap { at_ms: dice.between(60_000, 180_000), what: What::Siege { fault } }
}

fn index(dice: &mut Dice, of: usize) -> usize {
    usize::try_from(dice.between(0, of as u64 - 1)).expect("a small number")
}

fn one_in(dice: &mut Dice, n: u64) -> bool {
    dice.between(1, n) == 1
}

fn wanted(dice: &mut Dice, (graph, tier): (&'static str, &'static str), n: usize) -> Wanted {
    let cancel_after_ms = one_in(dice, 5).then(|| dice.between(0, 200_000));
    let at_ms = if n == 0 { 0 } else { dice.between(0, 30_000) };
    let payments = match dice.between(0, 11) {
        0 => Some(Behaviour::LoseAnswer),
        1 => Some(Behaviour::LoseRequest),
        2 => Some(Behaviour::ServerFault),
        3 => one_in(dice, 2).then_some(Behaviour::Decline),
        _ => None,
    };
    Wanted { graph, tier, at_ms, cancel_after_ms, payments }
}

fn mishap(dice: &mut Dice, processes: u64) -> Mishap {
    let at_ms = dice.between(0, CALM_MS - 60_000);
    let process = dice.between(0, processes - 1);
    let what = match dice.between(0, 16) {
        0 | 1 => What::KillVolume { process, gap_ms: dice.between(0, 15_000) },
        2..=4 => {
            let pause_ms = one_in(dice, 2).then(|| dice.between(1_000, 60_000));
            What::Fuse { process, border: dice.between(1, 120), pause_ms }
        }
        5 => What::PauseVolume { process, length_ms: dice.between(500, 40_000) },
        6 => What::Unruly { process, seed: dice.between(0, u64::MAX - 1) },
        7 => What::KillSubscription { gap_ms: dice.between(0, 20_000) },
        8 => What::UnrulySubscription { transactions: dice.between(1, 12), seed: dice.between(0, u64::MAX - 1) },
        11 => What::Terminate { source: one_in(dice, 4), n: dice.between(0, 3) },
        10 => What::StoreDown { length_ms: dice.between(500, 30_000) },
        12 => What::ScaleOut { tier: if dice.coin() { "ladybug-large" } else { "ladybug-standard" } },
        9 => What::PowerCut { source: dice.coin(), n: dice.between(0, 3) },
        _ => What::Fault { fault: fault(dice), count: u32::try_from(dice.between(1, 3)).expect("small") },
    };
    Mishap { at_ms, what }
}

fn fault(dice: &mut Dice) -> Fault {
    let api = APIS[index(dice, APIS.len())].to_owned();
    match dice.between(0, 18) {
        0 => Fault::AttachFails,
        1 => Fault::NoCapacity,
        2 => Fault::Throttle { api },
        3 | 4 => Fault::LostAnswerBefore { api },
        5 | 6 => Fault::LostAnswerAfter { api },
        7 => Fault::StuckAttach,
        8 => Fault::StaleReads,
        9 => Fault::BackwardReads,
        10 => Fault::StuckDetach,
        11 => Fault::BusyDetach,
        12 => Fault::FailedSnapshot,
        13 => Fault::WrongZone,
        14 => Fault::LaunchWithoutAgent,
        15 => Fault::AgentSlow { instance_id: None },
        16 => Fault::AgentSilent { instance_id: None },
        17 => Fault::LaunchHook,
        _ => Fault::ServerErrorAfter { api },
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} processes of volume-svc, calm at {} ms", self.seed, self.processes, self.calm_ms)?;
        for change in &self.changes {
            writeln!(f, "  wanted {change:?}")?;
        }
        for mishap in &self.mishaps {
            writeln!(f, "  {:>7} ms {:?}", mishap.at_ms, mishap.what)?;
        }
        Ok(())
    }
}
