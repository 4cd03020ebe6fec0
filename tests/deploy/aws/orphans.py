"""Runs the function that looks for volumes that nobody has, from its template, against moto: orphans.py ENDPOINT TEMPLATE

There are four volumes with a spool: one that an instance has, one that is replayed, one of another fleet, and one that
nobody has. Prints the last one's id, what the function says, and the metric's name and value.
"""

import json
import os
import sys
from datetime import datetime, timedelta, timezone

endpoint, template = sys.argv[1:]
keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "ap-northeast-2"}
os.environ.update(keys, AWS_ENDPOINT_URL=endpoint, FLEET="logweir-fleet")

import boto3
from cfnlint.decode import decode

ec2 = boto3.client("ec2")
zone = ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]


def volume(fleet, **tags):
    tags = [{"Key": "logweir:spool", "Value": fleet}] + [{"Key": f"logweir:{key}", "Value": it} for key, it in tags.items()]
    given = {"ResourceType": "volume", "Tags": tags}
    return ec2.create_volume(AvailabilityZone=zone, Size=1, TagSpecifications=[given])["VolumeId"]


subnet = next(it["SubnetId"] for it in ec2.describe_subnets()["Subnets"] if it["AvailabilityZone"] == zone)
image = ec2.describe_images()["Images"][0]["ImageId"]
instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnet)["Instances"][0]["InstanceId"]
ec2.attach_volume(VolumeId=volume("logweir-fleet"), InstanceId=instance, Device="/dev/sdf")
volume("logweir-fleet", replayed="2026-11-22T09:00:00Z")
volume("another-fleet")
orphan = volume("logweir-fleet", unstored="2026-11-22T09:00:00Z")

code = {}
exec(decode(template)[0]["Resources"]["OrphanCheck"]["Properties"]["Code"]["ZipFile"], code)
said = code["handler"]({}, None)

cloudwatch, now = boto3.client("cloudwatch"), datetime.now(timezone.utc)
statistics = cloudwatch.get_metric_statistics(
    Namespace="logweir",
    MetricName="logweir_orphaned_spools",
    Dimensions=[{"Name": "AutoScalingGroupName", "Value": "logweir-fleet"}],
    StartTime=now - timedelta(minutes=5),
    EndTime=now + timedelta(minutes=5),
    Period=60,
    Statistics=["Maximum"],
)
print(json.dumps([orphan, said, [it["Maximum"] for it in statistics["Datapoints"]]]))
