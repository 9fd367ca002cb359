# 500 MB at three in the morning, by somebody who takes kilobytes during the day.
past ann 203.0.113.10 s3:ListBuckets,s3:GetObject days=5 bytes=40K
03:00:00 ann 203.0.113.10 s3:GetObject bytes=500M resource=arn:aws:s3:::customers/export.parquet
10:00:00 ann 203.0.113.10 s3:GetObject bytes=40K x=10 every=300s
