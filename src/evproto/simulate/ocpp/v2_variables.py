"""The device model of a simulated station of OCPP 2.x: components, variables and what may be set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from evproto.simulate.ocpp.control import MOST_PERIODS, MOST_PROFILES, MOST_STACK_LEVEL
from evproto.simulate.ocpp.options import MEASURANDS, read_flag, read_measurands, read_number

if TYPE_CHECKING:
    from evproto.simulate.ocpp.station import StationModel

__all__ = ["Variable", "Variables"]


class Variable(NamedTuple):
    """A variable of a component, with its actual value."""

    component: str
    name: str
    value: str
    kind: str = "string"
    """As in DataEnumType."""
    option: str | None = None
    """Of :class:`~evproto.simulate.ocpp.options.Options`, if it may be set."""
    instance: str | None = None
    """Of the variable."""
    evse: int | None = None
    connector: int | None = None
    unit: str | None = None
    values: str | None = None
    """The values of a list, separated by commas."""
    summary: bool = False
    """Whether it says how the station is."""

    @property
    def settable(self) -> bool:
        return self.option is not None


_FLAGS: Final = (
    ("AuthCtrlr", "AuthorizeRemoteStart", "authorize_remote"),
    ("AuthCtrlr", "LocalAuthorizeOffline", "local_authorize_offline"),
    ("AuthCtrlr", "LocalPreAuthorize", "local_preauthorize"),
    ("AuthCtrlr", "OfflineTxForUnknownIdEnabled", "unknown_offline"),
    ("AuthCacheCtrlr", "Enabled", "cache"),
    ("LocalAuthListCtrlr", "Enabled", "local_list"),
    ("TxCtrlr", "StopTxOnInvalidId", "stop_on_invalid"),
)
_NUMBERS: Final = (
    ("AlignedDataCtrlr", "Interval", "clock_interval"),
    ("OCPPCommCtrlr", "HeartbeatInterval", "heartbeat_interval"),
    ("SampledDataCtrlr", "TxUpdatedInterval", "sample_interval"),
    ("TxCtrlr", "EVConnectionTimeOut", "connection_timeout"),
)
_LISTS: Final = (
    ("AlignedDataCtrlr", "Measurands", "clock_sampled"),
    ("SampledDataCtrlr", "TxEndedMeasurands", "ended"),
    ("SampledDataCtrlr", "TxUpdatedMeasurands", "sampled"),
)
_FIXED: Final = (
    Variable("AlignedDataCtrlr", "Enabled", "true", "boolean"),
    Variable("AlignedDataCtrlr", "TxEndedInterval", "0", "integer", unit="s"),
    Variable("AlignedDataCtrlr", "TxEndedMeasurands", "", "MemberList", values=",".join(MEASURANDS)),
    Variable("AuthCtrlr", "Enabled", "true", "boolean"),
    Variable("ClockCtrlr", "TimeSource", "Heartbeat", "SequenceList", values="Heartbeat"),
    Variable("DeviceDataCtrlr", "BytesPerMessage", "65536", "integer", instance="GetReport"),
    Variable("DeviceDataCtrlr", "BytesPerMessage", "65536", "integer", instance="GetVariables"),
    Variable("DeviceDataCtrlr", "BytesPerMessage", "65536", "integer", instance="SetVariables"),
    Variable("DeviceDataCtrlr", "ItemsPerMessage", "100", "integer", instance="GetReport"),
    Variable("DeviceDataCtrlr", "ItemsPerMessage", "100", "integer", instance="GetVariables"),
    Variable("DeviceDataCtrlr", "ItemsPerMessage", "100", "integer", instance="SetVariables"),
    Variable("LocalAuthListCtrlr", "BytesPerMessage", "65536", "integer"),
    Variable("LocalAuthListCtrlr", "ItemsPerMessage", "500", "integer"),
    Variable(
        "OCPPCommCtrlr", "FileTransferProtocols", "HTTPS", "MemberList", values="FTP,FTPS,HTTP,HTTPS,SFTP"
    ),
    Variable("OCPPCommCtrlr", "MessageAttempts", "3", "integer", instance="TransactionEvent"),
    Variable(
        "OCPPCommCtrlr", "MessageAttemptInterval", "15", "integer", instance="TransactionEvent", unit="s"
    ),
    Variable("OCPPCommCtrlr", "MessageTimeout", "30", "integer", instance="Default", unit="s"),
    Variable("OCPPCommCtrlr", "NetworkConfigurationPriority", "1", "SequenceList", values="1"),
    Variable("OCPPCommCtrlr", "NetworkProfileConnectionAttempts", "1", "integer"),
    Variable("OCPPCommCtrlr", "OfflineThreshold", "0", "integer", unit="s"),
    Variable("OCPPCommCtrlr", "ResetRetries", "1", "integer"),
    Variable("OCPPCommCtrlr", "UnlockOnEVSideDisconnect", "true", "boolean"),
    Variable("ReservationCtrlr", "Available", "true", "boolean"),
    Variable("ReservationCtrlr", "Enabled", "true", "boolean"),
    Variable("ReservationCtrlr", "NonEvseSpecific", "false", "boolean"),
    Variable("SampledDataCtrlr", "Enabled", "true", "boolean"),
    Variable("SampledDataCtrlr", "TxEndedInterval", "0", "integer", unit="s"),
    Variable(
        "SampledDataCtrlr", "TxStartedMeasurands", MEASURANDS[0], "MemberList", values=",".join(MEASURANDS)
    ),
    Variable("SecurityCtrlr", "CertificateEntries", "0", "integer"),
    Variable("SecurityCtrlr", "OrganizationName", "evproto"),
    Variable("SecurityCtrlr", "SecurityProfile", "0", "integer"),
    Variable("SmartChargingCtrlr", "Enabled", "true", "boolean"),
    Variable("SmartChargingCtrlr", "Entries", str(MOST_PROFILES), "integer", instance="ChargingProfiles"),
    Variable("SmartChargingCtrlr", "LimitChangeSignificance", "0", "decimal", unit="Percent"),
    Variable("SmartChargingCtrlr", "PeriodsPerSchedule", str(MOST_PERIODS), "integer"),
    Variable("SmartChargingCtrlr", "ProfileStackLevel", str(MOST_STACK_LEVEL), "integer"),
    Variable("SmartChargingCtrlr", "RateUnit", "A,W", "MemberList", values="A,W"),
    Variable("TxCtrlr", "StopTxOnEVSideDisconnect", "true", "boolean"),
    Variable("TxCtrlr", "TxStartPoint", "PowerPathClosed", "MemberList", values="PowerPathClosed"),
    Variable("TxCtrlr", "TxStopPoint", "PowerPathClosed", "MemberList", values="PowerPathClosed"),
)


class Variables:
    """Reads and changes what a station is set to."""

    def __init__(self, station: StationModel) -> None:
        self._station = station

    def all(self, now: int) -> Iterator[Variable]:
        """Every variable there is."""
        station = self._station
        options, settings = station.options, station.settings
        for component, name, option in _FLAGS:
            yield Variable(component, name, _flag(getattr(options, option)), "boolean", option)
        for component, name, option in _NUMBERS:
            yield Variable(component, name, str(getattr(options, option)), "integer", option, unit="s")
        for component, name, option in _LISTS:
            value = ",".join(getattr(options, option))
            yield Variable(component, name, value, "MemberList", option, values=",".join(MEASURANDS))
        yield from _FIXED
        yield Variable("ClockCtrlr", "DateTime", f"{station.moment(now):%Y-%m-%dT%H:%M:%SZ}", "dateTime")
        yield Variable("LocalAuthListCtrlr", "Entries", str(len(station.tokens.local)), "integer")
        yield Variable("SecurityCtrlr", "Identity", station.identity)
        operative = any(connector.is_operative for connector in station.guns)
        faulted = any(connector.fault is not None for connector in station.guns)
        phases = "0" if settings.is_dc else "1"
        yield from _availability("ChargingStation", operative=operative, faulted=faulted, phases=phases)
        yield Variable("ChargingStation", "Model", settings.model)
        yield Variable("ChargingStation", "VendorName", settings.vendor)
        yield Variable("ChargingStation", "SerialNumber", settings.serial_number)
        yield Variable("ChargingStation", "FirmwareVersion", station.firmware_version)
        for connector in station.guns:
            state = station.language.status(connector)
            for component, number in (("EVSE", None), ("Connector", 1)):
                yield from _availability(
                    component,
                    operative=connector.is_operative,
                    faulted=connector.fault is not None,
                    phases=phases,
                    state=state,
                    evse=connector.number,
                    connector=number,
                )
            yield Variable("EVSE", "AllowReset", "false", "boolean", evse=connector.number)
            power = connector.power / 1000
            yield Variable("EVSE", "Power", f"{power:.1f}", "decimal", evse=connector.number, unit="W")
            plug = "cCCS2" if settings.is_dc else "cType2"
            yield Variable("Connector", "ConnectorType", plug, evse=connector.number, connector=1)

    def find(self, component: Any, variable: Any, now: int) -> Variable | str:
        """What a request names; or UnknownComponent, UnknownVariable."""
        of_component = [one for one in self.all(now) if is_of(one, component)]
        if not of_component or component.instance is not None:
            return "UnknownComponent"
        for one in of_component:
            if one.name.lower() == variable.name.lower() and (one.instance or None) == variable.instance:
                return one
        return "UnknownVariable"

    def change(self, variable: Variable, value: str, now: int) -> str:
        """Set one; Accepted or Rejected."""
        option = variable.option
        if option is None:
            return "Rejected"
        try:
            self._station.set_option(option, _READERS[variable.kind](value), now)
        except ValueError:
            return "Rejected"
        return "Accepted"


def is_of(variable: Variable, component: Any) -> bool:
    """Whether it is of the component that a request names; one without EVSE means those of all."""
    if variable.component.lower() != component.name.lower():
        return False
    evse = component.evse
    if evse is None:
        return True
    return variable.evse == evse.id and evse.connector_id in (None, variable.connector)


def _availability(
    component: str,
    *,
    operative: bool,
    faulted: bool,
    phases: str,
    state: str | None = None,
    evse: int | None = None,
    connector: int | None = None,
) -> Iterator[Variable]:
    where = {"evse": evse, "connector": connector}
    state = state or ("Faulted" if faulted else "Available" if operative else "Unavailable")
    states = "Available,Occupied,Reserved,Unavailable,Faulted"
    yield Variable(component, "Available", "true", "boolean", **where)  # type: ignore[arg-type]
    yield Variable(
        component,
        "AvailabilityState",
        state,
        "OptionList",
        values=states,
        summary=True,
        **where,  # type: ignore[arg-type]
    )
    yield Variable(component, "Problem", _flag(faulted), "boolean", summary=True, **where)  # type: ignore[arg-type]
    yield Variable(component, "SupplyPhases", phases, "integer", **where)  # type: ignore[arg-type]


def _flag(flag: bool) -> str:
    return "true" if flag else "false"


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "boolean": read_flag,
    "integer": read_number,
    "MemberList": read_measurands,
}
