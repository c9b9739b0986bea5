"""What `switchboard dev` shows of its processes' logs."""

from pathlib import Path

from switchboard_cli.dev_feed import OURS, describe

FOLDER = "/home/ada/agents"
TRACE = f"""Traceback (most recent call last):
  File "{OURS[0]}/host/serving.py", line 150, in run
    payload = await self._handle()
  File "{FOLDER}/app.py", line 6, in research
    answer = await ctx.request("capability:summarize", question)
             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "{OURS[0]}/caller.py", line 63, in request
    return Answer(await self._exchange(frame, timeout_s), message_id)
                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "/usr/lib/python3/json/decoder.py", line 5, in decode
    raise JSONDecodeError
switchboard_wire.errors.AgentNotFound: AGENT_NOT_FOUND: no Agent"""


def test_a_trace_begins_in_the_users_code_and_leaves_out_frames_of_the_sdk() -> None:
    record = {"message": "handler failed", "agent": "research", "exception": TRACE}
    shown = describe(record, FOLDER)
    assert shown is not None
    assert [line.strip() for line in shown.splitlines()[1:]] == [
        f'File "{FOLDER}/app.py", line 6, in research',
        'answer = await ctx.request("capability:summarize", question)',
        "^" * 51,
        'File "/usr/lib/python3/json/decoder.py", line 5, in decode',
        "raise JSONDecodeError",
        "switchboard_wire.errors.AgentNotFound: AGENT_NOT_FOUND: no Agent",
    ]
    assert Path(OURS[0]).name == "switchboard"
