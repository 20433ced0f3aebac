"""What was measured, from sampled values in every unit, multiplier and phase; and which outlet it is of."""

from __future__ import annotations

from typing import Any

import pytest

from evproto.gateway.ocpp.known import KnownCharger, KnownChargers
from evproto.gateway.ocpp.measured import Measured, as_meter_values, measured_in
from evproto.gateway.ocpp.readings import learn
from evproto.gateway.ocpp.shown import glance_of, outlet_name
from gateway.ocpp_live import MOMENT, transaction_event


def of(*samples: dict[str, Any]) -> Measured:
    return measured_in(as_meter_values([{"timestamp": MOMENT, "sampledValue": list(samples)}]))


def unit(name: str, multiplier: int = 0) -> dict[str, Any]:
    return {"unitOfMeasure": {"unit": name, "multiplier": multiplier}}


POWER, CURRENT = {"measurand": "Power.Active.Import"}, {"measurand": "Current.Import"}
VOLTAGE, SOC = {"measurand": "Voltage"}, {"measurand": "SoC"}

CASES: list[tuple[list[dict[str, Any]], dict[str, float]]] = [
    # OCPP 1.6: texts; a value without a measurand is the energy register, in Wh.
    ([{"value": "1500"}], {"register": 1500}),
    ([{"value": "1.5", "unit": "kWh"}], {"register": 1500}),
    ([{"value": "7200", "unit": "W", **POWER}], {"power": 7.2}),
    ([{"value": "7.2", "unit": "kW", **POWER}], {"power": 7.2}),
    ([{"value": "55", "unit": "Percent", "location": "EV", **SOC}], {"soc": 55}),
    # OCPP 2.x: numbers, units with multipliers.
    ([{"value": 1.5, **unit("Wh", 3)}], {"register": 1500}),
    ([{"value": 72, **POWER, **unit("W", 2)}], {"power": 7.2}),
    ([{"value": 7200000, **POWER, **unit("W", -3)}], {"power": 7.2}),
    # Phases: the whole counts if it is there.
    ([{"value": 1, "phase": "L1", **POWER}, {"value": 5000, **POWER}], {"power": 5.0}),
    (
        [{"value": number, "phase": f"L{number}", **CURRENT} for number in (1, 2, 3)],
        {"current": 3.0},
    ),
    ([{"value": 1000 * n, "phase": f"L{n}", **POWER} for n in (1, 2, 3)], {"power": 6.0}),
    ([{"value": 229 + n, "phase": f"L{n}-N", **VOLTAGE} for n in (1, 2, 3)], {"voltage": 231.0}),
    # Between phases it is another voltage.
    ([{"value": 400, "phase": "L1-L2", **VOLTAGE}], {}),
    # What is none of it.
    ([{"value": "AABB", "format": "SignedData"}], {}),
    ([{"value": "high", **POWER}], {}),
    ([{"value": "nan", **POWER}], {}),
    ([{"value": "7", "unit": "VA", **POWER}], {}),
    ([{"value": "7", "measurand": "Power.Offered"}], {}),
    ([{"value": "50", "measurand": "Power.Active.Import", "location": "Inlet"}], {}),
    ([{"value": 1, **POWER, **unit("W", 2**31)}], {"power": 1e27}),
]


@pytest.mark.parametrize(("samples", "wanted"), CASES)
def test_measured(samples: list[dict[str, Any]], wanted: dict[str, float]) -> None:
    found = of(*samples)
    for name in ("power", "voltage", "current", "soc", "register"):
        value = getattr(found, name)
        if name in wanted:
            assert value == pytest.approx(wanted[name]), name
        else:
            assert value is None, name


def test_the_last_value_counts_and_the_first_register_is_the_beginning() -> None:
    values = [
        {"timestamp": MOMENT, "sampledValue": [{"value": "100"}, {"value": "5", **SOC}]},
        {"timestamp": MOMENT, "sampledValue": [{"value": "300"}]},
    ]
    found = measured_in(as_meter_values(values))
    assert (found.first_register, found.register, found.soc) == (100, 300, 5)


def known_of(protocol: str) -> KnownCharger:
    return KnownChargers(limit=1, frames_kept=0).meet("CP1", protocol)


def test_connectors_of_ntxcp_are_services_whatever_type_they_have() -> None:
    known = known_of("ntxcp1.0")
    status = {"serviceId": "heat", "errorCode": "NoError", "status": "Preparing"}
    learn(known, "StatusNotification", status, 0.0)
    learn(known, "StatusNotification", {**status, "serviceId": "3", "status": "Available"}, 0.0)
    values = {"serviceId": 4, "meterValue": [{"timestamp": MOMENT, "sampledValue": [{"value": "7", **SOC}]}]}
    learn(known, "MeterValues", values, 0.0)
    outlets = {outlet.name: outlet for outlet in glance_of(known).outlets}
    assert set(outlets) == {"heat", "3", "4"}
    assert (outlets["heat"].state, outlets["3"].state) == ("Preparing", "Available")


def test_an_event_tells_the_state_of_a_connector() -> None:
    known = known_of("ocpp2.1")
    event = {
        "eventId": 1,
        "timestamp": MOMENT,
        "trigger": "Delta",
        "actualValue": "Faulted",
        "eventNotificationType": "HardWiredNotification",
        "component": {"name": "Connector", "evse": {"id": 1, "connectorId": 2}},
        "variable": {"name": "AvailabilityState"},
    }
    other = {**event, "variable": {"name": "Temperature"}, "actualValue": "50"}
    learn(known, "NotifyEvent", {"generatedAt": MOMENT, "seqNo": 0, "eventData": [event, other]}, 0.0)
    assert {key: state.status for key, state in known.outlets.items()} == {(1, 2): "Faulted"}


def test_a_transaction_is_found_where_the_evse_alone_is_named() -> None:
    known = known_of("ocpp2.0.1")
    for connector in (1, 2):
        learn(
            known,
            "StatusNotification",
            {"timestamp": MOMENT, "connectorStatus": "Occupied", "evseId": 1, "connectorId": connector},
            0.0,
        )
    learn(known, "TransactionEvent", transaction_event("Started", 0, evse={"id": 1, "connectorId": 2}), 0.0)
    assert outlet_name(known, (1, 2)) == "1/2"
    values = [{"timestamp": MOMENT, "sampledValue": [{"value": 50, **SOC}]}]
    learn(known, "TransactionEvent", transaction_event("Updated", 1, evse={"id": 1}, meterValue=values), 0.0)
    learn(known, "MeterValues", {"evseId": 1, "meterValue": values}, 0.0)
    assert [known.outlets[key].soc for key in ((1, 1), (1, 2))] == [None, 50]
    assert known.transactions["TX-1"].outlet == (1, 2)


def test_what_began_before_the_server_has_no_beginning_and_no_energy() -> None:
    known = known_of("ocpp2.0.1")
    values = [{"timestamp": MOMENT, "sampledValue": [{"value": 5000}]}]
    learn(known, "TransactionEvent", transaction_event("Updated", 7, evse={"id": 1}, meterValue=values), 0.0)
    (outlet,) = glance_of(known).outlets
    assert (outlet.transaction, outlet.started, outlet.energy) == ("TX-1", None, None)
    # What is sent again after its end opens nothing.
    learn(known, "TransactionEvent", transaction_event("Ended", 8), 0.0)
    learn(known, "TransactionEvent", transaction_event("Updated", 7, evse={"id": 1}), 0.0)
    assert known.transactions == {}


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("StatusNotification", {"connectorId": [], "status": 5}),
        ("StatusNotification", {}),
        ("MeterValues", {"meterValue": [{"sampledValue": [{"value": None}]}]}),
        ("MeterValues", {}),
        ("StartTransaction", {"connectorId": "one"}),
        ("StopTransaction", {"transactionId": {}}),
        ("TransactionEvent", {"eventType": "Started", "transactionInfo": {"transactionId": "x" * 1000}}),
        ("TransactionEvent", {"transactionInfo": []}),
        ("NotifyEvent", {"eventData": [{}]}),
    ],
)
def test_what_makes_no_sense_is_passed_over(action: str, fields: dict[str, Any]) -> None:
    for protocol in ("ocpp1.6", "ocpp2.1", "ntxcp1.0"):
        known = known_of(protocol)
        learn(known, action, fields, 0.0, "5")
        assert glance_of(known).outlets == ()
        assert known.transactions == {}
