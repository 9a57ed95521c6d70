//! Zones, subnets and instance types: what is offered where, and how much of it is left.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::filter;
use crate::api::ApiError;
use crate::api::ec2::{
    DescribeInstanceTypeOfferings, DescribeSubnets, InstanceTypeOffering, InstanceTypeOfferings, Subnet, Subnets, Tags,
};
use crate::faults::Fault;
use crate::ids::Kind;
use crate::sim::Sim;
use crate::timing::Mishap;

/// How long a zone stays without a type by mishap (docs/aws.md 12).
const DROUGHT_MS: (u64, u64) = (300_000, 3_600_000);

/// A zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Zone id, the same in every account.
    pub id: String,
    /// Instance types that can be asked for here.
    pub offered: BTreeSet<String>,
    /// What is left of a type; no entry = plenty.
    pub left: BTreeMap<String, u32>,
    /// Until when there is none of a type, by mishap.
    pub drought_until_ms: BTreeMap<String, u64>,
}

impl Sim {
    pub(crate) fn has_zone(&self, zone: &str) -> bool {
        self.zones.contains_key(zone)
    }

    pub(crate) fn zone_id(&self, zone: &str) -> String {
        self.zones.get(zone).map(|zone| zone.id.clone()).unwrap_or_default()
    }

    /// Takes one instance's worth of capacity; false if there is none.
    pub(crate) fn take_capacity(&mut self, at_ms: u64, zone: &str, instance_type: &str) -> bool {
        if self.faults.strikes(&Fault::NoCapacity) {
            return false;
        }
        let starts = self.dice.mishap(Mishap::NoCapacity);
        let lasts_ms = self.dice.between(DROUGHT_MS.0, DROUGHT_MS.1);
        let Some(zone) = self.zones.get_mut(zone) else { return false };
        if starts {
            zone.drought_until_ms.insert(instance_type.to_owned(), at_ms + lasts_ms);
        }
        if zone.drought_until_ms.get(instance_type).is_some_and(|until| *until > at_ms) {
            return false;
        }
        match zone.left.get_mut(instance_type) {
            None => zone.offered.contains(instance_type),
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    pub(crate) fn describe_instance_type_offerings(
        &self,
        request: &DescribeInstanceTypeOfferings,
    ) -> Result<InstanceTypeOfferings, ApiError> {
        filter::check(&request.filters, &["instance-type", "location"])?;
        let by_zone = match request.location_type.as_str() {
            "availability-zone" => true,
            "region" => false,
            other => {
                return Err(ApiError::bad("InvalidParameterValue", format!("The location type '{other}' is invalid")));
            }
        };
        let mut all = BTreeSet::new();
        for (name, zone) in &self.zones {
            let location = if by_zone { name } else { &self.config.region };
            all.extend(zone.offered.iter().map(|instance_type| (location.clone(), instance_type.clone())));
        }
        let mut found = Vec::new();
        for (location, instance_type) in all {
            let field = |name: &str| match name {
                "location" => vec![location.clone()],
                _ => vec![instance_type.clone()],
            };
            if filter::matches(&request.filters, &Tags::new(), field) {
                let key = format!("{location}/{instance_type}");
                let location_type = request.location_type.clone();
                found.push((key, InstanceTypeOffering { instance_type, location_type, location }));
            }
        }
        let (offerings, next_token) = filter::page(found, &request.paging)?;
        Ok(InstanceTypeOfferings { offerings, next_token })
    }

    pub(crate) fn describe_subnets(&self, request: &DescribeSubnets) -> Result<Subnets, ApiError> {
        filter::check(&request.filters, &["subnet-id", "availability-zone", "vpc-id"])?;
        filter::ids_or_pages(&request.subnet_ids, &request.paging)?;
        if let Some(unknown) = request.subnet_ids.iter().find(|id| !self.subnets.contains_key(*id)) {
            return Err(Kind::Subnet.not_found(&[unknown]));
        }
        let mut found = Vec::new();
        for (id, subnet) in &self.subnets {
            let asked = request.subnet_ids.is_empty() || request.subnet_ids.contains(id);
            let field = |name: &str| match name {
                "subnet-id" => vec![id.clone()],
                "availability-zone" => vec![subnet.availability_zone.clone()],
                _ => vec![subnet.vpc_id.clone()],
            };
            if asked && filter::matches(&request.filters, &Tags::new(), field) {
                found.push((id.clone(), subnet.clone()));
            }
        }
        let (subnets, next_token) = filter::page(found, &request.paging)?;
        Ok(Subnets { subnets, next_token })
    }

    /// The subnet of a zone among those given.
    pub(crate) fn subnet_in<'a>(&'a self, subnet_ids: &'a [String], zone: &str) -> Option<&'a Subnet> {
        subnet_ids.iter().filter_map(|id| self.subnets.get(id)).find(|subnet| subnet.availability_zone == zone)
    }
}
