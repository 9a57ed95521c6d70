//! `tierctl sim` against the simulated cloud itself: both sides mean the same by every name.

use std::io;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use cloud_sim::faults::catalogue::CATALOGUE;
use http::Method;
use serde_json::{Value, json};
use tierctl::cli::Cli;
use tierctl::commands;
use tierctl::exit::{Exit, Fault};
use tierctl::output::Output;
use tiershift_core::Kind;

use crate::kit::World;

/// What a command wrote.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a command, for programs: the lines of its answer.
async fn tierctl(world: &World, arguments: &str) -> Result<Vec<Value>, Fault> {
    let line = format!("tierctl sim --cloud-url {} --json {arguments}", world.running.cloud_url);
    let cli = Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"));
    let written = Written::default();
    let mut output = Output::to(true, written.clone());
    assert_eq!(commands::run(cli, &mut output).await?, Exit::Succeeded);
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[tokio::test]
async fn every_fault_of_the_catalogue_can_be_set_seen_and_cleared() {
    let world = World::new().await;
    let listed = tierctl(&world, "faults").await.unwrap();
    let names: Vec<&str> = listed.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, CATALOGUE.iter().map(|entry| entry.name).collect::<Vec<_>>());
    let instance = world.idle("us-east-1a").instance_id.clone();
    let group = world.group("ladybug-large").to_owned();
    for row in &listed {
        let mut line = vec!["fault set".to_owned(), row["name"].as_str().unwrap().to_owned()];
        for parameter in row["parameters"].as_array().unwrap() {
            line.push(match parameter["kind"].as_str().unwrap() {
                "action" => "--api AttachVolume".to_owned(),
                "store_write" => "--api PutItem".to_owned(),
                "instance" => format!("--instance {instance}"),
                "group" => format!("--group {group}"),
                "function_action" => "--action detach_volume".to_owned(),
                "milliseconds" => "--lag-ms 5".to_owned(),
                other => panic!("a parameter of a kind that tierctl has no flag for: {other}"),
            });
        }
        if row["strikes"] == "chances" {
            line.push("--count 3 --skip 2 --for 1h".to_owned());
        }
        let line = line.join(" ");
        // The instance that is terminated is not there for any other one.
        if row["name"] == "instance_terminated" {
            continue;
        }
        if row["name"] == "rebalance" {
            // A data group has it suspended, and then refuses.
            let group = world.group("ladybug-large");
            let resumed = json!({ "suspended_processes": [] });
            world.http.ask(Method::POST, &format!("/sim/groups/{group}"), None, Some(resumed)).await.unwrap();
        }
        tierctl(&world, &line).await.unwrap_or_else(|fault| panic!("{line}: {fault}"));
        let on = tierctl(&world, "fault list").await.unwrap();
        let kept = on.iter().find(|fault| fault["fault"] == row["name"]);
        assert_eq!(kept.is_some(), row["strikes"] != "once", "{line}: {on:?}");
        if row["strikes"] == "chances" {
            let kept = kept.unwrap();
            assert_eq!((&kept["count"], &kept["skip"]), (&json!(3), &json!(2)), "{line}");
            assert!(kept["until_ms"].is_u64(), "{line}");
        }
    }
    assert_eq!(tierctl(&world, "fault clear agent_silent").await.unwrap().len(), 1);
    let rest = tierctl(&world, "fault clear --all").await.unwrap();
    assert!(rest.len() > 20, "{rest:?}");
    assert!(tierctl(&world, "fault list").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_bad_wish_is_told_whole_and_changes_nothing() {
    let world = World::new().await;
    let refused = tierctl(&world, "fault set throttle --api Nonsense --instance i-1 --lag-ms 1").await.unwrap_err();
    let Fault::Service(error) = refused else { panic!("{refused:?}") };
    let flags: Vec<&str> = error.fields.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!((error.kind, flags), (Kind::InvalidArgument, vec!["--api", "--instance", "--lag-ms"]));
    let Fault::Service(error) = tierctl(&world, "fault set earthquake").await.unwrap_err() else { panic!("refused") };
    assert!(error.fields[0].rule.contains("stuck_detach"), "{error:?}");
    let min = json!({ "min_size": 5 });
    let group = world.group("ladybug-large");
    world.http.ask(Method::POST, &format!("/sim/groups/{group}"), None, Some(min)).await.unwrap();
    let below = tierctl(&world, &format!("fault set scale_in --group {group}")).await.unwrap_err();
    let Fault::Service(error) = below else { panic!("{below:?}") };
    assert_eq!(Exit::of(&error), Exit::Refused, "{error:?}");
    assert!(tierctl(&world, "fault list").await.unwrap().is_empty());
}
