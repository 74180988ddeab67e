"""What a run tells of itself to those who are not looking: a heartbeat file, and a webhook."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sctd.console import say
from sctd.errors import UserError
from sctd.files import write_json
from sctd.json_text import read_json

HEARTBEAT = "heartbeat.json"
WEBHOOK = "SCTD_WEBHOOK"  # of the environment, not a setting: such an address is a secret, and settings are published
PATIENCE = 5.0  # seconds for a webhook to answer


class Pulse:
    """Of one run.

    Args:
        run: its folder; null: another process tells.
        every: seconds between two writings of RUN/heartbeat.json; null: none.

    Raises:
        UserError: SCTD_WEBHOOK is no web address.
    """

    def __init__(self, run: Path | None, every: float | None) -> None:
        self.run = run
        self.every = every
        self.webhook = os.environ.get(WEBHOOK) if run is not None else None
        if self.webhook and not self.webhook.startswith(("https://", "http://")):
            raise UserError(f"{WEBHOOK} is set to something that is no web address: give https://... or unset it.")
        self.step = self.steps = 0
        self._last = 0.0
        self._phase = ""
        self._unanswered = False

    def beat(self, step: int, steps: int, phase: str = "training") -> None:
        """Say that the run lives, if that is due or its phase is another one.

        Args:
            step: the last one done.
            steps: of the whole run.
            phase: starting, training, evaluating, saving, probing, exporting; as the last: finished, stopped, failed.
        """
        self.step, self.steps = step, steps
        now = time.monotonic()
        if self.run is None or self.every is None or not (self.run / "config.yaml").exists():
            return  # before the run is begun its folder is to stay as it is
        if phase == self._phase and now - self._last < self.every:
            return
        self._last, self._phase = now, phase
        content = {
            "phase": phase,
            "step": step,
            "steps": steps,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        with suppress(UserError, OSError):  # a full disk is said where a checkpoint needs room
            write_json(self.run / HEARTBEAT, content)

    def tell(self, event: str, text: str, **facts: Any) -> None:
        """POST one JSON object to SCTD_WEBHOOK, if it is set: text (which Slack and its like show), event, run, facts.

        A webhook that does not answer is said once, and never ends a run.

        Args:
            event: begun, resumed, warning, stopped, failed or finished.
            text: a sentence.
            facts: more, such as step.
        """
        if not self.webhook:
            return
        content = {"text": f"{self.run}: {text}", "event": event, "run": str(self.run), **facts}
        headers = {"Content-Type": "application/json", "User-Agent": "sctd"}
        try:
            request = urllib.request.Request(self.webhook, json.dumps(content).encode(), headers)
            with urllib.request.urlopen(request, timeout=PATIENCE):
                pass
        except Exception as error:  # http.client has its own; the address is left out: it is a secret
            if not self._unanswered:
                self._unanswered = True
                say(f"{WEBHOOK} did not take a message ({type(error).__name__}); training goes on.")


def read_heartbeat(run: Path) -> dict[str, Any] | None:
    """The last heartbeat, its time as seconds since 1970; null where there is none that can be read."""
    try:
        content: dict[str, Any] = read_json(run / HEARTBEAT, {"phase": str, "step": int, "time": str})
        return content | {"time": datetime.fromisoformat(content["time"]).timestamp()}
    except (OSError, ValueError, OverflowError):
        return None
