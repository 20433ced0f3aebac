"""A station model on a bench: a clock that is turned by hand, a server of a few lines, and every message judged.

What the station says is encoded and held against the official schemas; what
it is told is JSON text. The server keeps no state but the numbers it gives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ocppj.oracle import judge

from evproto.ocpp import v16, v21, v201
from evproto.ocppj import Call, CallResult
from evproto.simulate.ocpp import StationModel, StationSettings
from evproto.simulate.ocppj.model import Ask, Beat, Keep, Reboot
from evproto.simulate.people import Habits, People

MODULES: dict[str, Any] = {"1.6": v16, "2.0.1": v201, "2.1": v21}
MORNING = 1_790_035_200_000
"""2026-09-22 00:00 UTC, as ms since 1970."""

Message = tuple[str, dict[str, Any]]


class Bench:
    """A station, and a server that accepts whom ``accepts`` says."""

    def __init__(self, version: str = "1.6", *, online: bool = True, dc: bool = True, seed: int = 7,
                 habits: Habits | None = None, **settings: Any) -> None:  # fmt: skip
        make = StationSettings if dc else StationSettings.ac
        self.module = MODULES[version]
        self.codec = self.module.codec
        self.official = {"1.6": "v16", "2.0.1": "v201", "2.1": "v21"}[version]
        self.model = StationModel(
            make(identity="CP1", version=version, **settings), seed=seed, local_time=MORNING
        )
        self.people = People(self.model, habits, seed, 0) if habits is not None else None
        self.now = 0
        self.sent: list[Message] = []
        self.kept: list[Any] = []
        self.reboots: list[Reboot] = []
        self.beats: list[int] = []
        self.accepts: Callable[[str], str] = lambda token: "Accepted"
        self.events: list[tuple[str, int]] = []
        self.model.on_transaction = lambda event, transaction: self.events.append((event, transaction.energy))
        self._ids = 100
        if online:
            self.connect()

    # The connection

    def connect(self) -> list[Message]:
        self.model.connected(self.now)
        return self.take()

    def disconnect(self) -> None:
        self.model.disconnected(self.now)
        self.take()

    def boot(self) -> Message:
        return self._judged(self.model.boot_request())

    def take(self) -> list[Message]:
        """What the station has said since the last time; it is answered at once."""
        begin = len(self.sent)
        while outputs := self.model.take():
            for output in outputs:
                if isinstance(output, Reboot):
                    self.reboots.append(output)
                elif isinstance(output, Beat):
                    self.beats.append(output.interval)
                elif isinstance(output, Keep):
                    self.kept.append(output.request)
                else:
                    self.sent.append(self._judged(output.request))
                    if isinstance(output, Ask):
                        self.model.answered(output.request, self._authorize(output.request), self.now)
            while self.model.online and self.kept:
                self._deliver(self.kept.pop(0))
        return self.sent[begin:]

    def _deliver(self, request: Any) -> None:
        message = self._judged(self.model.amend(request))
        self.sent.append(message)
        self.model.delivered(request, self._answer(*message), self.now)

    def _judged(self, request: Any) -> Message:
        frame = self.codec.encode(Call(unique_id="1", payload=request))
        kind, _, action, payload = json.loads(frame)
        assert kind == 2
        judge(self.official, action, "request").validate(payload)
        return action, payload

    def _authorize(self, request: Any) -> Any:
        action, payload = self._judged(request)
        return self._answer(action, payload)

    def _answer(self, action: str, payload: dict[str, Any]) -> Any:
        made: dict[str, Any] = {}
        if action == "StartTransaction":
            self._ids += 1
            made = {
                "transactionId": self._ids,
                "idTagInfo": {"status": self.accepts(payload["idTag"])},
            }
        elif action == "Authorize" and self.official == "v16":
            made = {"idTagInfo": {"status": self.accepts(payload["idTag"])}}
        elif "idToken" in payload:
            made = {"idTokenInfo": {"status": self.accepts(payload["idToken"]["idToken"])}}
        frame = json.dumps([3, "1", made]).encode()
        decoded = self.codec.decode(frame, {"1": action})
        assert isinstance(decoded, CallResult)
        return decoded.payload

    # What the server says

    def ask(self, action: str, **payload: Any) -> dict[str, Any]:
        """A command; the answer, judged. Raises KeyError for what the station does not handle."""
        frame = json.dumps([2, "9", action, payload]).encode()
        request = self.codec.decode(frame).payload
        if type(request) not in self.model.handlers:
            raise KeyError(action)
        response = self.model.obey(request, self.now)
        answer = json.loads(self.codec.encode(CallResult(unique_id="9", action=action, payload=response)))[2]
        judge(self.official, action, "response").validate(answer)
        self.take()
        self.run(0)
        return answer  # type: ignore[no-any-return]

    # Time

    def run(self, seconds: float) -> list[Message]:
        """Let time pass, from one deadline to the next."""
        begin = len(self.sent)
        end = self.now + round(seconds * 1000)
        while True:
            due = (
                self.model.deadline if self.people is None else min(self.model.deadline, self.people.deadline)
            )
            if due > end:
                break
            self.now = max(self.now, due)
            self.model.tick(self.now)
            if self.people is not None:
                self.people.tick(self.now)
            self.take()
            again = self.model.deadline
            assert again > self.now, "a deadline that is not met turns the loop for ever"
        self.now = end
        self.model.tick(end)
        self.take()
        return self.sent[begin:]

    # What was said

    def of(self, action: str) -> list[dict[str, Any]]:
        """The payloads of one action so far."""
        return [payload for name, payload in self.sent if name == action]

    def statuses(self, connector: int = 1) -> list[str]:
        """What was told of a connector."""
        number, word = ("connectorId", "status") if self.official == "v16" else ("evseId", "connectorStatus")
        return [payload[word] for payload in self.of("StatusNotification") if payload[number] == connector]


def energy(values: Any) -> float:
    """The energy register of a meterValue, in Wh."""
    for entry in values:
        for sample in entry["sampledValue"]:
            if sample["measurand"] == "Energy.Active.Import.Register":
                return float(sample["value"])
    raise AssertionError("no energy")


def measured(values: Any, measurand: str) -> float:
    """One measurand of the last entry of a meterValue."""
    return next(float(one["value"]) for one in values[-1]["sampledValue"] if one["measurand"] == measurand)
