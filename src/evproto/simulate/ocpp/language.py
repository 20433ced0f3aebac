"""What a version of OCPP says where the station has something to say; see :class:`Language`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evproto.payloads import Request
from evproto.simulate.ocpp.settings import Token
from evproto.simulate.ocpp.tokens import Known
from evproto.simulate.ocppj.model import Handler

if TYPE_CHECKING:
    from evproto.simulate.ocpp.connector import Connector, Reservation, Transaction

__all__ = ["Language"]


class Language:
    """The messages of one version, made of and turned into what a station does.

    Attributes:
        handlers: what is obeyed, by the class of the request; all else is refused as not supported.
    """

    handlers: Mapping[type, Handler]

    def boot(self, reason: str) -> Request[Any]:
        """The BootNotification."""
        raise NotImplementedError

    def heartbeat(self) -> Request[Any]:
        """A Heartbeat."""
        raise NotImplementedError

    def authorize(self, token: Token) -> Request[Any]:
        """The question who may charge."""
        raise NotImplementedError

    def authorized(self, request: Any, response: Any) -> tuple[str, Known]:
        """Of an Authorize and its answer: the token, and what the server thinks of it."""
        raise NotImplementedError

    def status(self, connector: Connector) -> str:
        """The connector's status, in the version's words."""
        raise NotImplementedError

    def tell_status(self, connector: Connector, now: int) -> None:
        """Report the status of a connector."""
        raise NotImplementedError

    def tell_station(self, now: int) -> None:
        """Report the status of the station, where the version has one."""

    def started(self, transaction: Transaction, now: int) -> None:
        """A transaction has begun."""
        raise NotImplementedError

    def changed(self, transaction: Transaction, now: int) -> None:
        """Its charging state has changed."""

    def sampled(self, transaction: Transaction, now: int) -> None:
        """Meter values are due."""
        raise NotImplementedError

    def ended(self, transaction: Transaction, now: int) -> None:
        """It has stopped."""
        raise NotImplementedError

    def tell_values(self, connector: Connector, now: int, context: str) -> None:
        """Report the meter, whether or not there is a transaction."""
        raise NotImplementedError

    def tell_firmware(self, status: str, request_id: int | None) -> None:
        """Report how an update goes."""
        raise NotImplementedError

    def tell_log(self, status: str, request_id: int | None) -> None:
        """Report how an upload goes."""
        raise NotImplementedError

    def reservation_ended(self, reservation: Reservation, status: str) -> None:
        """A reservation has gone by, where the version tells it."""

    def delivered(self, request: Any, result: Any, now: int) -> Transaction | None:
        """A message that was kept has arrived (its response) or was given up (an exception).

        Gives back the transaction whose end it was.
        """
        raise NotImplementedError

    def amend(self, request: Any) -> Any:
        """The request to be sent for one that was kept."""
        return request
