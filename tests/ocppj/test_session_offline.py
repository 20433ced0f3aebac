"""Order, attempts and intervals of messages that must arrive: the examples of the documents, and a model."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evproto.ocpp import v16, v201
from evproto.ocpp.stations import retention_1_6, retention_2
from evproto.ocppj import CallError, CallResult, MessageError
from evproto.ocppj.events import Cancelled, ConnectionLost, InvalidAnswer, Outcome, TimedOut
from evproto.ocppj.offline import Attempt, QueuedMessage, Retention, TransactionQueue, attempt_of

ANSWER: CallResult[Any] = CallResult(unique_id="1", payload=v16.messages.StopTransactionResponse())
ERROR = CallError(unique_id="1", error_code="InternalError")
KEEP, THIN, DROP = Retention.KEEP, Retention.THIN, Retention.DROP


def wrong(frame: bytes) -> MessageError:
    with pytest.raises(MessageError) as caught:
        v16.codec.decode(frame, {"1": "StopTransaction"})
    return caught.value


@pytest.mark.parametrize(
    ("outcome", "attempt"),
    [
        (ANSWER, Attempt.DELIVERED),
        (ERROR, Attempt.FAILED),
        (TimedOut(True), Attempt.FAILED),
        (TimedOut(False), Attempt.NONE),
        (ConnectionLost("gone", True), Attempt.NONE),
        (ConnectionLost("gone", False), Attempt.NONE),
        (Cancelled(True), Attempt.NONE),
        (InvalidAnswer(wrong(b'[3,"1",{"idTagInfo":5}]')), Attempt.DELIVERED),
        (InvalidAnswer(wrong(b'[4,"1"]')), Attempt.FAILED),
    ],
)
def test_what_counts_as_a_failure(outcome: Outcome, attempt: Attempt) -> None:
    assert attempt_of(outcome) is attempt


def test_the_example_of_1_6_section_3_7_1() -> None:
    """Attempts 3, interval 60: wait 60 s, then 120 s, then discard and go on with the next."""
    queue = TransactionQueue(attempts=3, interval=60)
    queue.put(1, KEEP)
    queue.put(2, KEEP)
    assert queue.next(0) == 1
    assert queue.deadline is None
    assert queue.ended(ERROR, 10) == QueuedMessage(1, KEEP, 1)
    assert queue.deadline == 70
    assert queue.next(69.9) is None
    assert queue.next(70) == 1
    assert queue.ended(TimedOut(True), 100) == QueuedMessage(1, KEEP, 2)
    assert queue.next(219.9) is None
    assert queue.next(220) == 1
    assert queue.ended(ERROR, 221) is None
    assert queue.next(221) == 2
    assert queue.ended(ANSWER, 222) is None
    assert len(queue) == 0
    assert queue.deadline is None
    assert queue.next(1e9) is None


def test_a_lost_connection_is_no_attempt() -> None:
    queue = TransactionQueue(attempts=1, interval=60)
    queue.put(1, KEEP)
    for now in range(10):
        assert queue.next(now) == 1
        assert queue.ended(ConnectionLost("gone", True), now) == QueuedMessage(1, KEEP, 0)
    assert queue.next(10) == 1
    assert queue.ended(ERROR, 10) is None


def test_nothing_overtakes_a_message_that_waits() -> None:
    queue = TransactionQueue(attempts=2, interval=60)
    queue.put(1, KEEP)
    assert queue.next(0) == 1
    queue.ended(ERROR, 0)
    queue.put(2, KEEP)
    assert queue.next(1) is None
    assert [queue.next(60), queue.next(60)] == [1, None]


def test_messages_from_before_a_restart_come_first_with_their_attempts() -> None:
    queue = TransactionQueue(attempts=3, interval=60)
    queue.put(9, KEEP)
    queue.restore([QueuedMessage(3, KEEP, 2), QueuedMessage(4, THIN)])
    assert queue.next(0) == 3
    assert queue.ended(ERROR, 0) is None, "it was the third attempt"
    order = []
    while (key := queue.next(0)) is not None:
        order.append(key)
        queue.ended(ANSWER, 0)
    assert order == [4, 9]


def test_what_is_of_no_use_later_is_not_kept() -> None:
    queue = TransactionQueue()
    assert queue.put(1, DROP) == [1]
    assert len(queue) == 0


def test_a_full_queue_thins_out_intermediate_messages_and_never_the_others() -> None:
    """E04.FR.07 and 08: intermediate messages go first, every other one; Started and Ended never."""
    queue = TransactionQueue(capacity=6)
    for key in range(6):
        assert queue.put(key, KEEP if key in (0, 5) else THIN) == []
    assert queue.put(6, KEEP) == [1, 3]
    order = []
    while (key := queue.next(0)) is not None:
        order.append(key)
        queue.ended(ANSWER, 0)
    assert order == [0, 2, 4, 5, 6]


def test_what_must_be_kept_is_kept_beyond_the_capacity() -> None:
    queue = TransactionQueue(capacity=2)
    for key in range(50):
        assert queue.put(key, KEEP) == []
    assert queue.put(50, THIN) == [50]
    assert len(queue) == 50


def test_the_message_on_its_way_is_not_thinned_out() -> None:
    queue = TransactionQueue(capacity=3)
    for key in range(3):
        queue.put(key, THIN)
    assert queue.next(0) == 0
    assert queue.put(3, KEEP) == [1]
    assert queue.ended(ANSWER, 1) is None
    assert queue.next(1) == 2


def test_an_end_without_a_beginning_is_refused() -> None:
    with pytest.raises(ValueError, match="on its way"):
        TransactionQueue().ended(ANSWER, 0)
    queue = TransactionQueue()
    queue.put(1, KEEP)
    queue.next(0)
    with pytest.raises(ValueError, match="on its way"):
        queue.restore([QueuedMessage(0)])
    with pytest.raises(ValueError, match="interval"):
        TransactionQueue(interval=math.inf)


@given(
    st.integers(1, 4),
    st.lists(
        st.one_of(
            st.just("put"),
            st.sampled_from([ANSWER, ERROR, TimedOut(True), ConnectionLost("gone", True), Cancelled(True)]),
        ),
        max_size=60,
    ),
)
def test_a_naive_model_delivers_the_same(attempts: int, steps: list[Any]) -> None:
    """The model: a list of [key, failures], and the time at which its head may go."""
    queue = TransactionQueue(attempts=attempts, interval=10)
    model: list[list[int]] = []
    now, free, key = 0.0, 0.0, 0
    for step in steps:
        if step == "put":
            queue.put(key, KEEP)
            model.append([key, 0])
            key += 1
            continue
        if not model:
            assert queue.next(now) is None
            continue
        if free > now:
            assert queue.next(math.nextafter(free, 0)) is None
            now = free
        assert queue.next(now) == model[0][0]
        queue.ended(step, now)
        if step is ANSWER:
            del model[0]
        elif step is ERROR or isinstance(step, TimedOut):
            model[0][1] += 1
            if model[0][1] == attempts:
                del model[0]
            else:
                free = now + 10 * model[0][1]
        assert len(queue) == len(model)


_NOW = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)


def test_which_messages_of_1_6_are_kept() -> None:
    m, e = v16.messages, v16.enums
    sample = (m.MeterValue(timestamp=_NOW, sampled_value=(m.SampledValue(value="1"),)),)
    assert (
        retention_1_6(m.StartTransactionRequest(connector_id=1, id_tag="x", meter_start=0, timestamp=_NOW))
        is KEEP
    )
    assert retention_1_6(m.StopTransactionRequest(transaction_id=1, meter_stop=0, timestamp=_NOW)) is KEEP
    assert retention_1_6(m.MeterValuesRequest(connector_id=1, meter_value=sample, transaction_id=7)) is THIN
    assert retention_1_6(m.MeterValuesRequest(connector_id=1, meter_value=sample)) is DROP
    assert retention_1_6(m.HeartbeatRequest()) is DROP
    assert retention_1_6(m.SecurityEventNotificationRequest(type="Tamper", timestamp=_NOW)) is KEEP
    status = m.StatusNotificationRequest(
        connector_id=1, error_code=e.ChargePointErrorCode.NO_ERROR, status=e.ChargePointStatus.AVAILABLE
    )
    assert retention_1_6(status) is DROP


def test_which_messages_of_2_0_1_are_kept() -> None:
    for kind, wanted in (("Started", KEEP), ("Updated", THIN), ("Ended", KEEP)):
        frame = (
            '[2,"1","TransactionEvent",{"eventType":"%s","timestamp":"2026-11-20T00:00:00Z",'
            '"triggerReason":"Authorized","seqNo":0,"transactionInfo":{"transactionId":"t"}}]'
        )
        call = v201.codec.decode(frame % kind)
        assert retention_2(call.payload) is wanted  # type: ignore[union-attr]
    assert retention_2(v201.messages.HeartbeatRequest()) is DROP
    event = v201.messages.SecurityEventNotificationRequest(type="Tamper", timestamp=_NOW)
    assert retention_2(event) is KEEP
