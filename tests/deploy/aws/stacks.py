"""Creates the stacks of deploy/cloudformation in moto, and prints what the services' own APIs then show, as JSON.

    stacks.py ENDPOINT DIRECTORY
"""

import ast
import base64
import json
import sys

import boto3

endpoint, directory = sys.argv[1:]
REGION = "ap-northeast-2"
keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}


def client(service):
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION, **keys)


cloudformation, ec2, s3, iam = client("cloudformation"), client("ec2"), client("s3"), client("iam")


def create(name, template, **parameters):
    with open(f"{directory}/{template}", encoding="utf-8") as file:
        body = file.read()
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    cloudformation.create_stack(StackName=name, TemplateBody=body, Parameters=given, Capabilities=["CAPABILITY_IAM"])
    stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack
    resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    found[name] = {
        "outputs": {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])},
        "resources": {it["LogicalResourceId"]: it.get("PhysicalResourceId") for it in resources if "LogicalResourceId" in it},
    }
    return found[name]


def role(name):
    # moto keeps the documents of a template's roles as text of Python.
    inline = {
        policy: ast.literal_eval(iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"])
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
    }
    return {"trust": iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"], "inline": inline}


def managed(arn):
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]


found = {}
vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
subnets = ",".join(it["SubnetId"] for it in ec2.describe_subnets()["Subnets"][:2])
route_table = ec2.describe_route_tables()["RouteTables"][0]["RouteTableId"]
image = ec2.describe_images()["Images"][0]["ImageId"]

# With everything that is optional: moto keeps AWS::NoValue in lists, where CloudFormation leaves it out.
storage = create(
    "logweir-storage",
    "storage.yaml",
    VpcId=vpc,
    RouteTableIds=route_table,
    FirehoseStream="heard",
    KmsKeyArn=f"arn:aws:kms:{REGION}:123456789012:key/0e7e",
)
bucket = storage["outputs"]["Bucket"]
found["bucket"] = {
    "encryption": s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"],
}
found["endpoints"] = ec2.describe_vpc_endpoints()["VpcEndpoints"]
found["policies"] = {name: managed(storage["outputs"][name]) for name in ("WriterPolicy", "LoaderPolicy", "AnalystPolicy")}
found["copy_role"] = role(storage["outputs"]["CopyRole"].split("/")[-1])

fleet = create(
    "logweir-fleet",
    "fleet.yaml",
    VpcId=vpc,
    LoadBalancerSubnets=subnets,
    InstanceSubnets=subnets,
    BundleUrl="s3://example-artifacts/logweir.tar.gz",
    BundleSha256="0" * 64,
    KeysSecretArn=f"arn:aws:secretsmanager:{REGION}:123456789012:secret:logweir/keys-AbCdEf",
    SettingsUrl="s3://example-artifacts/logweir.toml",
    PrometheusSecurityGroup=ec2.create_security_group(GroupName="prometheus", Description="it", VpcId=vpc)["GroupId"],
    AdminTokenSecretArn=f"arn:aws:secretsmanager:{REGION}:123456789012:secret:logweir/token-AbCdEf",
    AdvertMinSize="12",
    ReservedLcus="500",
)
elb, autoscaling = client("elbv2"), client("autoscaling")
balancer = elb.describe_load_balancers()["LoadBalancers"][0]
target = elb.describe_target_groups()["TargetGroups"][0]


def attributes(answer):
    return {it["Key"]: it["Value"] for it in answer["Attributes"]}


found["balancer"] = {
    **balancer,
    "attributes": attributes(elb.describe_load_balancer_attributes(LoadBalancerArn=balancer["LoadBalancerArn"])),
    "listeners": elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"],
}
found["target"] = {
    **target,
    "attributes": attributes(elb.describe_target_group_attributes(TargetGroupArn=target["TargetGroupArn"])),
    "targets": elb.describe_target_health(TargetGroupArn=target["TargetGroupArn"])["TargetHealthDescriptions"],
}
found["group"] = autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]
found["schedule"] = autoscaling.describe_scheduled_actions()["ScheduledUpdateGroupActions"]
template = ec2.describe_launch_template_versions(LaunchTemplateId=fleet["resources"]["LaunchTemplate"])
data = template["LaunchTemplateVersions"][0]["LaunchTemplateData"]
found["template"] = {**data, "UserData": base64.b64decode(data["UserData"]).decode()}
found["security_groups"] = ec2.describe_security_groups(
    GroupIds=[fleet["resources"][it] for it in ("LoadBalancerGroup", "InstanceGroup")]
)["SecurityGroups"]
found["instance_role"] = role(fleet["resources"]["Role"])

alarms = create("logweir-alarms", "alarms.yaml", Email="ops@example.com")
found["topic"] = client("sns").list_subscriptions_by_topic(TopicArn=alarms["outputs"]["TopicArn"])["Subscriptions"]
found["rule"] = client("events").list_rules()["Rules"]
found["rule_targets"] = client("events").list_targets_by_rule(Rule=found["rule"][0]["Name"])["Targets"]
found["function"] = client("lambda").list_functions()["Functions"]

create(
    "logweir-loader",
    "loader.yaml",
    VpcId=vpc,
    Subnets=subnets,
    BundleUrl="s3://example-artifacts/logweir.tar.gz",
    BundleSha256="0" * 64,
    KeysSecretArn=f"arn:aws:secretsmanager:{REGION}:123456789012:secret:logweir/keys-AbCdEf",
    WorkgroupArn=f"arn:aws:redshift-serverless:{REGION}:123456789012:workgroup/0e7e",
    AlarmTopicArn=alarms["outputs"]["TopicArn"],
)
found["loader_role"] = role(found["logweir-loader"]["resources"]["Role"])
print(json.dumps(found, default=str, indent=1))
