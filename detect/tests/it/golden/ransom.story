# A stolen key: discovery, blinding, then every object encrypted with a stranger's key and the backups deleted.
past role/app 203.0.113.40 s3:GetObject,s3:PutObject days=3
02:00:00 role/app 198.51.100.7 s3:ListBuckets
02:00:10 role/app 198.51.100.7 cloudtrail:StopLogging fail=AccessDenied
02:05:00 role/app 198.51.100.7 s3:CopyObject x=60 every=2s resource=arn:aws:kms:eu-west-1:999988887777:key/theirs
02:08:00 role/app 198.51.100.7 ec2:DeleteSnapshot x=8 every=3s
