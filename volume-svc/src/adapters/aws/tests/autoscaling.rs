//! Auto Scaling: the request of each call, and the answer as our types.

use super::{answering, aws, instance_id, parameters, tags};
use crate::adapters::canned::{Canned, Reply};
use crate::ports::cloud::{
    ActivityStatus, AutoScalingApi, Class, HealthCheck, LaunchRequest, Lifecycle, Process, RefreshStatus,
};
use tiershift_core::ids::{GroupName, Zone};

fn group() -> GroupName {
    GroupName::parse("large-writers-asg").unwrap()
}

#[tokio::test]
async fn a_group_with_everything_that_preflight_asks_for() {
    let server = answering(
        r"<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups><member>
        <AutoScalingGroupName>large-writers-asg</AutoScalingGroupName><MinSize>1</MinSize><MaxSize>9</MaxSize>
        <DesiredCapacity>2</DesiredCapacity><AvailabilityZones><member>us-east-1a</member><member>us-east-1b</member>
        </AvailabilityZones><HealthCheckType>EC2,EBS</HealthCheckType><VPCZoneIdentifier>subnet-1,subnet-2</VPCZoneIdentifier>
        <Instances><member><InstanceId>i-0123456789abcdef0</InstanceId><AvailabilityZone>us-east-1a</AvailabilityZone>
        <LifecycleState>InService</LifecycleState><HealthStatus>Healthy</HealthStatus><InstanceType>r7g.large</InstanceType>
        <ProtectedFromScaleIn>true</ProtectedFromScaleIn></member><member><InstanceId>i-0123456789abcdef1</InstanceId>
        <AvailabilityZone>us-east-1b</AvailabilityZone><LifecycleState>Warmed:Running</LifecycleState>
        <HealthStatus>Unhealthy</HealthStatus></member></Instances>
        <SuspendedProcesses><member><ProcessName>AZRebalance</ProcessName></member><member>
        <ProcessName>InstanceRefresh</ProcessName></member></SuspendedProcesses>
        <Tags><member><Key>Tier</Key><Value>large</Value></member></Tags>
        <NewInstancesProtectedFromScaleIn>true</NewInstancesProtectedFromScaleIn>
        <MaxInstanceLifetime>604800</MaxInstanceLifetime></member></AutoScalingGroups>
        </DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>",
    )
    .await;
    let groups = aws(&server).await.autoscaling().describe_auto_scaling_groups(&[group()]).await.unwrap();
    let found = &groups[0];
    assert_eq!((found.min, found.desired, found.max), (1, 2, 9));
    assert_eq!(found.zones.iter().map(Zone::as_str).collect::<Vec<_>>(), ["us-east-1a", "us-east-1b"]);
    assert_eq!(found.subnet_ids, ["subnet-1", "subnet-2"]);
    assert_eq!(found.health_checks, [HealthCheck::Ec2, HealthCheck::Ebs]);
    assert_eq!(found.suspended, [Process::AzRebalance, Process::Other("InstanceRefresh".to_owned())]);
    assert_eq!((found.new_members_protected, found.replaces_by_age), (true, true));
    assert_eq!((found.warm_pool, found.deleting), (false, false));
    assert_eq!(found.tags, tags(&[("Tier", "large")]));
    let [first, second] = found.members.as_slice() else { panic!("two members") };
    assert_eq!((&first.lifecycle, first.healthy, first.protected), (&Lifecycle::InService, true, true));
    assert_eq!(second.lifecycle, Lifecycle::Other("Warmed:Running".to_owned()));
    assert_eq!((second.healthy, second.protected), (false, false));
    assert_eq!(second.group, group());
    let expected =
        ["Action=DescribeAutoScalingGroups", "AutoScalingGroupNames.member.1=large-writers-asg", "MaxRecords=100"];
    assert_eq!(parameters(&server.only().body), expected);
}

#[tokio::test]
async fn members_activities_and_refreshes() {
    let server = Canned::start(|seen, _| {
        Reply::ok(match seen.action() {
            "DescribeAutoScalingInstances" => {
                r"<DescribeAutoScalingInstancesResponse><DescribeAutoScalingInstancesResult><AutoScalingInstances><member>
                <InstanceId>i-0123456789abcdef0</InstanceId><AutoScalingGroupName>large-writers-asg</AutoScalingGroupName>
                <AvailabilityZone>us-east-1a</AvailabilityZone><LifecycleState>Terminating:Wait</LifecycleState>
                <HealthStatus>HEALTHY</HealthStatus><ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>
                </AutoScalingInstances></DescribeAutoScalingInstancesResult></DescribeAutoScalingInstancesResponse>"
            }
            "DescribeScalingActivities" => {
                r"<DescribeScalingActivitiesResponse><DescribeScalingActivitiesResult><Activities><member>
                <ActivityId>a-1</ActivityId><AutoScalingGroupName>large-writers-asg</AutoScalingGroupName>
                <Cause>c</Cause><StartTime>2026-11-23T10:00:00Z</StartTime><StatusCode>Failed</StatusCode>
                <StatusMessage>We currently do not have sufficient capacity</StatusMessage></member>
                </Activities></DescribeScalingActivitiesResult></DescribeScalingActivitiesResponse>"
            }
            _ => {
                r"<DescribeInstanceRefreshesResponse><DescribeInstanceRefreshesResult><InstanceRefreshes><member>
                <InstanceRefreshId>r-1</InstanceRefreshId><Status>InProgress</Status></member><member>
                <InstanceRefreshId>r-0</InstanceRefreshId><Status>Daydreaming</Status></member><member>
                <InstanceRefreshId>r-00</InstanceRefreshId><Status>Successful</Status></member></InstanceRefreshes>
                </DescribeInstanceRefreshesResult></DescribeInstanceRefreshesResponse>"
            }
        })
    })
    .await;
    let autoscaling = aws(&server).await.autoscaling();
    let members = autoscaling.describe_auto_scaling_instances(&[instance_id()]).await.unwrap();
    assert_eq!((&members[0].lifecycle, members[0].healthy), (&Lifecycle::TerminatingWait, true));
    let activities = autoscaling.describe_scaling_activities(&group(), 20).await.unwrap();
    assert_eq!(activities[0].status, ActivityStatus::Failed);
    assert!(activities[0].started_at.is_some() && activities[0].ended_at.is_none());
    let refreshes = autoscaling.describe_instance_refreshes(&group()).await.unwrap();
    let ended: Vec<bool> = refreshes.iter().map(|refresh| refresh.status.ended()).collect();
    assert_eq!(ended, [false, false, true]);
    assert_eq!(refreshes[1].status, RefreshStatus::Other("Daydreaming".to_owned()));
    assert_eq!(server.seen()[1].parameter("MaxRecords"), Some("20"));
}

#[tokio::test]
async fn a_launch_pins_token_zone_and_strategy() {
    let server = answering(
        r"<LaunchInstancesResponse><LaunchInstancesResult><AutoScalingGroupName>large-writers-asg</AutoScalingGroupName>
        <ClientToken>token</ClientToken><Instances><member><InstanceType>r7g.large</InstanceType>
        <AvailabilityZone>us-east-1b</AvailabilityZone><InstanceIds><member>i-0123456789abcdef0</member></InstanceIds>
        </member></Instances><Errors><member><ErrorCode>InsufficientInstanceCapacity</ErrorCode>
        <ErrorMessage>none left</ErrorMessage></member><member><ErrorCode>Brand.New</ErrorCode></member></Errors>
        </LaunchInstancesResult></LaunchInstancesResponse>",
    )
    .await;
    let zone = Zone::parse("us-east-1b").unwrap();
    let request = LaunchRequest { group: group(), client_token: "token".to_owned(), zone };
    let outcome = aws(&server).await.autoscaling().launch_instances(&request).await.unwrap();
    assert_eq!(outcome.instances, [instance_id()]);
    let classes: Vec<Class> = outcome.faults.iter().map(|fault| fault.class).collect();
    assert_eq!(classes, [Class::NoCapacity, Class::UnknownCode], "some of both is an answer of AWS");
    let expected = [
        "Action=LaunchInstances",
        "AutoScalingGroupName=large-writers-asg",
        "AvailabilityZones.member.1=us-east-1b",
        "ClientToken=token",
        "RequestedCapacity=1",
        "RetryStrategy=none",
    ];
    assert_eq!(parameters(&server.only().body), expected);
}

#[tokio::test]
async fn protection_and_termination_name_exactly_one_group_and_instance() {
    let server = Canned::start(|seen, _| {
        let action = seen.action();
        Reply::ok(format!("<{action}Response><{action}Result/></{action}Response>"))
    })
    .await;
    let autoscaling = aws(&server).await.autoscaling();
    autoscaling.set_instance_protection(&group(), &[instance_id()], true).await.unwrap();
    autoscaling.terminate_instance_in_auto_scaling_group(&instance_id(), true).await.unwrap();
    autoscaling.set_instance_protection(&group(), &[], true).await.unwrap();
    assert_eq!(autoscaling.describe_auto_scaling_groups(&[]).await, Ok(vec![]), "no names would be all groups");
    let expected = [
        vec![
            "Action=SetInstanceProtection",
            "AutoScalingGroupName=large-writers-asg",
            "InstanceIds.member.1=i-0123456789abcdef0",
            "ProtectedFromScaleIn=true",
        ],
        vec![
            "Action=TerminateInstanceInAutoScalingGroup",
            "InstanceId=i-0123456789abcdef0",
            "ShouldDecrementDesiredCapacity=true",
        ],
    ];
    let sent: Vec<Vec<String>> = server.seen().iter().map(|seen| parameters(&seen.body)).collect();
    assert_eq!(sent, expected);
}
