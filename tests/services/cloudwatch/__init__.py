"""CloudWatch Logs and EventBridge, for tests: with the limits that services have and emulators do not.

`python3 -m cloudwatch` listens on a free port of 127.0.0.1, prints its address, and ends when its standard input does. It
speaks JSON 1.1. Requests are judged, and responses written, by botocore's models, as in `codepipeline/`, whose `wire` it
uses. Below `/_control` tests say what happens, and read what happened: see `server.py`.

logs        groups, streams and what `PutLogEvents` takes
events      what `PutEvents` takes
server      HTTP, faults, and what only tests ask
"""
