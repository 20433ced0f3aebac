"""Transaction records: stored first, then confirmed.

What confirms them is this module (``auto-record-confirm``: when they are
stored, or when they are delivered) or the API. What cannot be stored is not
confirmed, and the pile keeps it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from evproto.aio.ykc import ConnectedPile
from evproto.errors import EncodeError, SessionError
from evproto.gateway.config import YkcConfig
from evproto.gateway.events import moment
from evproto.gateway.logs import data
from evproto.gateway.metrics import Metrics
from evproto.gateway.outbox import NotDeliveredError, Outbox, OutboxError
from evproto.gateway.ykc_events import message_event
from evproto.gateway.ykc_piles import KnownPile, KnownPiles
from evproto.messages import Message
from evproto.ykc import messages
from evproto.ykc.enums import TransactionAck
from evproto.ykc.records import record_key
from evproto.ykc.session import MessageReceived

__all__ = ["RecordKeeper"]

logger = logging.getLogger("evproto.gateway.ykc")

_CONFIRMATIONS: Final = 256
"""Records of one pile whose confirmation is remembered, to repeat it."""


class RecordKeeper:
    """Takes the records of all piles."""

    def __init__(
        self,
        config: YkcConfig,
        outbox: Outbox,
        metrics: Metrics,
        piles: KnownPiles,
        *,
        wall: Callable[[float], float],
        forwarding: bool,
    ) -> None:
        """Make a keeper.

        Args:
            config: the settings.
            outbox: where records are stored.
            metrics: what is counted.
            piles: all that are known.
            wall: makes seconds since 1970 of a time of the event loop.
            forwarding: whether anybody gets events.
        """
        self._config = config
        self._outbox = outbox
        self._metrics = metrics
        self._piles = piles
        self._wall = wall
        self._forwarding = forwarding
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Confirm nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def on_record(self, pile: ConnectedPile, received: MessageReceived) -> Message | None:
        """Store a record; the confirmation, if it is due."""
        known: KnownPile = pile.context
        event = message_event(
            pile=known.pile_id,
            version=known.version,
            frame=received.frame,
            raw=received.raw,
            codec=known.codec,
            time=moment(self._wall(received.time)),
            record=True,
            error=received.error,
            warnings=received.warnings,
        )
        about = {"pile": known.pile_id, "record": event.id}
        try:
            stored = await self._outbox.put(event)
        except OutboxError as error:
            self._metrics.record("ykc", "not_stored")
            logger.error(
                "a transaction record could not be stored, it is not confirmed: %s",
                error,
                extra=data(**about),
            )
            return None
        outcome = "conflict" if stored.conflict else "repeated" if stored.duplicate else "stored"
        self._metrics.record("ykc", outcome)
        if stored.conflict:
            logger.warning(
                "a transaction record has the number of another one with other content",
                extra=data(**about),
            )
        number = record_key(received.raw, received.frame.message).transaction_no
        if number is None:
            logger.warning("a transaction record has no number that could be confirmed", extra=data(**about))
            return None
        confirmed = known.confirmations.get((number, event.digest or ""))
        if confirmed is not None:
            return self.confirmed(known, number, event.digest, confirmed)
        if not self._config.auto_record_confirm:
            known.asked(received, number)
            if stored.duplicate and self._forwarding:
                # The API has not confirmed it; it may never have heard of it.
                self._outbox.post(msgspec.structs.replace(event, kind="message", key=None, digest=None))
            return None
        answer = messages.TransactionRecordResponse(transaction_no=number, result=TransactionAck.ACCEPTED)
        if self._config.confirm == "stored":
            return self.confirmed(known, number, event.digest, answer)
        self._confirm_when_delivered(known, pile, received, stored.id, event.digest, answer)
        return None

    def confirmed(self, known: KnownPile, number: str, digest: str | None, answer: Message) -> Message:
        """Remember how a record was confirmed, for when it is repeated."""
        self._metrics.record("ykc", "confirmed")
        known.confirmations[number, digest or ""] = answer
        while len(known.confirmations) > _CONFIRMATIONS:
            known.confirmations.popitem(last=False)
        return answer

    def _confirm_when_delivered(
        self,
        known: KnownPile,
        pile: ConnectedPile,
        received: MessageReceived,
        id: str,
        digest: str | None,
        answer: messages.TransactionRecordResponse,
    ) -> None:
        waiting = known.confirming.get(id)
        if waiting is not None:
            # A repetition, on this connection or a newer one: that one is answered.
            waiting[:] = [pile, received]
            return
        target: list[Any] = [pile, received]
        known.confirming[id] = target

        async def confirm() -> None:
            try:
                await self._outbox.delivered(id)
            except (NotDeliveredError, LookupError, OutboxError) as error:
                logger.error(
                    "a transaction record was not delivered, it is not confirmed: %s",
                    error,
                    extra=data(pile=known.pile_id, record=id),
                )
                return
            finally:
                known.confirming.pop(id, None)
            where, what = target
            self.confirmed(known, answer.transaction_no, digest, answer)
            try:
                where.reply(what, answer)
            except (SessionError, EncodeError) as error:
                logger.info(
                    "a delivered record is confirmed when it is repeated: %s",
                    error,
                    extra=data(pile=known.pile_id, record=id),
                )

        task = asyncio.create_task(confirm(), name="confirmation")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
