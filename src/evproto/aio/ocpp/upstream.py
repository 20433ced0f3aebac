"""A station's connection to its server: a peer behind the gate of BootNotification."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from evproto.aio.ocpp.handlers import Context
from evproto.aio.ocpp.link import Ending
from evproto.aio.ocpp.peer import Peer
from evproto.errors import SessionError
from evproto.ocppj import Call, CallError, CallResult, Send
from evproto.ocppj.boot import BootGate, Serving
from evproto.ocppj.events import CallReceived
from evproto.payloads import Notification, Request, Response, response_type

if TYPE_CHECKING:
    from evproto.aio.ocpp.station import ChargingStation

__all__ = ["NotAcceptedError", "Upstream"]

logger = logging.getLogger("evproto.aio.ocpp")

_TRIGGERED = {
    "SignChargingStationCertificate": "SignCertificate",
    "SignV2GCertificate": "SignCertificate",
    "SignV2G20Certificate": "SignCertificate",
    "SignCombinedCertificate": "SignCertificate",
}
"""What a TriggerMessage asks for under another name than the action's."""


class NotAcceptedError(SessionError):
    """The station may not send this before its BootNotification is accepted; nothing was sent."""


class Upstream(Peer):
    """The server, as one connection of a station sees it."""

    endpoint: ChargingStation
    gate: BootGate | None = None
    _silenced: Call[Any] | None = None

    async def exchange(
        self, call: Call[Any], *, timeout: float | None = None, total: float | None = None
    ) -> CallResult[Any]:
        """As :meth:`Peer.exchange`.

        Raises:
            NotAcceptedError: before it is accepted, a station may send little else than BootNotification.
        """
        self._pass_gate(call.action)
        gate = self.gate
        if gate is None or call.action != gate.rules.boot:
            return await super().exchange(call, timeout=timeout, total=total)
        try:
            result = await super().exchange(call, timeout=timeout, total=total)
        except Exception:
            gate.failed(self._clock())
            self.endpoint.wake()
            raise
        self.endpoint.boot_answered(self, result.payload)
        return result

    def send(self, notification: Notification | Send[Any]) -> None:
        """As :meth:`Peer.send`; raises NotAcceptedError as well."""
        action = notification.action if isinstance(notification, Send) else notification.action_name
        self._check_open()
        self._pass_gate(action)
        super().send(notification)

    def _pass_gate(self, action: str) -> None:
        gate = self.gate
        if gate is not None:
            if not gate.may_send(action, self._clock()):
                raise NotAcceptedError(f"{action} may not be sent: the station is {gate.state}")
            gate.sent(action)
        self.last_sent = self._clock()

    last_sent: float = 0.0
    """When a request was last sent."""

    def _on_call(self, event: CallReceived) -> None:
        call = event.call
        serving = Serving.YES if self.gate is None else self.gate.serving(call.action)
        if serving is Serving.YES:
            super()._on_call(event)
            return
        context = Context(self, call, event.raw, event.arrived)
        assert self.gate is not None
        if serving is Serving.SILENCE:
            # The session serves no other before this one; it is let go when the gate opens.
            self._silenced = call
        elif serving is Serving.DECLINE and isinstance(call.payload, Request):
            answer: Response = msgspec.convert({"status": "Rejected"}, response_type(call.payload))
            self._answer(context, CallResult(unique_id=call.unique_id, payload=answer))
        else:
            self._answer(
                context,
                CallError(
                    unique_id=call.unique_id,
                    error_code=self.gate.rules.refusal,
                    error_description=f"the station is {self.gate.state}",
                    action=call.action,
                ),
            )

    def gate_moved(self) -> None:
        """The state of the gate has changed; what was left without an answer is let go."""
        call, self._silenced = self._silenced, None
        if call is not None and self.ending is None:
            context = Context(self, call, b"", self._clock())
            error = CallError(
                unique_id=call.unique_id,
                error_code="GenericError",
                error_description="the station was rejected when this came",
                action=call.action,
            )
            self._answer(context, error)

    def on_answered(self, context: Context) -> None:
        gate, call = self.gate, context.call
        if gate is None or not isinstance(context.answer, CallResult):
            return
        gate.served(call.action)
        if call.action in ("TriggerMessage", "ExtendedTriggerMessage"):
            status = getattr(context.answer.payload, "status", None)
            wanted = str(getattr(call.payload, "requested_message", ""))
            if status == "Accepted" and wanted:
                gate.asked_for(_TRIGGERED.get(wanted, wanted), self._clock())
                self.endpoint.wake()

    def on_ended(self, ending: Ending) -> None:
        self.endpoint.upstream_gone(self, ending)

    _events: ClassVar[dict[type, Callable[[Any, Any], None]]] = {**Peer._events, CallReceived: _on_call}
