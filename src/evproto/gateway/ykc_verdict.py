"""Whether an answer of a pile is a yes or a no."""

from __future__ import annotations

from typing import Any

from evproto.messages import OpenIntEnum
from evproto.ykc import messages
from evproto.ykc.enums import CardClearReason, FailureSuccess

__all__ = ["verdict"]


def verdict(answer: Any) -> tuple[bool, str]:
    """Whether the pile has done what it was told, and a sentence if not.

    Data (0x13), times (0x55) and what a card query found are answers and
    nothing else; codes that no table has count as a no.
    """
    if isinstance(answer, (messages.CardClearResponse, messages.CardClearResponseUnflagged)):
        return _cards_cleared(answer)
    result = getattr(answer, "result", None)
    if not isinstance(result, OpenIntEnum) or "SUCCESS" not in type(result).__members__:
        # 0xF1: makers disagree about whether 0 or 1 means success.
        return True, ""
    if result.name == "SUCCESS":
        return True, ""
    reason = getattr(answer, "failure_reason", None)
    said = reason if isinstance(reason, OpenIntEnum) and reason.name != "NONE" else result
    return False, f"the pile says {said.name.lower()}" + (f" ({said.zh})" if said.zh else "")


def _cards_cleared(answer: Any) -> tuple[bool, str]:
    failed = 0
    for card in answer.cards:
        if isinstance(answer, messages.CardClearResponse):
            failed += card.result != FailureSuccess.SUCCESS
        else:
            failed += card.failure_reason not in (CardClearReason.CLEARED, CardClearReason.CLEARED_ALT)
    if failed:
        return False, f"{failed} of {len(answer.cards)} cards were not cleared"
    return True, ""
