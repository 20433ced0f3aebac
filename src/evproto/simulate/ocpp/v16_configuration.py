"""The configuration keys of a simulated charge point of OCPP 1.6 (section 9)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from evproto.simulate.ocpp.options import read_flag, read_measurands, read_number

if TYPE_CHECKING:
    from evproto.simulate.ocpp.station import StationModel

__all__ = ["Configuration"]

PROFILES: Final = "Core,FirmwareManagement,LocalAuthListManagement,RemoteTrigger,Reservation,SmartCharging"


class _Key(NamedTuple):
    option: str
    """Of :class:`~evproto.simulate.ocpp.options.Options`."""
    read: Callable[[str], Any]
    """Raises ValueError for what is no value."""
    write: Callable[[Any], str]


_NUMBER = (read_number, str)
_FLAG = (read_flag, lambda flag: "true" if flag else "false")
_LIST = (read_measurands, ",".join)

_KEYS: Final = {
    "AllowOfflineTxForUnknownId": _Key("unknown_offline", *_FLAG),
    "AuthorizationCacheEnabled": _Key("cache", *_FLAG),
    "AuthorizeRemoteTxRequests": _Key("authorize_remote", *_FLAG),
    "ClockAlignedDataInterval": _Key("clock_interval", *_NUMBER),
    "ConnectionTimeOut": _Key("connection_timeout", *_NUMBER),
    "HeartbeatInterval": _Key("heartbeat_interval", *_NUMBER),
    "LocalAuthListEnabled": _Key("local_list", *_FLAG),
    "LocalAuthorizeOffline": _Key("local_authorize_offline", *_FLAG),
    "LocalPreAuthorize": _Key("local_preauthorize", *_FLAG),
    "MeterValuesAlignedData": _Key("clock_sampled", *_LIST),
    "MeterValuesSampledData": _Key("sampled", *_LIST),
    "MeterValueSampleInterval": _Key("sample_interval", *_NUMBER),
    "StopTransactionOnInvalidId": _Key("stop_on_invalid", *_FLAG),
    "StopTxnSampledData": _Key("ended", *_LIST),
}
_FIXED: Final = {
    "ChargeProfileMaxStackLevel": "10",
    "ChargingScheduleAllowedChargingRateUnit": "Current,Power",
    "ChargingScheduleMaxPeriods": "100",
    "ConnectorPhaseRotation": "NotApplicable",
    "ConnectorSwitch3to1PhaseSupported": "false",
    "GetConfigurationMaxKeys": "100",
    "LocalAuthListMaxLength": "500",
    "MaxChargingProfilesInstalled": "100",
    "ReserveConnectorZeroSupported": "false",
    "ResetRetries": "1",
    "SendLocalListMaxLength": "500",
    "StopTransactionOnEVSideDisconnect": "true",
    "SupportedFeatureProfiles": PROFILES,
    "TransactionMessageAttempts": "3",
    "TransactionMessageRetryInterval": "60",
    "UnlockConnectorOnEVSideDisconnect": "true",
}


class Configuration:
    """Reads and changes what a charge point is set to."""

    def __init__(self, station: StationModel) -> None:
        self._station = station

    def names(self) -> list[str]:
        """All keys there are."""
        return sorted((*_KEYS, *_FIXED, "NumberOfConnectors"))

    def get(self, name: str) -> tuple[str, bool] | None:
        """Value of a key, and whether it is read-only; None: there is none of that name."""
        key = _KEYS.get(name)
        if key is not None:
            return key.write(getattr(self._station.options, key.option)), False
        if name == "NumberOfConnectors":
            return str(len(self._station.guns)), True
        fixed = _FIXED.get(name)
        return (fixed, True) if fixed is not None else None

    def change(self, name: str, value: str, now: int) -> str:
        """Set a key; Accepted, Rejected or NotSupported."""
        key = _KEYS.get(name)
        if key is None:
            return "Rejected" if self.get(name) is not None else "NotSupported"
        try:
            self._station.set_option(key.option, key.read(value), now)
        except ValueError:
            return "Rejected"
        return "Accepted"
