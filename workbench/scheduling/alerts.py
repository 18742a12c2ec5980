"""Alerts: the facts of a failure, a recovery or a lateness, as JSON to a command's stdin or to a webhook.

They wait in the journal until they were taken; one that is refused is tried again, later and later, and given up after some hours.
Failing to tell never fails a run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from workbench.errors import SkyGraphError
from workbench.hermes.jobs import Alerts
from workbench.log import logger
from workbench.scheduling.journal import Journal

__all__ = ["keep_alert", "send", "send_waiting"]

_TIMEOUT_S = 30.0
_FIRST_WAIT_S = 10.0
_MOST_TRIES = 14  # 10 s, 20 s, 40 s ... an hour at most: some six hours in all


def keep_alert(journal: Journal, job: str, event: str, facts: Mapping[str, Any]) -> None:
    """Put an alert into the journal, within the change that it tells of."""
    id = str(uuid.uuid4())
    told = json.dumps({"id": id, "event": event, "job": job, **facts}, default=str)
    with journal.change() as base:
        base.execute("insert into alert (id, job, event, facts) values (?, ?, ?, ?)", (id, job, event, told))


def send_waiting(journal: Journal, alerts: Callable[[str], Alerts | None], *, now_s: float | None = None) -> int:
    """Send what waits and is to be tried now; how many were taken. `alerts` says who is told of a job, as the plan says now."""
    now_s = time.time() if now_s is None else now_s
    sent = 0
    for row in journal.read("select * from alert where not_before <= ? order by rowid limit 20", now_s):
        log = logger(job=row["job"], alert=row["event"])
        to = alerts(row["job"])
        try:
            if to is not None and row["event"] in to.on:
                send(to, json.loads(row["facts"]))
                log.info("alert sent", alert_id=row["id"])
                sent += 1
        except SkyGraphError as error:
            tries = int(row["tries"]) + 1
            log.warning("alert not taken", tries=tries, error=error.message)
            if tries < _MOST_TRIES:
                again = now_s + min(3600.0, _FIRST_WAIT_S * 2 ** (tries - 1))
                with journal.change() as base:
                    base.execute(
                        "update alert set tries = ?, not_before = ?, error = ? where id = ?", (tries, again, error.message, row["id"])
                    )  # fmt: skip
                continue
            log.error("alert given up", alert_id=row["id"])
        with journal.change() as base:
            base.execute("delete from alert where id = ?", (row["id"],))
    return sent


def send(to: Alerts, facts: Mapping[str, Any]) -> None:
    """Tell whom an alert goes to. `${NAME}` comes from the environment now, and is never said.

    Raises:
        SkyGraphError: the command failed, or the webhook did not answer with 2xx; trying again may help.
    """
    body = json.dumps(facts, ensure_ascii=False).encode()
    if to.command:
        words = [_filled(word) for word in to.command]
        try:
            done = subprocess.run(words, input=body, capture_output=True, timeout=_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise SkyGraphError(f"the alert command {to.command[0]!r} took longer than {_TIMEOUT_S:.0f} s") from None
        except OSError as error:
            raise SkyGraphError(f"the alert command {to.command[0]!r} cannot be run: {error.strerror}") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
            raise SkyGraphError(f"the alert command {to.command[0]!r} ended with status {done.returncode}; {said[0][:200]}")
    if to.webhook:
        _post(_filled(to.webhook), body, str(facts.get("id", "")))


def _post(url: str, body: bytes, id: str) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "skygraph", "Idempotency-Key": id}
    try:
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
        with urllib.request.build_opener(_NoRedirect()).open(request, timeout=_TIMEOUT_S):
            pass
    except urllib.error.HTTPError as error:
        error.close()
        raise SkyGraphError(f"the alert webhook answered {error.code}") from None
    except (OSError, ValueError) as error:  # the address may be a secret: it is not said
        raise SkyGraphError(f"the alert webhook did not answer: {type(getattr(error, 'reason', error)).__name__}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is sent elsewhere loses its body: that is an error to see."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        """Do not follow."""


def _filled(text: str) -> str:
    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise SkyGraphError(f"the alert needs {match[1]}, which is not set", hint=f"export {match[1]}=... for the scheduler")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", value, text)
