"""What a gun reports: its state, the frames of the battery, the bill.

Functions from the state of a session to messages. The frames 0x15 to 0x25
carry what GB/T 27930 exchanges between charger and battery; AC piles have none.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from evproto.messages import BEIJING
from evproto.simulate.charging import Clock
from evproto.simulate.ykc.charging import Charge
from evproto.ykc.enums import (
    AbnormalFlag,
    BatteryOwnership,
    ChargeMode,
    ChargePermission,
    HighLowFlag,
    OvercurrentFlag,
    OvertemperatureFlag,
    StopFlag,
    StopReason,
    TariffRate,
    TimeoutFlag,
)
from evproto.ykc.messages import (
    BmsDemandAndChargerOutput,
    BmsDemandAndChargerOutputMaxCellVoltageAndGroup,
    BmsHandshake,
    BmsInformation,
    BmsInformationStatus1,
    BmsInformationStatus2,
    BmsParameterConfig,
    BmsStop,
    BmsStopErrorReason,
    BmsStopFaultReason,
    BmsStopStopReason,
    ChargerStop,
    ChargerStopErrorReason,
    ChargerStopFaultReason,
    ChargerStopStopReason,
    ChargingEnd,
    ChargingError,
    ChargingErrorBem1,
    ChargingErrorBem2,
    ChargingErrorBem3,
    ChargingErrorBem4,
    ChargingErrorCem1,
    ChargingErrorCem2,
    ChargingErrorCem3,
    ChargingErrorCem4,
    TransactionRecord,
    TransactionRecordV17,
)

__all__ = [
    "bms_information",
    "bms_stop",
    "charger_stop",
    "charging_end",
    "charging_error",
    "demand_and_output",
    "handshake",
    "moment",
    "parameter_config",
    "transaction_record",
]

_LONGEST: Final = 600
"""Minutes; the fields of GB/T 27930 end here."""
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=BEIJING)
_CELL_SPREAD: Final = 0.01
_POINT_SPREAD: Final = 3
"""degC between the warmest and the coldest point of a pack."""
_EMERGENCIES: Final = {
    StopReason.ABORTED_EMERGENCY_STOP: "emergency_stop",
    StopReason.ABORTED_TEMPERATURE_ABNORMAL: "charger_overtemperature",
    StopReason.ABORTED_CONTROL_PILOT_DISCONNECTED: "charging_connector_fault",
    StopReason.ABORTED_CHARGING_MODULE_FAULT: "energy_transfer_failure",
}

Ids = dict[str, Any]
"""``transaction_no``, ``pile_id`` and ``gun_no``, with which all these frames begin."""


def moment(clock: Clock, now: int) -> dt.datetime:
    """A moment on the pile's own clock."""
    return _EPOCH + dt.timedelta(milliseconds=clock.local(now))


def handshake(ids: Ids, charge: Charge) -> BmsHandshake:
    """0x15: what the battery says it is."""
    vehicle, model = charge.vehicle, charge.vehicle.model
    year, month, day = vehicle.production
    return BmsHandshake(
        **ids,
        bms_protocol_version=b"\x01\x01\x00",
        battery_type=model.battery_type,
        rated_capacity=round(model.capacity, 1),
        rated_voltage=model.rated_voltage,
        battery_manufacturer=model.manufacturer,
        battery_pack_no=vehicle.battery_pack_no,
        production_year=year,
        production_month=month,
        production_day=day,
        charge_count=vehicle.charge_count,
        battery_ownership=BatteryOwnership.OWNED,
        vin=vehicle.vin,
        bms_software_version=bytes((0x10, day, month)) + year.to_bytes(2, "big") + b"\xff\xff\xff",
    )


def parameter_config(
    ids: Ids, charge: Charge, *, min_voltage: int, max_voltage: int, max_current: int, sign: int
) -> BmsParameterConfig:
    """0x17: what the battery takes and what the pile gives; voltages and currents in 0.1 V and 0.1 A."""
    model, battery = charge.vehicle.model, charge.vehicle.battery
    return BmsParameterConfig(
        **ids,
        max_allowed_cell_voltage=model.cell_limit,
        max_allowed_charge_current=sign * round(model.max_current, 1),
        nominal_energy=model.energy,
        max_allowed_total_voltage=model.max_voltage,
        max_allowed_temperature=55,
        soc=round(battery.soc * 100, 1),
        battery_voltage=round(battery.rest_voltage, 1),
        pile_max_voltage=max_voltage / 10,
        pile_min_voltage=min_voltage / 10,
        pile_max_current=sign * max_current / 10,
        pile_min_current=0.0,
    )


def demand_and_output(ids: Ids, charge: Charge, *, sign: int) -> BmsDemandAndChargerOutput:
    """0x23: what the battery wants and what it gets."""
    battery = charge.vehicle.battery
    model = battery.model
    cell = round(charge.voltage / 10 / model.cells + _CELL_SPREAD, 2)
    current = sign * charge.current / 10
    return BmsDemandAndChargerOutput(
        **ids,
        demand_voltage=model.max_voltage,
        demand_current=sign * charge.demand_current / 10,
        charge_mode=ChargeMode.CONSTANT_VOLTAGE if charge.is_voltage_limited else ChargeMode.CONSTANT_CURRENT,
        measured_voltage=charge.voltage / 10,
        measured_current=current,
        max_cell_voltage_and_group=BmsDemandAndChargerOutputMaxCellVoltageAndGroup(
            max_cell_voltage=cell, max_cell_voltage_group=charge.minutes % 12
        ),
        soc=int(battery.soc * 100),
        remaining_time=charge.minutes_left,
        pile_output_voltage=charge.voltage / 10,
        pile_output_current=current,
        charging_time=min(_LONGEST, charge.minutes),
    )


def bms_information(ids: Ids, charge: Charge) -> BmsInformation:
    """0x25: how the battery is."""
    warmest = round(charge.vehicle.battery.temperature)
    return BmsInformation(
        **ids,
        max_voltage_cell_no=1 + charge.minutes * 7 % charge.vehicle.model.cells,
        max_battery_temperature=warmest,
        max_temperature_point_no=1 + charge.minutes % 16,
        min_battery_temperature=warmest - _POINT_SPREAD,
        min_temperature_point_no=17,
        status_1=BmsInformationStatus1(
            cell_voltage_state=HighLowFlag.NORMAL,
            soc_state=HighLowFlag.NORMAL,
            charge_current_state=OvercurrentFlag.NORMAL,
            temperature_state=OvertemperatureFlag.NORMAL,
        ),
        status_2=BmsInformationStatus2(
            insulation_state=AbnormalFlag.NORMAL,
            output_connector_state=AbnormalFlag.NORMAL,
            charge_permission=ChargePermission.ALLOWED,
        ),
    )


def bms_stop(ids: Ids, charge: Charge) -> BmsStop:
    """0x1D: the battery's side of the end, whoever began it."""
    full = charge.stop_reason is StopReason.COMPLETED_SOC_FULL
    faults = dict.fromkeys(BmsStopFaultReason.__struct_fields__, StopFlag.NORMAL)
    return BmsStop(
        **ids,
        stop_reason=BmsStopStopReason(
            soc_target_reached=_flag(full),
            total_voltage_reached=StopFlag.NORMAL,
            cell_voltage_reached=StopFlag.NORMAL,
            charger_stopped=_flag(not full),
        ),
        fault_reason=BmsStopFaultReason(**faults),
        error_reason=BmsStopErrorReason(current_too_high=StopFlag.NORMAL, voltage_abnormal=StopFlag.NORMAL),
    )


def charger_stop(ids: Ids, charge: Charge) -> ChargerStop:
    """0x21: the charger's side of the end, whoever began it."""
    reason = charge.stop_reason or StopReason.STOPPED_UNKNOWN_REASON
    full = reason is StopReason.COMPLETED_SOC_FULL
    by_hand = reason in (StopReason.COMPLETED_MANUAL_STOP, StopReason.COMPLETED_APP_REMOTE_STOP)
    # Money that has run out is a limit that was set, whatever the table calls it.
    by_limit = StopReason.COMPLETED_ENERGY_LIMIT <= reason <= StopReason.COMPLETED_TIME_LIMIT or (
        reason is StopReason.ABORTED_INSUFFICIENT_BALANCE
    )
    faults: dict[str, Any] = dict.fromkeys(
        (name for name in ChargerStopFaultReason.__struct_fields__ if name != "reserved"), StopFlag.NORMAL
    )
    abnormal = not (full or by_hand or by_limit)
    if abnormal:
        faults[_EMERGENCIES.get(reason, "other_fault")] = StopFlag.OCCURRED
    return ChargerStop(
        **ids,
        stop_reason=ChargerStopStopReason(
            set_condition_reached=_flag(by_limit),
            manual_stop=_flag(by_hand),
            abnormal_stop=_flag(abnormal),
            bms_stopped=_flag(full),
        ),
        fault_reason=ChargerStopFaultReason(**faults),
        error_reason=ChargerStopErrorReason(
            current_mismatch=StopFlag.NORMAL, voltage_abnormal=StopFlag.NORMAL
        ),
    )


def charging_end(ids: Ids, charge: Charge, charger_no: int) -> ChargingEnd:
    """0x19: the statistics of battery and charger."""
    battery = charge.vehicle.battery
    cell = battery.rest_voltage / battery.model.cells
    warmest = round(battery.temperature)
    return ChargingEnd(
        **ids,
        end_soc=int(battery.soc * 100),
        min_cell_voltage=round(cell - _CELL_SPREAD, 2),
        max_cell_voltage=round(cell + _CELL_SPREAD, 2),
        min_battery_temperature=warmest - _POINT_SPREAD,
        max_battery_temperature=warmest,
        charging_time=min(_LONGEST, charge.minutes),
        output_energy=(charge.bill.energy() + 500) // 1000 / 10,
        charger_no=charger_no,
    )


def charging_error(ids: Ids, reason: StopReason) -> ChargingError:
    """0x1B: the handshake failed; which message of the battery did not come follows from ``reason``."""
    normal = TimeoutFlag.NORMAL

    def late(*reasons: StopReason) -> TimeoutFlag:
        return TimeoutFlag.TIMEOUT if reason in reasons else normal

    return ChargingError(
        **ids,
        bem_1=ChargingErrorBem1(charger_recognition_00_timeout=normal, charger_recognition_aa_timeout=normal),
        bem_2=ChargingErrorBem2(time_sync_and_max_output_timeout=normal, charger_ready_timeout=normal),
        bem_3=ChargingErrorBem3(charger_status_timeout=normal, charger_stop_timeout=normal),
        bem_4=ChargingErrorBem4(charger_statistics_timeout=normal, bms_other=0),
        cem_1=ChargingErrorCem1(
            bms_recognition_timeout=late(
                StopReason.START_FAILED_BRM_TIMEOUT, StopReason.START_FAILED_BHM_TIMEOUT
            )
        ),
        cem_2=ChargingErrorCem2(
            battery_parameters_timeout=late(StopReason.START_FAILED_BCP_TIMEOUT),
            bms_ready_timeout=late(StopReason.START_FAILED_BRO_AA_TIMEOUT),
        ),
        cem_3=ChargingErrorCem3(
            battery_charge_status_timeout=late(StopReason.START_FAILED_BCS_TIMEOUT),
            battery_charge_demand_timeout=late(StopReason.START_FAILED_BCL_TIMEOUT),
            bms_stop_timeout=normal,
        ),
        cem_4=ChargingErrorCem4(bms_statistics_timeout=normal, charger_other=0),
    )


def transaction_record(
    ids: Ids, charge: Charge, clock: Clock, *, version: str, meter_no: str
) -> TransactionRecord | TransactionRecordV17:
    """0x3B, or 0x3D in V1.7: the bill of a session that has ended."""
    assert charge.ended is not None
    bill = charge.bill
    tiers: dict[str, float] = {}
    for rate in TariffRate:
        name = rate.name.lower()
        tiers[f"{name}_price"] = bill.prices[rate] / 100_000
        tiers[f"{name}_energy"] = bill.energy(rate) / 10_000
        tiers[f"{name}_energy_with_loss"] = bill.energy_with_loss(rate) / 10_000
        tiers[f"{name}_amount"] = bill.amount(rate) / 10_000
    # Reckoned back from one clock, so that a clock set meanwhile does not turn them round.
    ended = moment(clock, charge.ended)
    fields: dict[str, Any] = {
        **ids,
        "start_time": moment(clock, charge.started),
        "end_time": ended,
        **tiers,
        "meter_start": bill.meter_start / 10_000,
        "meter_end": charge.meter_end / 10_000,
        "total_energy": bill.energy() / 10_000,
        "total_energy_with_loss": bill.energy_with_loss() / 10_000,
        "total_amount": bill.amount() / 10_000,
        "vin": charge.vehicle.vin if charge.knows_vin else "",
        "start_source": charge.order.source,
        "transaction_time": ended,
        "stop_reason": charge.stop_reason,
        "physical_card_no": charge.order.physical_card_no,
    }
    if version < "1.7":
        return TransactionRecord(**fields)
    return TransactionRecordV17(
        **fields,
        meter_no=meter_no,
        meter_ciphertext=bytes(34),
        meter_protocol_version=0,
        meter_encryption_method=0,
    )


def _flag(occurred: bool) -> StopFlag:
    return StopFlag.OCCURRED if occurred else StopFlag.NORMAL
