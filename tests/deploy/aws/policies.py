"""Creates the storage stack in moto and a user with each of its policies, and has moto check permissions from then on.

    policies.py ENDPOINT TEMPLATE

Prints the bucket and the users' keys as JSON. moto looks at actions and at who signs, not at resources or conditions.
"""

import json
import sys
import urllib.request

import boto3

endpoint, template = sys.argv[1:]
REGION = "ap-northeast-2"


def client(service):
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    return boto3.client(service, endpoint_url=endpoint, region_name=REGION, **keys)


cloudformation, iam = client("cloudformation"), client("iam")
given = {"FirehoseStream": "heard", "KmsKeyArn": f"arn:aws:kms:{REGION}:123456789012:key/0e7e"}
with open(template, encoding="utf-8") as file:
    cloudformation.create_stack(
        StackName="storage",
        TemplateBody=file.read(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
stack = cloudformation.describe_stacks(StackName="storage")["Stacks"][0]
outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
found = {"bucket": outputs["Bucket"]}
for name in ("Writer", "Loader", "Analyst"):
    iam.create_user(UserName=name)
    iam.attach_user_policy(UserName=name, PolicyArn=outputs[f"{name}Policy"])
    key = iam.create_access_key(UserName=name)["AccessKey"]
    found[name] = [key["AccessKeyId"], key["SecretAccessKey"]]
headers = {"Content-Type": "text/plain"}
urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset-auth", data=b"0", headers=headers))
print(json.dumps(found))
