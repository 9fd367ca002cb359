# Ann works from one office; somebody else guesses her password, gets in and makes a key for another user.
past ann 203.0.113.10 s3:ListBuckets,ec2:DescribeInstances,s3:GetObject,iam:ListUsers bytes=20K
09:00:00 ann 203.0.113.10 s3:ListBuckets x=10 every=60s
09:12:00 ann 198.51.100.7 signin:ConsoleLogin fail=Failure x=9 every=25s
09:17:00 ann 198.51.100.7 signin:ConsoleLogin mfa=no
09:18:00 ann 198.51.100.7 iam:CreateAccessKey target=backup-user
