"""What may be said before a station is accepted, by the sentences of the documents."""

from __future__ import annotations

import pytest

from evproto.ocpp import v16, v21, v201
from evproto.ocpp.stations import BOOT_1_6, BOOT_2
from evproto.ocppj.boot import BootGate, BootState, Serving

RULES = {"1.6": BOOT_1_6, "2.x": BOOT_2}
START = {"1.6": "RemoteStartTransaction", "2.x": "RequestStartTransaction"}
both = pytest.mark.parametrize("version", RULES)


def gate_in(version: str, state: str, interval: int = 100, now: float = 0.0) -> BootGate:
    gate = BootGate(RULES[version], retry=60)
    gate.sent("BootNotification")
    gate.answered(state, interval, now)
    return gate


@both
def test_before_the_first_answer_only_the_boot_notification_is_sent(version: str) -> None:
    """1.6 section 4.2: between power-on and a completed BootNotification no other request is sent."""
    gate = BootGate(RULES[version])
    assert gate.state is BootState.UNKNOWN
    assert gate.due(0)
    assert gate.may_send("BootNotification", 0)
    assert not gate.may_send("Heartbeat", 0)
    assert not gate.may_send("StopTransaction", 0)
    gate.sent("BootNotification")
    assert not gate.due(1e9)
    assert gate.deadline is None


@both
def test_accepted_lets_everything_through(version: str) -> None:
    gate = gate_in(version, "Accepted", 300)
    assert gate.state is BootState.ACCEPTED
    assert gate.heartbeat_interval == 300
    assert gate.deadline is None
    assert not gate.due(1e9)
    assert gate.may_send("Heartbeat", 0)
    assert gate.serving(START[version]) is Serving.YES


@both
def test_acceptance_with_interval_0_names_no_heartbeat_interval(version: str) -> None:
    assert gate_in(version, "Accepted", 0).heartbeat_interval is None


@both
@pytest.mark.parametrize("status", ["Pending", "Rejected"])
def test_the_interval_is_the_least_wait_before_the_next_attempt(version: str, status: str) -> None:
    gate = gate_in(version, status, 100, now=1000.0)
    assert gate.deadline == 1100.0
    assert not gate.due(1099.9)
    assert gate.due(1100.0)


@both
@pytest.mark.parametrize("status", ["Pending", "Rejected"])
@pytest.mark.parametrize("interval", [0, -5])
def test_interval_0_leaves_the_wait_to_the_station(version: str, status: str, interval: int) -> None:
    assert gate_in(version, status, interval, now=1000.0).deadline == 1060.0


@both
def test_pending_sends_only_what_it_was_asked_for(version: str) -> None:
    gate = gate_in(version, "Pending")
    assert not gate.may_send("StatusNotification", 1)
    gate.asked_for("StatusNotification", 1)
    assert gate.may_send("StatusNotification", 1)
    assert not gate.may_send("Heartbeat", 1)
    gate.sent("StatusNotification")
    assert not gate.may_send("StatusNotification", 1), "one request to send it is not two"
    gate.asked_for("StatusNotification", 1, times=2)
    gate.sent("StatusNotification")
    assert gate.may_send("StatusNotification", 1)


@both
def test_pending_serves_all_but_remote_transactions(version: str) -> None:
    gate = gate_in(version, "Pending")
    assert gate.serving("GetConfiguration") is Serving.YES
    assert gate.serving(START[version]) is Serving.DECLINE
    assert gate.serving(START[version].replace("Start", "Stop")) is Serving.DECLINE


def test_pending_reports_what_a_report_was_ordered_for() -> None:
    """B02.FR.02: what GetBaseReport or GetReport ask for is sent, in as many parts as it takes."""
    gate = gate_in("2.x", "Pending")
    assert not gate.may_send("NotifyReport", 1)
    gate.served("GetBaseReport")
    for _ in range(3):
        assert gate.may_send("NotifyReport", 1)
        gate.sent("NotifyReport")
    gate.answered("Rejected", 10, 1)
    assert not gate.may_send("NotifyReport", 1)


@both
def test_a_trigger_overrides_the_interval(version: str) -> None:
    """1.6 section 4.2: not earlier, unless requested to do so with a TriggerMessage."""
    gate = gate_in(version, "Pending", 3600, now=0)
    gate.asked_for("BootNotification", 5)
    assert gate.due(5)
    assert gate.may_send("BootNotification", 5)


@both
def test_rejected_is_silent_until_the_interval_is_over(version: str) -> None:
    gate = gate_in(version, "Rejected", 100, now=0)
    assert not gate.may_send("BootNotification", 99)
    assert gate.may_send("BootNotification", 100)
    gate.asked_for("Heartbeat", 1)
    assert not gate.may_send("Heartbeat", 100)


def test_rejected_1_6_does_not_answer() -> None:
    """1.6 section 4.2: while Rejected it SHALL NOT respond to any message of the central system."""
    gate = gate_in("1.6", "Rejected")
    assert gate.serving("GetConfiguration") is Serving.SILENCE
    assert gate.serving("TriggerMessage") is Serving.SILENCE


def test_rejected_2_refuses_all_but_a_trigger() -> None:
    """B03.FR.08: a CALLERROR SecurityError, but for TriggerMessage."""
    gate = gate_in("2.x", "Rejected")
    assert gate.serving("GetVariables") is Serving.REFUSE
    assert gate.rules.refusal == "SecurityError"
    assert gate.serving("TriggerMessage") is Serving.YES


@both
def test_no_answer_is_tried_again(version: str) -> None:
    gate = BootGate(RULES[version], retry=60)
    gate.sent("BootNotification")
    gate.failed(10)
    assert gate.state is BootState.UNKNOWN
    assert gate.deadline == 70
    assert not gate.may_send("Heartbeat", 70)


@both
def test_a_failed_boot_of_an_accepted_station_changes_nothing(version: str) -> None:
    gate = gate_in(version, "Accepted")
    gate.asked_for("BootNotification", 5)
    gate.sent("BootNotification")
    gate.failed(6)
    assert gate.state is BootState.ACCEPTED
    assert gate.deadline is None


@both
def test_acceptance_outlives_the_connection_and_not_a_restart(version: str) -> None:
    gate = gate_in(version, "Accepted")
    gate.restarted()
    assert gate.state is BootState.UNKNOWN
    assert gate.due(0)
    assert not gate.may_send("Heartbeat", 0)


@both
def test_a_status_no_document_has_is_no_acceptance(version: str) -> None:
    gate = gate_in(version, "Perhaps", 100, now=0)
    assert gate.state is BootState.REJECTED
    assert gate.deadline == 100


@pytest.mark.parametrize(("module", "rules"), [(v16, BOOT_1_6), (v201, BOOT_2), (v21, BOOT_2)])
def test_the_rules_name_actions_that_exist(module: object, rules: object) -> None:
    actions = module.dialect.actions  # type: ignore[attr-defined]
    named = {rules.boot} | rules.declined_while_pending | rules.served_while_rejected  # type: ignore[attr-defined]
    for action, sends in rules.instructions.items():  # type: ignore[attr-defined]
        named |= {action} | sends
    assert named <= actions.keys()


@both
def test_what_the_other_side_takes(version: str) -> None:
    """B02.FR.09, B03.FR.07: a CALLERROR SecurityError for all but BootNotification and what was asked for."""
    unknown = BootGate(RULES[version])
    assert unknown.takes("StopTransaction", 0), "it may have been accepted before"
    for state in ("Pending", "Rejected"):
        gate = gate_in(version, state, 100, now=0)
        assert gate.takes("BootNotification", 1), "too early, but answered all the same"
        assert not gate.takes("Heartbeat", 1)
    gate = gate_in(version, "Pending")
    gate.asked_for("Heartbeat", 1)
    assert gate.takes("Heartbeat", 1)
    assert gate_in(version, "Accepted").takes("Heartbeat", 1)
