//! What a driver sees when it looks: the truth, except where the test's faults say otherwise.

use super::World;
use super::cloud::Life;
use super::fixture;
use tiershift_core::ids::InstanceId;
use volume_core::effect::{
    AgentVolume, Candidate, GroupSeen, InstanceSeen, Observe, Seen, SnapshotSeen, SnapshotState, Trouble,
};
use volume_core::item::Table;
use volume_core::plan::{AttachmentFacts, Facts, GraphFacts, GroupFacts, SourceFacts, VolumeFacts};

impl World {
    /// Reads, which takes a little time.
    pub fn look(&mut self, what: &Observe) -> Seen {
        self.advance(self.now + self.durations.look);
        if let Some(seen) = self.faults.seen_instead(what) {
            return seen;
        }
        match what {
            Observe::Facts => Seen::Facts(Box::new(self.facts())),
            Observe::Snapshots { .. } | Observe::AllSnapshots => {
                let asked = |s: &super::cloud::Snapshot| match what {
                    Observe::Snapshots { purpose } => s.purpose == *purpose && !s.foreign,
                    _ => true,
                };
                let mut list: Vec<SnapshotSeen> = self
                    .cloud
                    .snapshots
                    .iter()
                    .filter(|(_, s)| asked(s) && !s.deleted)
                    .map(|(id, s)| {
                        let done = (self.now - s.started).max(0) * 100 / (s.ends - s.started).max(1);
                        SnapshotSeen {
                            id: id.clone(),
                            state: s.state,
                            started_ms: s.started,
                            percent: u32::try_from(done.min(if s.state == SnapshotState::Completed {
                                100
                            } else {
                                99
                            }))
                            .expect("a percentage"),
                        }
                    })
                    .collect();
                list.sort_by_key(|s| (s.started_ms, s.id.clone()));
                Seen::Snapshots(list)
            }
            Observe::Candidates => Seen::Candidates(self.candidates()),
            Observe::Instance { instance } => Seen::Instance(self.instance(instance)),
            Observe::Volume => {
                let mut at = self.now;
                if let Some((times, lag_ms)) = self.faults.stale.filter(|(times, _)| *times > 0) {
                    self.faults.stale = Some((times - 1, lag_ms));
                    at -= lag_ms;
                }
                Seen::Volume(Some(self.cloud.attachments_at(at)))
            }
            Observe::AgentVolume { instance } => self.agent(instance, |world, host| {
                Some(Seen::AgentVolume(AgentVolume {
                    sees_volume: world.cloud.is_attached(instance),
                    mounted: host.mounted,
                    fs_uuid: host.fs_uuid.clone(),
                    state: host.state,
                    holders: Vec::new(),
                    error: None,
                }))
            }),
            Observe::Writers { instance } => {
                self.agent(instance, |world, host| host.writers(world.now).map(Seen::Count))
            }
            Observe::Connections { instance } => self.agent(instance, |world, host| {
                let open = host.connections(world.now)?;
                Some(Seen::Count(if world.faults.busy_readers { open.max(1) } else { open }))
            }),
            Observe::Probe { instance } => {
                let lies = self.faults.probe_lies.contains(instance);
                self.agent(instance, |world, host| {
                    let mut probe = host.probe(&world.cloud.volume)?;
                    probe.nodes -= i64::from(lies);
                    Some(Seen::Probe(probe))
                })
            }
            Observe::Usage { instance } => {
                self.agent(instance, |_, host| host.engine.as_ref().map(|_| Seen::Usage(fixture::LIMIT_BYTES / 2)))
            }
            Observe::Group { group } => match self.cloud.groups.get(group) {
                Some(seen) => Seen::Group(GroupSeen { desired: seen.desired, min: seen.min, max: 10 }),
                None => Seen::Nothing(Trouble::NotFound),
            },
            Observe::Permits => Seen::Permits(self.store.permits_seen()),
        }
    }

    /// Asks an agent. One that has no engine refuses what needs one.
    fn agent(&self, instance: &InstanceId, ask: impl Fn(&Self, &super::host::Host) -> Option<Seen>) -> Seen {
        let running = self.cloud.instances.get(instance).is_some_and(|i| i.life == Life::Running);
        match self.hosts.get(instance).filter(|_| running) {
            Some(host) => ask(self, host).unwrap_or(Seen::Nothing(Trouble::Permanent)),
            None => Seen::Nothing(Trouble::Unknown),
        }
    }

    /// One instance in EC2, its group and its agent.
    pub fn instance(&self, id: &InstanceId) -> InstanceSeen {
        let instance = self.cloud.instances.get(id);
        let running = instance.is_some_and(|i| i.life == Life::Running);
        InstanceSeen {
            running,
            terminated: instance.is_none_or(|i| i.life == Life::Ended),
            in_service: instance.is_some_and(|i| i.in_service),
            protected: instance.is_some_and(|i| i.protected),
            group: instance.filter(|i| matches!(i.life, Life::Running | Life::Booting)).map(|i| i.group.clone()),
            zone: instance.map(|_| fixture::zone()),
            private_ip: instance.map(|i| i.ip.clone()),
            data_volumes: u32::from(
                self.faults.shows_volume.contains(id)
                    || self.cloud.volume.attachments.iter().any(|a| a.instance == *id),
            ),
            engine: (running && self.hosts.contains_key(id) && !self.faults.silent.contains_key(id)).then(|| {
                let mut engine = fixture::engine();
                if self.faults.other_engine.contains(id) {
                    "8".clone_into(&mut engine.format);
                }
                engine
            }),
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let rows = self.store.items.iter().filter(|(key, _)| key.table == Table::Instance);
        rows.filter(|(_, row)| {
            row.s("status") == Some("healthy")
                && row.n("database_count") == Some(0)
                && row.s("ts_migration").is_none()
                && row.s("cluster_group") == Some(fixture::target_group().as_str())
        })
        .filter_map(|(key, _)| {
            let id = InstanceId::parse(key.pk.clone()).expect("well formed");
            let seen = self.instance(&id);
            let fits = seen.running && seen.in_service && seen.data_volumes == 0;
            Some(Candidate {
                private_ip: seen.private_ip.filter(|_| fits)?,
                endpoint_url: None,
                engine: seen.engine?,
                instance: id,
            })
        })
        .collect()
    }

    fn facts(&self) -> Facts {
        let graph = self.store.row(&volume_core::keys::graph_row(&fixture::graph()));
        let row = self.store.row(&volume_core::keys::volume_row(&fixture::volume()));
        let lock = self.store.row(&volume_core::keys::volume_lock(&fixture::volume()));
        let source = self.instance(&fixture::source());
        let group = |name: tiershift_core::ids::GroupName| GroupFacts {
            members: self.cloud.groups.get(&name).map_or(0, |g| g.desired),
            name,
            max: 10,
            health_checks: vec!["EC2".to_owned()],
            suspended: Vec::new(),
            rebalances: false,
            refreshing: false,
            zones: vec![fixture::zone()],
        };
        let on =
            |row: &volume_core::item::Item| row.s("instance_id").map(|i| InstanceId::parse(i).expect("well formed"));
        Facts {
            read_at: self.at(),
            graph: Some(GraphFacts {
                instance: on(&graph),
                status: graph.s("status").unwrap_or_default().to_owned(),
                migration: graph.s("ts_migration").map(str::to_owned),
            }),
            volume: Some(VolumeFacts {
                id: fixture::volume(),
                graphs: vec![fixture::graph()],
                tier: fixture::source_tier(),
                instance: on(&row),
                holder: lock.s("holder").map(str::to_owned),
                settling: lock.s("kind") == Some("settling"),
                zone: Some(fixture::zone()),
                attachments: self.cloud.volume.attachments.iter().map(AttachmentFacts::of).collect(),
                modifying: false,
                pending_snapshots: 0,
            }),
            source: Some(SourceFacts {
                instance: fixture::source(),
                private_ip: "10.0.0.9".to_owned(),
                endpoint_url: None,
                running: source.running,
                group: Some(group(fixture::source_group())),
                agent_supported: source.engine.as_ref().map(|_| true),
                engine: source.engine,
            }),
            target_group: Some(group(fixture::target_group())),
            idle: u32::try_from(self.candidates().len()).expect("few"),
            type_offered: Some(true),
            usage_bytes: Some(fixture::LIMIT_BYTES / 2),
            function: None,
            unreadable: Vec::new(),
        }
    }
}
