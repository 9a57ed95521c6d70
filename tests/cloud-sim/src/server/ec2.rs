//! EC2's query protocol: parameters to a call. The answers are written by `ec2_xml`.
//!
//! Names are those of the API of 2016-11-15. Only what the model does is taken; anything else is `UnknownParameter`.

use super::query::Query;
use crate::api::ec2::{
    AttachVolume, BlockDeviceChange, CreateSnapshot, CreateTags, CreateVolume, DeleteSnapshot, DeleteVolume,
    DescribeInstanceStatus, DescribeInstanceTypeOfferings, DescribeInstances, DescribeSnapshots, DescribeSubnets,
    DescribeVolumes, DescribeVolumesModifications, DetachVolume, Filter, ModifyInstanceAttribute, ModifyVolume, Paging,
    Tags, TerminateInstances,
};
use crate::api::{ApiError, Call};

/// The version that the SDK speaks.
const VERSION: &str = "2016-11-15";

/// The call that a request asks for.
pub(super) fn call(mut query: Query) -> Result<Call, ApiError> {
    let action = query.required("Action");
    let version = query.required("Version");
    let dry_run = query.parsed("DryRun").unwrap_or(false);
    let q = &mut query;
    let call = match action.as_str() {
        "CreateVolume" => Call::CreateVolume(CreateVolume {
            client_token: q.optional("ClientToken"),
            availability_zone: q.required("AvailabilityZone"),
            size_gib: q.parsed("Size"),
            snapshot_id: q.optional("SnapshotId"),
            volume_type: q.optional("VolumeType"),
            iops: q.parsed("Iops"),
            throughput: q.parsed("Throughput"),
            encrypted: q.parsed("Encrypted").unwrap_or(false),
            tags: tags_of_new(q, "volume"),
        }),
        "DeleteVolume" => Call::DeleteVolume(DeleteVolume { volume_id: q.required("VolumeId") }),
        "ModifyVolume" => Call::ModifyVolume(ModifyVolume {
            volume_id: q.required("VolumeId"),
            size_gib: q.parsed("Size"),
            iops: q.parsed("Iops"),
            throughput: q.parsed("Throughput"),
        }),
        "DescribeVolumes" => Call::DescribeVolumes(DescribeVolumes {
            volume_ids: q.list("VolumeId"),
            filters: filters(q),
            paging: paging(q),
        }),
        "DescribeVolumesModifications" => Call::DescribeVolumesModifications(DescribeVolumesModifications {
            volume_ids: q.list("VolumeId"),
            filters: filters(q),
            paging: paging(q),
        }),
        "AttachVolume" => Call::AttachVolume(AttachVolume {
            volume_id: q.required("VolumeId"),
            instance_id: q.required("InstanceId"),
            device: q.required("Device"),
        }),
        "DetachVolume" => Call::DetachVolume(DetachVolume {
            volume_id: q.required("VolumeId"),
            instance_id: q.optional("InstanceId"),
            device: q.optional("Device"),
            force: q.parsed("Force").unwrap_or(false),
        }),
        "CreateSnapshot" => Call::CreateSnapshot(CreateSnapshot {
            volume_id: q.required("VolumeId"),
            description: q.optional("Description").unwrap_or_default(),
            tags: tags_of_new(q, "snapshot"),
        }),
        "DeleteSnapshot" => Call::DeleteSnapshot(DeleteSnapshot { snapshot_id: q.required("SnapshotId") }),
        "DescribeSnapshots" => Call::DescribeSnapshots(DescribeSnapshots {
            snapshot_ids: q.list("SnapshotId"),
            owner_ids: q.list("Owner"),
            filters: filters(q),
            paging: paging(q),
        }),
        "CreateTags" => {
            let (resource_ids, tags) = (q.list("ResourceId"), tags(q, "Tag"));
            if resource_ids.is_empty() {
                q.required("ResourceId.1");
            }
            if tags.is_empty() {
                q.required("Tag.1.Key");
            }
            Call::CreateTags(CreateTags { resource_ids, tags })
        }
        "DescribeInstances" => Call::DescribeInstances(DescribeInstances {
            instance_ids: q.list("InstanceId"),
            filters: filters(q),
            paging: paging(q),
        }),
        "DescribeInstanceStatus" => Call::DescribeInstanceStatus(DescribeInstanceStatus {
            instance_ids: q.list("InstanceId"),
            include_all_instances: q.parsed("IncludeAllInstances").unwrap_or(false),
            filters: filters(q),
            paging: paging(q),
        }),
        "ModifyInstanceAttribute" => Call::ModifyInstanceAttribute(ModifyInstanceAttribute {
            instance_id: q.required("InstanceId"),
            block_devices: block_devices(q),
        }),
        "TerminateInstances" => {
            let instance_ids = q.list("InstanceId");
            if instance_ids.is_empty() {
                q.required("InstanceId.1");
            }
            Call::TerminateInstances(TerminateInstances { instance_ids })
        }
        "DescribeInstanceTypeOfferings" => Call::DescribeInstanceTypeOfferings(DescribeInstanceTypeOfferings {
            location_type: q.optional("LocationType").unwrap_or_else(|| "region".to_owned()),
            filters: filters(q),
            paging: paging(q),
        }),
        "DescribeSubnets" => Call::DescribeSubnets(DescribeSubnets {
            subnet_ids: q.list("SubnetId"),
            filters: filters(q),
            paging: paging(q),
        }),
        _ => {
            let message = format!("The action {action} is not valid for this web service.");
            return Err(ApiError::bad("InvalidAction", message));
        }
    };
    if version != VERSION {
        let message = format!("The requested version ({version}) of service AmazonEC2 does not exist");
        return Err(ApiError::bad("NoSuchVersion", message));
    }
    let call = query.finish(call)?;
    if dry_run {
        let message = "Request would have succeeded, but DryRun flag is set.";
        return Err(ApiError::new("DryRunOperation", message, 412));
    }
    Ok(call)
}

fn paging(query: &mut Query) -> Paging {
    Paging { max_results: query.parsed("MaxResults"), next_token: query.optional("NextToken") }
}

fn filters(query: &mut Query) -> Vec<Filter> {
    let elements = query.records("Filter");
    let filter = |element: String| Filter {
        name: query.required(&format!("{element}.Name")),
        values: query.list(&format!("{element}.Value")),
    };
    elements.into_iter().map(filter).collect()
}

/// Tags set with a new resource of one kind.
fn tags_of_new(query: &mut Query, kind: &str) -> Tags {
    let mut all = Tags::new();
    for element in query.records("TagSpecification") {
        let name = format!("{element}.ResourceType");
        let given = query.required(&name);
        if given != kind {
            query.invalid(&name, &given);
        }
        all.append(&mut tags(query, &format!("{element}.Tag")));
    }
    all
}

fn tags(query: &mut Query, name: &str) -> Tags {
    let mut all = Tags::new();
    for element in query.records(name) {
        let key = query.required(&format!("{element}.Key"));
        let value = query.optional(&format!("{element}.Value")).unwrap_or_default();
        if all.insert(key.clone(), value).is_some() {
            query.invalid(&format!("{element}.Key"), &key);
        }
    }
    all
}

fn block_devices(query: &mut Query) -> Vec<BlockDeviceChange> {
    let elements = query.records("BlockDeviceMapping");
    let change = |element: String| BlockDeviceChange {
        device_name: query.required(&format!("{element}.DeviceName")),
        delete_on_termination: query.required_parsed(&format!("{element}.Ebs.DeleteOnTermination")),
    };
    elements.into_iter().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::super::query::Dialect;
    use super::*;
    use crate::api::Service;

    fn parse(body: &str) -> Result<Call, ApiError> {
        call(Query::parse(format!("Version={VERSION}&{body}").as_bytes(), Dialect::Ec2))
    }

    fn code(body: &str) -> String {
        parse(body).unwrap_err().code
    }

    #[test]
    fn a_describe_has_ids_filters_and_pages() {
        let body = "Action=DescribeVolumes&VolumeId.1=vol-1&Filter.1.Name=tag%3ATier&Filter.1.Value.1=a\
                    &Filter.1.Value.2=b&Filter.2.Name=status&Filter.2.Value.1=in-use&MaxResults=5&NextToken=t";
        let expected = DescribeVolumes {
            volume_ids: vec!["vol-1".into()],
            filters: vec![Filter::new("tag:Tier", ["a", "b"]), Filter::new("status", ["in-use"])],
            paging: Paging { max_results: Some(5), next_token: Some("t".into()) },
        };
        assert_eq!(parse(body), Ok(Call::DescribeVolumes(expected)));
    }

    #[test]
    fn a_new_volume_has_its_tags() {
        let body = "Action=CreateVolume&ClientToken=t&AvailabilityZone=us-east-1a&Size=20&VolumeType=gp3&Iops=3000\
                    &Throughput=125&Encrypted=true&TagSpecification.1.ResourceType=volume\
                    &TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=a+b\
                    &TagSpecification.1.Tag.2.Key=Empty&TagSpecification.1.Tag.2.Value=";
        let expected = CreateVolume {
            client_token: Some("t".into()),
            availability_zone: "us-east-1a".into(),
            size_gib: Some(20),
            snapshot_id: None,
            volume_type: Some("gp3".into()),
            iops: Some(3_000),
            throughput: Some(125),
            encrypted: true,
            tags: [("Name".to_owned(), "a b".to_owned()), ("Empty".to_owned(), String::new())].into(),
        };
        assert_eq!(parse(body), Ok(Call::CreateVolume(expected)));
        let other = body.replace("ResourceType=volume", "ResourceType=instance");
        assert_eq!(code(&other), "InvalidParameterValue");
        let twice = body.replace("Key=Empty", "Key=Name");
        assert_eq!(code(&twice), "InvalidParameterValue");
    }

    #[test]
    fn a_block_device_change_is_nested() {
        let body = "Action=ModifyInstanceAttribute&InstanceId=i-1&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fsdf\
                    &BlockDeviceMapping.1.Ebs.DeleteOnTermination=false";
        let change = BlockDeviceChange { device_name: "/dev/sdf".into(), delete_on_termination: false };
        let expected = ModifyInstanceAttribute { instance_id: "i-1".into(), block_devices: vec![change] };
        assert_eq!(parse(body), Ok(Call::ModifyInstanceAttribute(expected)));
    }

    #[test]
    fn what_is_missing_wrong_or_unknown_is_refused() {
        assert_eq!(code("Action=AttachVolume&VolumeId=vol-1&InstanceId=i-1"), "MissingParameter");
        assert_eq!(code("Action=DetachVolume&VolumeId=vol-1&Force=maybe"), "InvalidParameterValue");
        assert_eq!(code("Action=CreateVolume&AvailabilityZone=a&Size=1&KmsKeyId=k"), "UnknownParameter");
        assert_eq!(code("Action=CreateTags&Tag.1.Key=a"), "MissingParameter");
        assert_eq!(code("Action=CreateTags&ResourceId.1=vol-1"), "MissingParameter");
        assert_eq!(code("Action=TerminateInstances"), "MissingParameter");
        assert_eq!(code("Action=RunInstances"), "InvalidAction");
        assert_eq!(code("Action=DeleteVolume&VolumeId=vol-1&Version=2010-01-01"), "NoSuchVersion");
        let dry = parse("Action=DeleteVolume&VolumeId=vol-1&DryRun=true").unwrap_err();
        assert_eq!((dry.code.as_str(), dry.http_status), ("DryRunOperation", 412));
    }

    /// Each of the model's EC2 actions can be asked for, under its own name.
    #[test]
    fn every_action_is_known() {
        let everything = "VolumeId=vol-1&InstanceId=i-1&InstanceId.1=i-1&Device=d&SnapshotId=s&AvailabilityZone=a\
                          &ResourceId.1=vol-1&Tag.1.Key=k";
        for (_, action) in Call::actions().iter().filter(|(service, _)| *service == Service::Ec2) {
            match parse(&format!("Action={action}&{everything}")) {
                Ok(call) => assert_eq!(call.action(), *action),
                Err(error) => assert_eq!(error.code, "UnknownParameter", "{action}: {error}"),
            }
        }
    }
}
