"""A server that hands out CodePipeline jobs, for tests: no emulator does.

`python3 -m codepipeline` listens on a free port of 127.0.0.1, prints its address, and ends when its standard input
does. It speaks JSON 1.1. Every request is judged and every response written by botocore's model of the service: a request
with an unknown member is refused, a response that does not fit its shape ends the process with 70. Below `/_control`
tests say what happens, and read what happened: see `control.py`.

Where the documentation is silent, the server does what is hardest for a worker: a job that nobody acknowledged is
handed out by every poll, each time with a new nonce that makes the last one worthless.

wire        shapes, bodies, errors              jobs        a job, its nonces, credentials and answers
signature   who sent a request, and when        actions     action types
service     all state, and the operations       report      what pipelines say of their actions
faults      what goes wrong, and when           control     what only tests ask
server      HTTP
"""
