//! Switching faults on and off: by the model's own calls, by JSON, and by time.
//!
//! A request in JSON is checked as a whole: everything that is wrong with it is told at once, and it changes nothing.

use serde_json::{Map, Value};
use tiershift_core::FieldFault;

use super::Fault;
use super::catalogue::{self, CATALOGUE, Entry, ParameterKind, Strikes};
use crate::api::control::{ActiveFault, ClearFaults, Faults as FaultList, SetFault};
use crate::api::{ApiError, Call, Done, Service};
use crate::sim::{Event, Sim};
use crate::{lambda, store};

/// The keys of a request to set a fault that are no parameters of the fault.
const HOW: [&str; 3] = ["count", "skip", "for_ms"];

impl Sim {
    pub(crate) fn set_fault(&mut self, request: &SetFault) -> Result<Done, ApiError> {
        self.check_fault(&request.fault)?;
        let now_ms = self.now_ms;
        match &request.fault {
            Fault::InstanceTerminated { instance_id } => {
                self.terminate_by_hand(now_ms, instance_id);
                return Ok(Done {});
            }
            Fault::ScaleIn { group_name } => return self.scale(group_name, -1),
            Fault::ScaleOut { group_name } => return self.scale(group_name, 1),
            Fault::Rebalance { group_name } => return self.rebalance(group_name),
            Fault::InstanceDead { instance_id } => {
                if !self.faults.is_on(&request.fault) {
                    self.power_off(instance_id, true);
                }
                self.faults.set(&SetFault { count: None, skip: 0, ..request.clone() }, now_ms);
            }
            Fault::RateLimits => {
                self.rates.fill();
                self.faults.set(request, now_ms);
            }
            _ => self.faults.set(request, now_ms),
        }
        if let Some(for_ms) = request.for_ms {
            self.queue(now_ms.saturating_add(for_ms), Event::FaultsOver);
        }
        Ok(Done {})
    }

    /// Refuses a fault that can never strike.
    fn check_fault(&self, fault: &Fault) -> Result<(), ApiError> {
        if let Some(api) = fault.api() {
            let kind =
                if matches!(fault, Fault::Conflict { .. }) { ParameterKind::StoreWrite } else { ParameterKind::Action };
            if !can_be_struck(api, kind) {
                return Err(ApiError::bad("UNKNOWN_API", format!("no fault can strike the action '{api}'")));
            }
        }
        fault.instance_id().map_or(Ok(()), |id| self.living(id))?;
        fault.group_name().map_or(Ok(()), |name| self.group(name).map(|_| ()))
    }

    pub(crate) fn clear_fault(&mut self, fault: &Fault) -> Done {
        let cleared = self.faults.clear(|active| active.fault == *fault);
        self.over(&cleared);
        if *fault == Fault::AgentKeepsMount {
            self.unmount_by_hand();
        }
        Done {}
    }

    pub(crate) fn clear_faults(&mut self, request: &ClearFaults) -> FaultList {
        let cleared = self.faults.clear(|active| has(&active.fault, &request.with));
        self.over(&cleared);
        // Its count may be used up while a mount is still held by what it did.
        if has(&Fault::AgentKeepsMount, &request.with) {
            self.unmount_by_hand();
        }
        FaultList { faults: cleared }
    }

    /// The time of some faults is over.
    pub(crate) fn faults_over(&mut self) {
        let now_ms = self.now_ms;
        let cleared = self.faults.clear(|active| active.until_ms.is_some_and(|until| until <= now_ms));
        self.over(&cleared);
    }

    /// What ends with a fault.
    fn over(&mut self, cleared: &[ActiveFault]) {
        for active in cleared {
            match &active.fault {
                Fault::InstanceDead { instance_id } => self.power_on(instance_id),
                Fault::AgentKeepsMount => self.unmount_by_hand(),
                _ => {}
            }
        }
    }

    /// A request to set a fault, from JSON: `{"fault": "throttle", "api": "AttachVolume", "count": 2}`. Otherwise
    /// everything that is wrong with it.
    pub fn read_set_fault(&self, body: &[u8]) -> Result<SetFault, Vec<FieldFault>> {
        let map = Reading { sim: self, faults: Vec::new() }.read(body, true)?;
        serde_json::from_value(Value::Object(map)).map_err(|error| vec![wrong("body", &error.to_string())])
    }

    /// A request to clear faults, from JSON: the name, or a name with parameters, or nothing for all.
    pub fn read_clear_faults(&self, body: &[u8]) -> Result<ClearFaults, Vec<FieldFault>> {
        let map = Reading { sim: self, faults: Vec::new() }.read(body, false)?;
        Ok(ClearFaults { with: map.into_iter().collect() })
    }
}

/// Whether a fault has all of these values in its JSON.
fn has(fault: &Fault, with: &std::collections::BTreeMap<String, Value>) -> bool {
    let json = serde_json::to_value(fault).unwrap_or_default();
    with.iter().all(|(key, value)| json.get(key) == Some(value))
}

fn can_be_struck(api: &str, kind: ParameterKind) -> bool {
    let known =
        |(service, name): &(Service, &str)| *name == api && !matches!(service, Service::Engine | Service::Control);
    match kind {
        ParameterKind::StoreWrite => store::CONFLICTING.contains(&api),
        _ => Call::actions().iter().any(known) || store::ACTIONS.contains(&api),
    }
}

fn wrong(field: &str, rule: &str) -> FieldFault {
    FieldFault { field: field.to_owned(), rule: rule.to_owned() }
}

/// A request that is being read.
struct Reading<'a> {
    sim: &'a Sim,
    faults: Vec<FieldFault>,
}

impl Reading<'_> {
    /// `setting` a fault needs its name and what the name requires; clearing takes less.
    fn read(mut self, body: &[u8], setting: bool) -> Result<Map<String, Value>, Vec<FieldFault>> {
        let map = match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => map,
            Ok(_) => return Err(vec![wrong("body", "must be a JSON object")]),
            Err(error) => return Err(vec![wrong("body", &format!("must be a JSON object: {error}"))]),
        };
        let name = map.get("fault");
        let entry = name.and_then(Value::as_str).and_then(catalogue::find);
        if entry.is_none() && (setting || name.is_some()) {
            let names: Vec<&str> = CATALOGUE.iter().map(|entry| entry.name).collect();
            self.fault("fault", format!("must be one of {}", names.join(", ")));
        }
        for (key, value) in &map {
            if key == "fault" {
            } else if setting && HOW.contains(&key.as_str()) {
                self.how(key, value, entry);
            } else if let Some(entry) = entry {
                match entry.parameters.iter().find(|parameter| parameter.name == key) {
                    Some(parameter) => self.parameter(key, value, parameter.kind, setting),
                    None => self.fault(key, format!("is nothing that {} takes", entry.name)),
                }
            } else if name.is_none() {
                self.fault(key, "says nothing without a fault");
            }
        }
        let required = entry.into_iter().flat_map(|entry| entry.parameters).filter(|parameter| parameter.required);
        for parameter in required.filter(|parameter| setting && !map.contains_key(parameter.name)) {
            self.fault(parameter.name, "must be there");
        }
        if self.faults.is_empty() { Ok(map) } else { Err(self.faults) }
    }

    fn fault(&mut self, field: &str, rule: impl AsRef<str>) {
        self.faults.push(wrong(field, rule.as_ref()));
    }

    /// How often and how long.
    fn how(&mut self, key: &str, value: &Value, entry: Option<&Entry>) {
        if value.is_null() {
            return;
        }
        match entry.map(|entry| entry.strikes) {
            Some(Strikes::Once) => return self.fault(key, "means nothing: the fault strikes once, when it is set"),
            Some(Strikes::Steadily) if key != "for_ms" => {
                return self.fault(key, "means nothing: the fault strikes all the time");
            }
            _ => {}
        }
        let number = value.as_u64();
        if key == "for_ms" && number.is_none_or(|number| number == 0) {
            self.fault(key, "must be a number of milliseconds, at least 1");
        } else if number.is_none_or(|number| key != "for_ms" && u32::try_from(number).is_err()) {
            self.fault(key, "must be a whole number from 0 to 4294967295");
        }
    }

    fn parameter(&mut self, key: &str, value: &Value, kind: ParameterKind, setting: bool) {
        if kind == ParameterKind::Milliseconds {
            if value.as_u64().is_none_or(|number| number == 0) {
                self.fault(key, "must be a number of milliseconds, at least 1");
            }
            return;
        }
        let Some(text) = value.as_str() else { return self.fault(key, "must be a text") };
        // What is gone can still be cleared.
        if !setting {
            return;
        }
        match kind {
            ParameterKind::Action if !can_be_struck(text, kind) => {
                self.fault(
                    key,
                    format!("must be an action of EC2, Auto Scaling, the agents or DynamoDB, not '{text}'"),
                );
            }
            ParameterKind::StoreWrite if !can_be_struck(text, kind) => {
                self.fault(key, format!("must be one of {}", store::CONFLICTING.join(", ")));
            }
            ParameterKind::FunctionAction if !lambda::ACTIONS.contains(&text) => {
                self.fault(key, format!("must be one of {}", lambda::ACTIONS.join(", ")));
            }
            ParameterKind::Instance if self.sim.living(text).is_err() => {
                self.fault(key, format!("must be an instance that lives, not '{text}'"));
            }
            ParameterKind::Group if self.sim.group(text).is_err() => {
                let names: Vec<&str> = self.sim.groups.keys().map(String::as_str).collect();
                self.fault(key, format!("must be one of {}", names.join(", ")));
            }
            _ => {}
        }
    }
}
