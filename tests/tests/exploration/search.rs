//! Breadth first through all states, and back from the ends: which of them can be reached from everywhere.

use crate::joint::{Joint, Step};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    pub states: usize,
    pub steps: usize,
    /// Ends where nothing more happens by itself, and how many states are so.
    pub ends: BTreeMap<&'static str, usize>,
    /// The first broken rule, with the shortest way to it.
    pub broken: Option<String>,
}

/// Where a state came from, for the report.
#[derive(Clone, Copy)]
struct Origin {
    from: u32,
    step: Option<Step>,
}

/// Keys as numbers: two of some hundred thousand are the same once in a hundred million searches.
fn digest(joint: &Joint) -> u64 {
    let mut hasher = DefaultHasher::new();
    joint.key().hash(&mut hasher);
    hasher.finish()
}

/// Goes through everything that can be reached.
pub fn explore(start: Joint) -> Found {
    let mut found = Found::default();
    let mut known: HashMap<u64, u32> = HashMap::from([(digest(&start), 0)]);
    let mut origins = vec![Origin { from: 0, step: None }];
    // Plain steps, backwards; and the states where nothing more happens by itself.
    let mut before: Vec<Vec<u32>> = vec![Vec::new()];
    let mut good: Vec<u32> = Vec::new();
    let mut queue = VecDeque::from([(0_u32, start)]);
    while let Some((id, joint)) = queue.pop_front() {
        if let Err(why) = joint.check() {
            found.broken = Some(told(&why, id, &joint, &origins));
            break;
        }
        let mut moves = false;
        for step in joint.steps() {
            let Some(next) = joint.after(step) else { continue };
            found.steps += 1;
            let key = digest(&next);
            let fresh = u32::try_from(origins.len()).expect("fewer states than that");
            let to = *known.entry(key).or_insert(fresh);
            if to == fresh {
                origins.push(Origin { from: id, step: Some(step) });
                before.push(Vec::new());
                queue.push_back((fresh, next));
            }
            if step.is_plain() && to != id {
                moves = true;
                before[to as usize].push(id);
            }
        }
        if !moves {
            match joint.end() {
                Ok(end) => {
                    *found.ends.entry(end).or_default() += 1;
                    good.push(id);
                }
                Err(why) => {
                    found.broken = Some(told(&format!("invariant 9: {why}"), id, &joint, &origins));
                    break;
                }
            }
        }
    }
    found.states = origins.len();
    if found.broken.is_none() {
        found.broken = lost(good, &before, &origins);
    }
    found
}

/// A state from which no end is reached by plain steps.
fn lost(good: Vec<u32>, before: &[Vec<u32>], origins: &[Origin]) -> Option<String> {
    let mut ends = vec![false; origins.len()];
    let mut todo = good;
    while let Some(id) = todo.pop() {
        if !std::mem::replace(&mut ends[id as usize], true) {
            todo.extend(&before[id as usize]);
        }
    }
    let lost = ends.iter().position(|ends| !ends)?;
    let id = u32::try_from(lost).expect("fewer states than that");
    Some(format!("invariant 9: from here no end is reached:\n{}", way(id, origins)))
}

fn told(why: &str, id: u32, joint: &Joint, origins: &[Origin]) -> String {
    format!("{why}\n{}\nthe way there:\n{}", joint.describe(), way(id, origins))
}

/// The shortest way to a state.
fn way(id: u32, origins: &[Origin]) -> String {
    let mut steps = Vec::new();
    let mut at = id;
    while let Origin { from, step: Some(step) } = origins[at as usize] {
        steps.push(format!("{step:?}"));
        at = from;
    }
    steps.reverse();
    steps.join(", ")
}
