//! Auto Scaling's query protocol: parameters to a call, answers and refusals to XML.
//!
//! Names are those of the API of 2011-01-01. Only what the model does is taken; anything else is `ValidationError`.

use super::query::Query;
use super::timestamp::iso8601;
use super::xml::Xml;
use crate::api::autoscaling::{
    AutoScalingGroup, DescribeAutoScalingGroups, DescribeAutoScalingInstances, DescribeInstanceRefreshes,
    DescribeScalingActivities, GroupInstance, InstanceCollection, InstanceRefresh, LaunchError, LaunchInstances,
    ScalingActivity, SetInstanceProtection, TerminateInstanceInAutoScalingGroup,
};
use crate::api::{Answer, ApiError, Call};

/// The version that the SDK speaks.
const VERSION: &str = "2011-01-01";

const NAMESPACE: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";

/// The call that a request asks for.
pub(super) fn call(mut query: Query) -> Result<Call, ApiError> {
    let action = query.required("Action");
    let version = query.required("Version");
    let q = &mut query;
    let call = match action.as_str() {
        "DescribeAutoScalingGroups" => Call::DescribeAutoScalingGroups(DescribeAutoScalingGroups {
            names: q.list("AutoScalingGroupNames"),
            max_records: q.parsed("MaxRecords"),
            next_token: q.optional("NextToken"),
        }),
        "DescribeAutoScalingInstances" => Call::DescribeAutoScalingInstances(DescribeAutoScalingInstances {
            instance_ids: q.list("InstanceIds"),
            max_records: q.parsed("MaxRecords"),
            next_token: q.optional("NextToken"),
        }),
        "DescribeScalingActivities" => Call::DescribeScalingActivities(DescribeScalingActivities {
            group_name: q.optional("AutoScalingGroupName"),
            max_records: q.parsed("MaxRecords"),
            next_token: q.optional("NextToken"),
        }),
        "DescribeInstanceRefreshes" => Call::DescribeInstanceRefreshes(DescribeInstanceRefreshes {
            group_name: q.required("AutoScalingGroupName"),
            max_records: q.parsed("MaxRecords"),
            next_token: q.optional("NextToken"),
        }),
        "LaunchInstances" => Call::LaunchInstances(LaunchInstances {
            group_name: q.required("AutoScalingGroupName"),
            client_token: q.required("ClientToken"),
            requested_capacity: q.required_parsed("RequestedCapacity"),
            availability_zones: q.list("AvailabilityZones"),
            subnet_ids: q.list("SubnetIds"),
            retry_strategy: q.optional("RetryStrategy"),
        }),
        "SetInstanceProtection" => Call::SetInstanceProtection(SetInstanceProtection {
            group_name: q.required("AutoScalingGroupName"),
            instance_ids: q.list("InstanceIds"),
            protected_from_scale_in: q.required_parsed("ProtectedFromScaleIn"),
        }),
        "TerminateInstanceInAutoScalingGroup" => {
            Call::TerminateInstanceInAutoScalingGroup(TerminateInstanceInAutoScalingGroup {
                instance_id: q.required("InstanceId"),
                should_decrement_desired_capacity: q.required_parsed("ShouldDecrementDesiredCapacity"),
            })
        }
        _ => {
            let message = format!("Could not find operation {action} for version {version}");
            return Err(ApiError::bad("InvalidAction", message));
        }
    };
    if version != VERSION {
        let message = format!("Could not find operation {action} for version {version}");
        return Err(ApiError::bad("InvalidAction", message));
    }
    query.finish(call)
}

/// The answer of an action. None if it is not Auto Scaling's.
pub(super) fn answer(answer: &Answer, request_id: &str) -> Option<String> {
    let document = |action: &str, fill: &dyn Fn(&mut Xml)| {
        Some(Xml::document(&format!("{action}Response"), NAMESPACE, |xml| {
            xml.element(&format!("{action}Result"), fill);
            xml.element("ResponseMetadata", |xml| xml.value("RequestId", request_id));
        }))
    };
    match answer {
        Answer::DescribeAutoScalingGroups(page) => document("DescribeAutoScalingGroups", &|xml| {
            xml.list("AutoScalingGroups", "member", &page.groups, group);
            xml.option("NextToken", page.next_token.as_ref());
        }),
        Answer::DescribeAutoScalingInstances(page) => document("DescribeAutoScalingInstances", &|xml| {
            xml.list("AutoScalingInstances", "member", &page.instances, |xml, found| {
                xml.value("AutoScalingGroupName", &found.group_name);
                instance(xml, found);
            });
            xml.option("NextToken", page.next_token.as_ref());
        }),
        Answer::DescribeScalingActivities(page) => document("DescribeScalingActivities", &|xml| {
            xml.list("Activities", "member", &page.activities, activity);
            xml.option("NextToken", page.next_token.as_ref());
        }),
        Answer::DescribeInstanceRefreshes(page) => document("DescribeInstanceRefreshes", &|xml| {
            xml.list("InstanceRefreshes", "member", &page.refreshes, refresh);
            xml.option("NextToken", page.next_token.as_ref());
        }),
        Answer::LaunchInstances(made) => document("LaunchInstances", &|xml| {
            xml.value("AutoScalingGroupName", &made.group_name);
            xml.value("ClientToken", &made.client_token);
            xml.list("Instances", "member", &made.instances, collection);
            xml.list("Errors", "member", &made.errors, launch_error);
        }),
        Answer::SetInstanceProtection(_) => document("SetInstanceProtection", &|_| {}),
        Answer::TerminateInstanceInAutoScalingGroup(made) => document("TerminateInstanceInAutoScalingGroup", &|xml| {
            xml.element("Activity", |xml| activity(xml, &made.activity));
        }),
        _ => None,
    }
}

/// A refusal.
pub(super) fn error(error: &ApiError, request_id: &str) -> String {
    Xml::document("ErrorResponse", NAMESPACE, |xml| {
        xml.element("Error", |xml| {
            xml.value("Type", if error.http_status < 500 { "Sender" } else { "Receiver" });
            xml.value("Code", &error.code);
            xml.value("Message", &error.message);
        });
        xml.value("RequestId", request_id);
    })
}

fn group(xml: &mut Xml, group: &AutoScalingGroup) {
    xml.value("AutoScalingGroupName", &group.name);
    xml.value("AutoScalingGroupARN", &group.arn);
    xml.element("LaunchTemplate", |xml| {
        xml.value("LaunchTemplateName", &group.launch_template_name);
        xml.value("Version", "$Default");
    });
    xml.value("MinSize", group.min_size);
    xml.value("MaxSize", group.max_size);
    xml.value("DesiredCapacity", group.desired_capacity);
    xml.value("DefaultCooldown", 300);
    xml.list("AvailabilityZones", "member", &group.availability_zones, |xml, zone| xml.escaped(zone));
    xml.value("HealthCheckType", &group.health_check_type);
    xml.value("HealthCheckGracePeriod", group.health_check_grace_period_s);
    xml.value("CreatedTime", iso8601(group.created_time_ms));
    xml.value("VPCZoneIdentifier", group.subnet_ids.join(","));
    xml.value("NewInstancesProtectedFromScaleIn", group.new_instances_protected_from_scale_in);
    xml.list("SuspendedProcesses", "member", &group.suspended_processes, |xml, process| {
        xml.value("ProcessName", process);
    });
    xml.list("Instances", "member", &group.instances, instance);
    xml.list("Tags", "member", &group.tags, |xml, (key, value)| {
        xml.value("ResourceId", &group.name);
        xml.value("ResourceType", "auto-scaling-group");
        xml.value("Key", key);
        xml.value("Value", value);
        xml.value("PropagateAtLaunch", true);
    });
}

fn instance(xml: &mut Xml, instance: &GroupInstance) {
    xml.value("InstanceId", &instance.instance_id);
    xml.value("InstanceType", &instance.instance_type);
    xml.value("AvailabilityZone", &instance.availability_zone);
    xml.value("LifecycleState", &instance.lifecycle_state);
    xml.value("HealthStatus", &instance.health_status);
    xml.value("ProtectedFromScaleIn", instance.protected_from_scale_in);
}

fn activity(xml: &mut Xml, activity: &ScalingActivity) {
    xml.value("ActivityId", &activity.activity_id);
    xml.value("AutoScalingGroupName", &activity.group_name);
    xml.value("Description", &activity.description);
    xml.value("Cause", &activity.cause);
    xml.value("StartTime", iso8601(activity.start_time_ms));
    xml.option("EndTime", activity.end_time_ms.map(iso8601));
    xml.value("StatusCode", &activity.status_code);
    xml.some("StatusMessage", &activity.status_message);
    xml.value("Progress", activity.progress);
}

fn refresh(xml: &mut Xml, refresh: &InstanceRefresh) {
    xml.value("InstanceRefreshId", &refresh.refresh_id);
    xml.value("AutoScalingGroupName", &refresh.group_name);
    xml.value("Status", &refresh.status);
    xml.value("StartTime", iso8601(refresh.start_time_ms));
    xml.option("EndTime", refresh.end_time_ms.map(iso8601));
}

fn collection(xml: &mut Xml, collection: &InstanceCollection) {
    xml.value("InstanceType", &collection.instance_type);
    xml.value("MarketType", &collection.market_type);
    xml.value("SubnetId", &collection.subnet_id);
    xml.value("AvailabilityZone", &collection.availability_zone);
    xml.value("AvailabilityZoneId", &collection.availability_zone_id);
    xml.list("InstanceIds", "member", &collection.instance_ids, |xml, id| xml.escaped(id));
}

fn launch_error(xml: &mut Xml, error: &LaunchError) {
    xml.value("InstanceType", &error.instance_type);
    xml.value("MarketType", &error.market_type);
    xml.value("SubnetId", &error.subnet_id);
    xml.value("AvailabilityZone", &error.availability_zone);
    xml.value("ErrorCode", &error.error_code);
    xml.value("ErrorMessage", &error.error_message);
}

#[cfg(test)]
mod tests {
    use super::super::query::Dialect;
    use super::*;
    use crate::api::{Done, Service};

    fn parse(body: &str) -> Result<Call, ApiError> {
        call(Query::parse(format!("Version={VERSION}&{body}").as_bytes(), Dialect::AutoScaling))
    }

    fn code(body: &str) -> String {
        parse(body).unwrap_err().code
    }

    #[test]
    fn lists_have_members() {
        let body = "Action=LaunchInstances&AutoScalingGroupName=g&RequestedCapacity=1&ClientToken=t\
                    &AvailabilityZones.member.1=us-east-1b&RetryStrategy=none";
        let expected = LaunchInstances {
            group_name: "g".into(),
            client_token: "t".into(),
            requested_capacity: 1,
            availability_zones: vec!["us-east-1b".into()],
            subnet_ids: vec![],
            retry_strategy: Some("none".into()),
        };
        assert_eq!(parse(body), Ok(Call::LaunchInstances(expected)));
    }

    #[test]
    fn what_is_missing_wrong_or_unknown_is_refused() {
        assert_eq!(code("Action=DescribeInstanceRefreshes"), "ValidationError");
        assert_eq!(code("Action=DescribeAutoScalingGroups&MaxRecords=all"), "ValidationError");
        assert_eq!(code("Action=DescribeAutoScalingGroups&Filters.member.1.Name=a"), "ValidationError");
        assert_eq!(code("Action=SetDesiredCapacity"), "InvalidAction");
        assert_eq!(code("Action=DescribeAutoScalingGroups&Version=2016-11-15"), "InvalidAction");
    }

    /// Each of the model's Auto Scaling actions can be asked for, under its own name.
    #[test]
    fn every_action_is_known() {
        let everything = "AutoScalingGroupName=g&InstanceId=i-1&ClientToken=t&RequestedCapacity=1\
                          &ProtectedFromScaleIn=true&ShouldDecrementDesiredCapacity=true";
        for (_, action) in Call::actions().iter().filter(|(service, _)| *service == Service::Autoscaling) {
            match parse(&format!("Action={action}&{everything}")) {
                Ok(call) => assert_eq!(call.action(), *action),
                Err(error) => assert!(error.message.contains("not supported"), "{action}: {error}"),
            }
        }
    }

    #[test]
    fn answers_are_wrapped_in_a_result_and_refusals_say_whose_fault_it_is() {
        let text = answer(&Answer::SetInstanceProtection(Done {}), "r-1").unwrap();
        assert!(text.ends_with(
            "<SetInstanceProtectionResult></SetInstanceProtectionResult>\
             <ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></SetInstanceProtectionResponse>"
        ));
        let text = error(&ApiError::bad("ValidationError", "no"), "r-1");
        assert!(text.contains("<Error><Type>Sender</Type><Code>ValidationError</Code><Message>no</Message></Error>"));
        let text = error(&ApiError::new("InternalFailure", "no", 500), "r-1");
        assert!(text.contains("<Type>Receiver</Type>"));
        assert_eq!(answer(&Answer::CreateTags(Done {}), "r-1"), None);
    }
}
