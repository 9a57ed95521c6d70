//! Desired capacity as others write it (scaling policies, schedules, operators: the last writer wins, nobody is asked), and
//! members as a group moves them by itself.

use super::invalid;
use crate::api::autoscaling::ScalingActivity;
use crate::api::{ApiError, Done};
use crate::sim::{Event, Sim};

impl Sim {
    /// Moves a group's desired capacity by one.
    pub(crate) fn scale(&mut self, group_name: &str, by: i32) -> Result<Done, ApiError> {
        let desired = self.group(group_name)?.desired.checked_add_signed(by);
        let desired = desired.ok_or_else(|| invalid("desired capacity cannot be below 0"))?;
        self.set_desired(self.now_ms, group_name, desired)
    }

    /// Sets a group's desired capacity. What follows from it happens at once.
    pub(crate) fn set_desired(&mut self, at_ms: u64, group_name: &str, desired: u32) -> Result<Done, ApiError> {
        let group = self.group_mut(group_name)?;
        if desired < group.min_size || desired > group.max_size {
            return Err(invalid(format!(
                "New SetDesiredCapacity value {desired} is not between min value {} and max value {}",
                group.min_size, group.max_size
            )));
        }
        group.desired = desired;
        self.queue(at_ms, Event::GroupCheck { group_name: group_name.to_owned() });
        self.advance(at_ms);
        Ok(Done {})
    }

    /// Ends members that a group has too many of, unless they are protected from scale-in: then desired stays below what
    /// is there (docs/aws.md 0).
    pub(crate) fn end_surplus(&mut self, group_name: &str) {
        let at_ms = self.now_ms;
        while self.surplus(group_name) {
            let Some(instance_id) = self.expendable(group_name) else {
                self.note_protected(group_name);
                return;
            };
            self.terminate(at_ms, &instance_id, "Client.UserInitiatedShutdown");
            self.note_termination(at_ms, group_name, &instance_id, "a difference between desired and actual capacity");
        }
    }

    /// Moves a member from the fullest zone to the emptiest: the new one first, as AWS does it.
    pub(crate) fn rebalance(&mut self, group_name: &str) -> Result<Done, ApiError> {
        let at_ms = self.now_ms;
        if self.group(group_name)?.suspended.contains("AZRebalance") {
            return Err(invalid("The AZRebalance process of the group is suspended"));
        }
        let Some(leaving) = self.expendable(group_name) else { return Ok(Done {}) };
        let fullest = self.instances.get(&leaving).map(|instance| instance.zone.clone()).unwrap_or_default();
        let Some((zone, subnet_id)) = self.emptiest(group_name).filter(|(zone, _)| *zone != fullest) else {
            return Ok(Done {});
        };
        let cause = "an unbalanced number of instances in its Availability Zones";
        self.launch(at_ms, group_name, &zone, &subnet_id, cause);
        self.terminate(at_ms, &leaving, "Client.UserInitiatedShutdown");
        self.note_termination(at_ms, group_name, &leaving, cause);
        Ok(Done {})
    }

    /// Whether a group has more members than it should, and may end some.
    fn surplus(&self, group_name: &str) -> bool {
        let Some(group) = self.groups.get(group_name) else { return false };
        let ending = |id: &&String| self.instances.get(*id).is_some_and(|instance| instance.end.is_some());
        let staying = group.members.iter().filter(|id| !ending(id)).count();
        staying > group.desired as usize && !group.suspended.contains("Terminate")
    }

    /// The member in service that a group ends first: in the zone with the most of them, the oldest.
    fn expendable(&self, group_name: &str) -> Option<String> {
        let members = self.groups.get(group_name)?.members.iter();
        let all: Vec<_> = members.filter_map(|id| Some((id, self.instances.get(id)?))).collect();
        let staying: Vec<_> = all.into_iter().filter(|(_, instance)| instance.end.is_none()).collect();
        let in_zone = |zone: &str| staying.iter().filter(|(_, instance)| instance.zone == zone).count();
        let free = staying.iter().filter(|(_, instance)| !instance.protected && instance.in_service(self.now_ms));
        let first = free.min_by_key(|(id, instance)| {
            (std::cmp::Reverse(in_zone(&instance.zone)), instance.launch_ms, (*id).clone())
        });
        first.map(|(id, _)| (*id).clone())
    }

    fn note_protected(&mut self, group_name: &str) {
        let cause = "a difference between desired and actual capacity".to_owned();
        let description = "Scaling in".to_owned();
        let activity = self.activity(self.now_ms, group_name, description, cause, self.now_ms);
        if let Some(group) = self.groups.get_mut(group_name) {
            group.note(ScalingActivity {
                status_code: "Cancelled".to_owned(),
                status_message: "Could not scale to desired capacity because all remaining instances are protected \
                                 from scale in."
                    .to_owned(),
                ..activity
            });
        }
    }
}
