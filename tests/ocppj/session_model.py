"""One end of a connection as the documents describe it, written as naively as can be.

It keeps lists and looks through them, reads frames with :mod:`json`, and
predicts what an RpcSession lets out: every event and every frame, in order.
The only request is DataTransfer with a text for ``vendorId``; the only valid
answer has a ``status``.
"""

from __future__ import annotations

import json
from typing import Any

Entry = tuple[Any, ...]


class NaiveEnd:
    """What is expected of one end.

    Attributes:
        log: the events so far, as tuples.
        out: message type and id of the frames so far.
        taken: the ids of the calls that were taken.
    """

    def __init__(self, timeout: float, max_queued: int, max_incoming: int) -> None:
        self.timeout = timeout
        self.max_queued = max_queued
        self.max_incoming = max_incoming
        self.line: list[dict[str, Any]] = []
        self.theirs: list[tuple[str, str]] = []
        self.log: list[Entry] = []
        self.out: list[tuple[int, str]] = []
        self.taken: list[str] = []
        self.over = False

    # Our calls: `line` is all that are not over, the first of them sent, the others not.

    def call(self, unique_id: str, now: float, timeout: float | None, total: float | None) -> str:
        if self.over:
            return "closed"
        if unique_id in [entry["id"] for entry in self.line]:
            return "in use"
        if len(self.line) > self.max_queued:
            return "full"
        self.taken.append(unique_id)
        self.line.append(
            {
                "id": unique_id,
                "sent": None,
                "abandoned": False,
                "timeout": self.timeout if timeout is None else timeout,
                "until": None if total is None else now + total,
            }
        )
        self._go_on(now)
        return "taken"

    def _go_on(self, now: float) -> None:
        while self.line and self.line[0]["sent"] is None:
            first = self.line[0]
            if first["until"] is not None and first["until"] <= now:
                self.log.append(("ended", first["id"], "timeout", None))
                self.line.pop(0)
                continue
            first["sent"] = now
            self.log.append(("sent", first["id"]))
            self.out.append((2, first["id"]))

    def _patience(self, entry: dict[str, Any]) -> float:
        ends: float = entry["sent"] + entry["timeout"]
        return ends if entry["until"] is None else min(ends, entry["until"])

    def deadline(self) -> float | None:
        times = [
            self._patience(entry) if entry["sent"] is not None else entry["until"] for entry in self.line
        ]
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> None:
        for entry in list(self.line):
            if entry["sent"] is None and entry["until"] is not None and entry["until"] <= now:
                self.log.append(("ended", entry["id"], "timeout", None))
                self.line.remove(entry)
        if self.line and self._patience(self.line[0]) <= now:
            self._over("timeout", now)

    def cancel(self, unique_id: str, now: float) -> bool:
        for entry in self.line:
            if entry["id"] == unique_id and not entry["abandoned"]:
                if entry["sent"] is None:
                    self.log.append(("ended", unique_id, "cancelled", None))
                    self.line.remove(entry)
                else:
                    self.log.append(("ended", unique_id, "cancelled", now - entry["sent"]))
                    entry["abandoned"] = True
                return True
        return False

    def _over(self, how: str, now: float) -> None:
        entry = self.line.pop(0)
        if not entry["abandoned"]:
            self.log.append(("ended", entry["id"], how, now - entry["sent"]))
        self._go_on(now)

    # Their calls: `theirs` is all that are not answered, the first of them being served.

    def receive(self, frame: bytes, now: float) -> None:
        if self.over:
            return
        try:
            message = json.loads(frame)
        except ValueError:
            self.log.append(("rejected",))
            self.out.append((4, "-1"))
            return
        kind, unique_id = message[:2]
        if kind == 2:
            self._asked(unique_id, message[3]["vendorId"])
        elif kind == 6:
            self.log.append(("told", unique_id))
        elif kind == 5:
            self.log.append(("refused", unique_id))
        else:
            waited_for = bool(self.line) and self.line[0]["id"] == unique_id
            if not waited_for or self.line[0]["abandoned"]:
                self.log.append(("unexpected", unique_id))
            if not waited_for:
                return
            how = "error" if kind == 4 else "result" if "status" in message[2] else "invalid"
            if how == "invalid" and not self.line[0]["abandoned"]:
                # What goes back was made before the next call was.
                self.out.append((5, unique_id))
            self._over(how, now)

    def _asked(self, unique_id: str, content: str) -> None:
        for known, known_content in self.theirs:
            if known == unique_id:
                if known_content == content:
                    self.log.append(("declined", unique_id, "repeated"))
                else:
                    self.log.append(("declined", unique_id, "duplicate"))
                    self.out.append((4, unique_id))
                return
        if len(self.theirs) > self.max_incoming:
            self.log.append(("declined", unique_id, "full"))
            self.out.append((4, unique_id))
            return
        self.theirs.append((unique_id, content))
        if len(self.theirs) == 1:
            self.log.append(("received", unique_id))

    def answer(self, kind: int) -> None:
        unique_id, _ = self.theirs.pop(0)
        self.out.append((kind, unique_id))
        if self.theirs:
            self.log.append(("received", self.theirs[0][0]))

    def lost(self, now: float) -> None:
        if self.over:
            return
        self.over = True
        for entry in self.line:
            if not entry["abandoned"]:
                rtt = None if entry["sent"] is None else now - entry["sent"]
                self.log.append(("ended", entry["id"], "lost", rtt))
        for unique_id, _ in self.theirs[1:]:
            self.log.append(("declined", unique_id, "lost"))
        self.line.clear()
        self.theirs.clear()
