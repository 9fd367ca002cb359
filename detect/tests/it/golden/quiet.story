# A working day without anything to say.
past ann 203.0.113.10 s3:ListBuckets,ec2:DescribeInstances,s3:GetObject bytes=20K
past role/ci 203.0.113.40 s3:PutObject,sts:AssumeRole
09:00:00 ann 203.0.113.10 signin:ConsoleLogin fail=Failure
09:00:20 ann 203.0.113.10 signin:ConsoleLogin mfa=yes
09:01:00 ann 203.0.113.10 ec2:DescribeInstances x=30 every=60s
09:30:00 role/ci 203.0.113.40 sts:AssumeRole fail=AccessDenied x=3 every=60s
