"""How piles are watched and shown: glances, frames in the envelope, what a form begins with."""

from __future__ import annotations

import datetime as dt
import heapq
import itertools
from collections.abc import Sequence
from typing import Any, Final

from evproto.gateway.adapter import CommandType, Glance, Outlet, Sighting
from evproto.gateway.events import Event, EventFinding, Kind, moment, new_id
from evproto.gateway.ykc_piles import GunView, KnownPile, PileView, show_frame
from evproto.gateway.ykc_schema import message_schema
from evproto.ykc.codec import Codec
from evproto.ykc.enums import GunStatus

__all__ = ["FrameSighting", "glance_of", "message_schemas", "recent_of", "suggestions"]

_FRAME_TYPE: Final = 5
"""Where the frame type stands in a frame."""
_TALKING: Final = 200
"""Piles whose frames are looked through for the last ones of all."""
_RECORDS: Final = frozenset({"0x3B", "0x3D"})
_MOODS: Final = {
    GunStatus.IDLE: "free",
    GunStatus.CHARGING: "busy",
    GunStatus.FAULT: "fault",
}


class FrameSighting:
    """A frame of a pile, in either direction, or bytes that are none."""

    __slots__ = ("_codec", "_event", "_raw", "_received", "_time", "_version", "charger")

    def __init__(self, known: KnownPile, time: float, received: bool, raw: bytes) -> None:
        self.charger = known.pile_id
        self._version = known.version
        self._codec = known.codec
        self._time = time
        self._received = received
        self._raw = raw
        self._event: Event | None = None

    @property
    def name(self) -> str:
        """See :class:`evproto.gateway.adapter.Sighting`."""
        layouts = self._codec.layouts.get(self._raw[_FRAME_TYPE]) if len(self._raw) > _FRAME_TYPE else None
        if not layouts or len(layouts) > 1:
            # Which of several layouts it is is seen in its body only.
            return self.event().name
        return layouts[0].name

    def event(self) -> Event:
        """See :class:`evproto.gateway.adapter.Sighting`."""
        if self._event is None:
            self._event = self._make()
        return self._event

    def _make(self) -> Event:
        shown = show_frame(self._time, self._received, self._raw, self._codec, reveal=False)
        findings: tuple[EventFinding, ...] = ()
        kind: Kind = "message" if self._received else "command"
        if shown["error"]:
            kind = "error"
            findings = (EventFinding(kind="layout", path="", text=shown["error"]),)
        elif self._received and shown["code"] in _RECORDS:
            kind = "record"
        return Event(
            id=new_id(self._time),
            time=shown["time"],
            protocol=f"ykc{self._version}",
            charger=self.charger,
            kind=kind,
            direction=shown["direction"],
            code=shown["code"],
            name=shown["name"],
            sequence=shown["sequence"],
            fields=shown["fields"],
            raw=shown["raw"],
            findings=findings,
        )


def message_schemas(codec: Codec) -> dict[str, dict[str, Any]]:
    """The fields of all messages, by name."""
    return {layout.name: message_schema(layout) for found in codec.layouts.values() for layout in found}


def glance_of(known: KnownPile) -> Glance:
    """A pile at a glance."""
    view = known.view()
    login = view.login or {}
    guns = {gun.gun_no: gun for gun in view.guns}
    # Guns that have said nothing yet are shown too, as far as the login counts them.
    for number in range(1, min(int(login.get("gun_count", 0)), 16) + 1):
        guns.setdefault(f"{number:02d}", GunView(gun_no=f"{number:02d}"))
    kind = str(login.get("pile_type", {}).get("name") or "").upper()
    firmware = str(login.get("firmware_version") or "")
    return Glance(
        charger=view.id,
        protocol=f"YKC {view.version}",
        state=view.state,
        model=" ".join(part for part in (kind, firmware) if part),
        address=view.address,
        connected=view.connected,
        seen=view.last_seen,
        reason=view.offline_reason,
        outlets=tuple(_outlet(view, known, guns[name]) for name in sorted(guns)),
    )


def _outlet(view: PileView, known: KnownPile, gun: GunView) -> Outlet:
    if gun.gun_no not in known.data:
        return Outlet(name=gun.gun_no)
    at, report = known.data[gun.gun_no]
    status = report.gun_status
    charging = status == GunStatus.CHARGING
    return Outlet(
        name=gun.gun_no,
        state=status.name.lower(),
        zh=status.zh,
        mood=_MOODS.get(status, "away") if view.online else "away",  # type: ignore[arg-type]
        plugged=bool(report.gun_plugged),
        power=report.output_voltage * report.output_current / 1000 if charging and view.online else None,
        voltage=report.output_voltage if charging else None,
        current=report.output_current if charging else None,
        soc=report.soc if charging and report.soc else None,
        energy=report.energy if charging or report.energy else None,
        transaction=report.transaction_no if charging else None,
        at=moment(at),
    )


def recent_of(piles: Sequence[KnownPile], limit: int) -> list[Sighting]:
    """The last frames of those piles that have said something last, the oldest first."""
    talking = heapq.nlargest(
        _TALKING, (known for known in piles if known.frames), key=lambda known: known.frames[-1][0]
    )
    share = max(2, 4 * limit // max(1, len(talking)))
    frames = [
        (time, -number, known, received, raw)
        for known in talking
        for number, (time, received, raw) in enumerate(itertools.islice(reversed(known.frames), share))
    ]
    frames.sort(key=lambda frame: frame[:2])
    return [FrameSighting(known, time, received, raw) for time, _, known, received, raw in frames[-limit:]]


def suggestions(known: KnownPile | None, command: CommandType, now: dt.datetime) -> dict[str, Any]:
    """What a form begins with, of the fields that the command has."""
    if known is None:
        return {}
    charging = [name for name, (_, report) in known.data.items() if report.gun_status == GunStatus.CHARGING]
    plugged = [name for name, (_, report) in known.data.items() if report.gun_plugged]
    starts = command.name.endswith("start_request")
    free = [name for name in sorted(plugged) if name not in charging]
    guns = (free if starts else sorted(charging)) or sorted(plugged) or sorted(known.data) or ["01"]
    gun = guns[0]
    transaction = f"{known.pile_id}{gun}{now:%y%m%d%H%M%S}{now.microsecond // 100:04d}"
    if not starts and gun in known.data:
        transaction = known.data[gun][1].transaction_no
    found: dict[str, Any] = {
        "gun_no": gun,
        "transaction_no": transaction,
        "current_time": now.isoformat(timespec="seconds"),
    }
    properties = command.schema["properties"]
    if properties.get("gun_no", {}).get("type") == "integer":
        found["gun_no"] = int(gun, 16)
    return {name: value for name, value in found.items() if name in properties}
