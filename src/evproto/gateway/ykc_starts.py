"""Answering piles that ask to charge, without a back end: for trying out.

Who may charge is for a back end to decide. ``auto-start`` says yes to
everybody, with the same balance, so that piles and simulators can be seen
charging with nothing else running.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable
from typing import Any

from evproto.messages import Message
from evproto.ykc import messages
from evproto.ykc.enums import AuthFailureReason, FailureSuccess
from evproto.ykc.transactions import make_transaction_no

__all__ = ["Starter"]


class Starter:
    """Accepts starts (0x31, 0xA1) under transaction numbers of its own."""

    def __init__(self, balance: float, clock: Callable[[], float]) -> None:
        """Make one: the balance that every account has, in CNY, and seconds since 1970."""
        self._balance = balance
        self._clock = clock
        self._counter = itertools.count()

    def answer(self, request: Any) -> Message | None:
        """The answer to a message; None if it asks for no start."""
        if not isinstance(request, (messages.StartRequest, messages.ParallelStartRequest)):
            return None
        now = dt.datetime.fromtimestamp(self._clock(), dt.UTC)
        try:
            number = make_transaction_no(request.pile_id, request.gun_no, now, next(self._counter) % 10_000)
        except ValueError:
            # Hex digits in the number of a pile: it cannot be made by the rule.
            return None
        order: dict[str, Any] = {
            "transaction_no": number,
            "pile_id": request.pile_id,
            "gun_no": request.gun_no,
            "logical_card_no": "0" * 16,
            "account_balance": self._balance,
            "result": FailureSuccess.SUCCESS,
            # The document has no code for "none"; platforms send 0.
            "failure_reason": AuthFailureReason(0),
        }
        if isinstance(request, messages.ParallelStartRequest):
            return messages.ParallelStartResponse(**order, parallel_no=request.parallel_no)
        return messages.StartResponse(**order)
