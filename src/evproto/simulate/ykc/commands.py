"""What a pile does when the platform tells it something: obeys, or says why not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from evproto.messages import RawTime
from evproto.simulate.ykc.charging import Order, cents
from evproto.simulate.ykc.gun import Gun
from evproto.simulate.ykc.reports import moment
from evproto.wire.frame import Frame
from evproto.ykc.enums import (
    BalanceUpdateResult,
    CardClearReason,
    CardQueryResult,
    CardSyncFailureReason,
    ExecutionControl,
    FailureSuccess,
    GunRole,
    GunStatus,
    PileType,
    RemoteStartFailureReason,
    RemoteStopFailureReason,
    StartSource,
    StopReason,
    UpdatePileType,
    UpdateResult,
    WorkPermission,
)
from evproto.ykc.messages import (
    BalanceUpdateRequest,
    BalanceUpdateResponse,
    BillingModelSettingRequest,
    BillingModelSettingResponse,
    CardClearRequest,
    CardClearResponse,
    CardClearResponseCard,
    CardQueryRequest,
    CardQueryResponse,
    CardQueryResponseCard,
    CardSyncRequest,
    CardSyncResponse,
    ParallelRemoteStartRequest,
    ParallelRemoteStartResponse,
    ParkingLockRequest,
    ParkingLockResponse,
    QrPrefixRequest,
    QrPrefixResponse,
    RealtimeDataRequest,
    RebootRequest,
    RebootResponse,
    RemoteStartRequest,
    RemoteStartResponse,
    RemoteStopRequest,
    RemoteStopResponse,
    TimeSyncRequest,
    TimeSyncResponse,
    UpdateRequest,
    UpdateResponse,
    WorkParametersRequest,
    WorkParametersResponse,
)

if TYPE_CHECKING:
    from evproto.simulate.ykc.pile import PileModel

__all__ = ["Commands"]

PLUG_WITHIN: Final = 60_000
"""Section 8.4: so long after 0x34 a gun plugged in late still starts."""
_PARTNER_WITHIN: Final = 5_000
"""So long a parallel start waits for the order of its other gun."""
_DOWNLOADS_FOR: Final = 20_000
_BOOTS_FOR: Final = 20_000
_LEAST_POWER, _MOST_POWER = 30, 100
_NEVER: Final = 1 << 62
_REASON = RemoteStartFailureReason


class _Parallel(msgspec.Struct):
    """The orders of one parallel start that have come so far."""

    until: int
    frames: list[Frame]


class Commands:
    """The commands of one pile, and those that take their time."""

    def __init__(self, pile: PileModel) -> None:
        self._pile = pile
        self._reboot_at = _NEVER
        self._reboot_when_idle = False
        self._update: Frame | None = None
        self._updated_at = _NEVER
        self._parallel: dict[str, _Parallel] = {}
        self._handlers: dict[type, Callable[[Any, Frame, int], None]] = {
            RealtimeDataRequest: self._realtime_data,
            RemoteStartRequest: self._remote_start,
            RemoteStopRequest: self._remote_stop,
            ParallelRemoteStartRequest: self._parallel_start,
            BalanceUpdateRequest: self._balance,
            CardSyncRequest: self._card_sync,
            CardClearRequest: self._card_clear,
            CardQueryRequest: self._card_query,
            WorkParametersRequest: self._work_parameters,
            TimeSyncRequest: self._time_sync,
            BillingModelSettingRequest: self._billing_model,
            ParkingLockRequest: self._parking_lock,
            RebootRequest: self._reboot,
            UpdateRequest: self._start_update,
            QrPrefixRequest: self._qr_prefix,
        }

    @property
    def is_updating(self) -> bool:
        """Whether firmware is being loaded, or the pile is about to reboot."""
        return self._update is not None or self._reboot_at != _NEVER

    @property
    def deadline(self) -> int:
        """When :meth:`tick` wants to be called next."""
        due = min((group.until for group in self._parallel.values()), default=_NEVER)
        return min(due, self._reboot_at, self._updated_at)

    def receive(self, frame: Frame, now: int) -> None:
        """Obey, or answer with a refusal; what is no command is passed over."""
        handler = self._handlers.get(type(frame.message))
        if handler is not None:
            handler(frame.message, frame, now)

    def disconnected(self) -> None:
        """Orders that wait for others are forgotten; a reboot and an update are not."""
        self._parallel.clear()

    def tick(self, now: int) -> None:
        """Do what is due."""
        for number in [number for number, group in self._parallel.items() if group.until <= now]:
            self._answer_parallel(self._parallel.pop(number), _REASON.DEVICE_FAULT, now)
        if now >= self._updated_at:
            self._finish_update(now)
        idle = not any(gun.is_busy for gun in self._pile.guns)
        if self._update is not None and self._updated_at == _NEVER and idle:
            self._updated_at = now + _DOWNLOADS_FOR
        if self._reboot_when_idle and idle:
            self._reboot_when_idle = False
            self._reboot_at = now
        if now >= self._reboot_at:
            self._reboot_at = _NEVER
            self._pile.power_off(now, _BOOTS_FOR)

    # Real-time data, start and stop

    def _realtime_data(self, message: RealtimeDataRequest, frame: Frame, now: int) -> None:
        gun = self._gun(message)
        if gun is not None:
            self._pile.reply(gun.realtime_data(), frame)
            return
        # There is no such gun; the frame has no other word for it than "offline".
        data = msgspec.structs.replace(
            self._pile.guns[0].realtime_data(), gun_no=message.gun_no, gun_status=GunStatus.OFFLINE
        )
        self._pile.reply(data, frame)

    def _remote_start(self, message: RemoteStartRequest, frame: Frame, now: int) -> None:
        gun = self._gun(message)
        reason = self._pile.refusal(gun)

        def answer(reason: RemoteStartFailureReason) -> None:
            self._pile.reply(
                RemoteStartResponse(
                    transaction_no=message.transaction_no,
                    pile_id=self._pile.pile_id,
                    gun_no=message.gun_no,
                    result=_success(reason is _REASON.NONE),
                    failure_reason=reason,
                ),
                frame,
            )

        answer(reason)
        if gun is None:
            return
        order = _order(message)
        if reason is _REASON.NONE:
            self._pile.start(gun, order, now)
        elif reason is _REASON.GUN_NOT_PLUGGED:
            self._pile.wait_for_plug(gun, order, now + PLUG_WITHIN, lambda: answer(_REASON.NONE))

    def _remote_stop(self, message: RemoteStopRequest, frame: Frame, now: int) -> None:
        gun = self._gun(message)
        reason = RemoteStopFailureReason.NONE
        if gun is None:
            reason = RemoteStopFailureReason.PILE_ID_MISMATCH
        elif not gun.is_charging:
            reason = RemoteStopFailureReason.GUN_NOT_CHARGING
        self._pile.reply(
            RemoteStopResponse(
                pile_id=self._pile.pile_id,
                gun_no=message.gun_no,
                result=_success(reason is RemoteStopFailureReason.NONE),
                failure_reason=reason,
            ),
            frame,
        )
        if gun is not None and reason is RemoteStopFailureReason.NONE:
            gun.stop(StopReason.COMPLETED_APP_REMOTE_STOP, now)

    def _parallel_start(self, message: ParallelRemoteStartRequest, frame: Frame, now: int) -> None:
        group = self._parallel.setdefault(message.parallel_no, _Parallel(now + _PARTNER_WITHIN, []))
        group.frames.append(frame)
        gun = self._gun(message)
        reason = self._pile.refusal(gun)
        if reason is not _REASON.NONE or len(self._pile.guns) < 2:
            # One gun that cannot start keeps the others from it: all answers agree (section 12.4).
            refused = reason if reason is not _REASON.NONE else _REASON.DEVICE_FAULT
            self._answer_parallel(self._parallel.pop(message.parallel_no), refused, now)
        elif len({frame.message.gun_no for frame in group.frames}) > 1:  # type: ignore[union-attr]
            self._answer_parallel(self._parallel.pop(message.parallel_no), _REASON.NONE, now)

    def _answer_parallel(self, group: _Parallel, reason: RemoteStartFailureReason, now: int) -> None:
        if reason is _REASON.NONE and any(
            self._pile.refusal(self._gun(frame.message)) is not _REASON.NONE for frame in group.frames
        ):
            reason = _REASON.DEVICE_FAULT  # one was unplugged meanwhile
        for place, frame in enumerate(group.frames):
            message = frame.message
            assert isinstance(message, ParallelRemoteStartRequest)
            self._pile.reply(
                ParallelRemoteStartResponse(
                    transaction_no=message.transaction_no,
                    pile_id=self._pile.pile_id,
                    gun_no=message.gun_no,
                    result=_success(reason is _REASON.NONE),
                    failure_reason=reason,
                    gun_role=GunRole.MAIN if place == 0 else GunRole.AUXILIARY,
                    parallel_no=message.parallel_no,
                ),
                frame,
            )
        if reason is _REASON.NONE:
            for frame in group.frames:
                gun = self._gun(frame.message)
                if gun is not None and not gun.is_busy:
                    self._pile.start(gun, _order(frame.message), now)

    # Accounts and cards

    def _balance(self, message: BalanceUpdateRequest, frame: Frame, now: int) -> None:
        gun = self._gun(message)
        result = BalanceUpdateResult.SUCCESS
        if gun is None:
            result = BalanceUpdateResult.PILE_ID_ERROR
        elif not gun.is_charging or gun.charge is None:
            result = BalanceUpdateResult.CARD_NO_ERROR  # nobody is charging, with whatever card
        elif any(message.physical_card_no) and message.physical_card_no != gun.charge.order.physical_card_no:
            result = BalanceUpdateResult.CARD_NO_ERROR
        else:
            gun.charge.balance = cents(message.new_balance)
        self._pile.reply(
            BalanceUpdateResponse(
                pile_id=self._pile.pile_id, physical_card_no=message.physical_card_no, result=result
            ),
            frame,
        )

    def _card_sync(self, message: CardSyncRequest, frame: Frame, now: int) -> None:
        pile = self._pile
        reason = CardSyncFailureReason(0)
        new = {card.physical_card_no: card.logical_card_no for card in message.cards}
        if not self._is_addressed(message) or not all(map(any, new)):
            reason = CardSyncFailureReason.CARD_NO_FORMAT_ERROR
        elif len(pile.cards.keys() | new.keys()) > pile.settings.card_storage:
            reason = CardSyncFailureReason.STORAGE_FULL
        else:
            pile.cards.update(new)
        pile.reply(
            CardSyncResponse(pile_id=pile.pile_id, result=_success(reason == 0), failure_reason=reason), frame
        )

    def _card_clear(self, message: CardClearRequest, frame: Frame, now: int) -> None:
        cards = []
        for card in message.cards:
            known = False
            if self._is_addressed(message):
                known = self._pile.cards.pop(card.physical_card_no, None) is not None
            cards.append(
                CardClearResponseCard(
                    physical_card_no=card.physical_card_no,
                    result=_success(known),
                    failure_reason=CardClearReason.CLEARED if known else CardClearReason.CARD_NO_FORMAT_ERROR,
                )
            )
        self._pile.reply(CardClearResponse(pile_id=self._pile.pile_id, cards=tuple(cards)), frame)

    def _card_query(self, message: CardQueryRequest, frame: Frame, now: int) -> None:
        known = self._pile.cards if self._is_addressed(message) else {}
        cards = tuple(
            CardQueryResponseCard(
                physical_card_no=card.physical_card_no,
                result=CardQueryResult.PRESENT if card.physical_card_no in known else CardQueryResult.ABSENT,
            )
            for card in message.cards
        )
        self._pile.reply(CardQueryResponse(pile_id=self._pile.pile_id, cards=cards), frame)

    # Settings

    def _work_parameters(self, message: WorkParametersRequest, frame: Frame, now: int) -> None:
        pile = self._pile
        fine = (
            self._is_addressed(message)
            and message.work_permission.known
            and _LEAST_POWER <= message.max_output_power <= _MOST_POWER
        )
        if fine:
            pile.is_permitted = message.work_permission == WorkPermission.ALLOWED
            pile.power_percent = message.max_output_power
            for gun in pile.guns:
                if gun.charge is not None:
                    gun.charge.max_power = pile.max_power
        pile.reply(WorkParametersResponse(pile_id=pile.pile_id, result=_success(fine)), frame)
        if fine and not pile.is_permitted:
            for gun in pile.guns:
                gun.stop(StopReason.ABORTED_SYSTEM_LOCKOUT, now)

    def _time_sync(self, message: TimeSyncRequest, frame: Frame, now: int) -> None:
        pile = self._pile
        given = message.current_time
        if self._is_addressed(message) and not isinstance(given, RawTime):
            shown = moment(pile.clock, now)
            pile.clock.offset += math.floor((given - shown).total_seconds() * 1000 + 0.5)
        pile.reply(TimeSyncResponse(pile_id=pile.pile_id, current_time=moment(pile.clock, now)), frame)

    def _billing_model(self, message: BillingModelSettingRequest, frame: Frame, now: int) -> None:
        fine = self._is_addressed(message) and self._pile.set_tariff(message)
        self._pile.reply(
            BillingModelSettingResponse(pile_id=self._pile.pile_id, result=_success(fine)), frame
        )

    def _qr_prefix(self, message: QrPrefixRequest, frame: Frame, now: int) -> None:
        fine = self._is_addressed(message)
        if fine:
            self._pile.qr_prefix = message.prefix
        self._pile.reply(QrPrefixResponse(pile_id=self._pile.pile_id, result=0 if fine else 1), frame)

    def _parking_lock(self, message: ParkingLockRequest, frame: Frame, now: int) -> None:
        gun = self._pile.gun(message.gun_no) if self._is_addressed(message) else None
        fine = (
            gun is not None
            and gun.lock is not None
            and gun.lock.obey(message.command, occupied=gun.vehicle is not None)
        )
        self._pile.reply(
            ParkingLockResponse(pile_id=self._pile.pile_id, gun_no=message.gun_no, result=_success(fine)),
            frame,
        )
        if fine and gun is not None:
            gun.report_lock(now)

    # Maintenance

    def _reboot(self, message: RebootRequest, frame: Frame, now: int) -> None:
        fine = self._is_addressed(message) and message.execution_control.known
        self._pile.reply(RebootResponse(pile_id=self._pile.pile_id, result=_success(fine)), frame)
        if fine and message.execution_control == ExecutionControl.IMMEDIATELY:
            self._reboot_at = now
        elif fine:
            self._reboot_when_idle = True
        self.tick(now)

    def _start_update(self, message: UpdateRequest, frame: Frame, now: int) -> None:
        pile = self._pile
        own = UpdatePileType.DC if pile.settings.pile_type is PileType.DC else UpdatePileType.AC
        refusal: UpdateResult | None = None
        if not self._is_addressed(message):
            refusal = UpdateResult.PILE_ID_ERROR
        elif message.pile_type != own or not message.file_path:
            refusal = UpdateResult.FIRMWARE_MODEL_MISMATCH
        elif message.download_timeout * 60_000 < _DOWNLOADS_FOR or not message.server_address:
            refusal = UpdateResult.DOWNLOAD_TIMEOUT
        if refusal is not None:
            pile.reply(UpdateResponse(pile_id=pile.pile_id, result=refusal), frame)
            return
        self._update = frame
        self._updated_at = _NEVER
        if message.execution_control == ExecutionControl.IMMEDIATELY:
            for gun in pile.guns:
                gun.stop(StopReason.ABORTED_SYSTEM_LOCKOUT, now)
        self.tick(now)

    def _finish_update(self, now: int) -> None:
        pile = self._pile
        assert self._update is not None
        pile.reply(UpdateResponse(pile_id=pile.pile_id, result=UpdateResult.SUCCESS), self._update)
        number = int("".join(filter(str.isdigit, pile.firmware_version)) or "0") + 1
        pile.firmware_version = f"V{number // 100}.{number // 10 % 10}.{number % 10}"[:8]
        self._update = None
        self._updated_at = _NEVER
        self._reboot_at = now

    # Inside

    def _is_addressed(self, message: Any) -> bool:
        return bool(message.pile_id == self._pile.pile_id)

    def _gun(self, message: Any) -> Gun | None:
        if not self._is_addressed(message) or not message.gun_no.isdigit():
            return None
        return self._pile.gun(int(message.gun_no))


def _success(fine: bool) -> FailureSuccess:
    return FailureSuccess.SUCCESS if fine else FailureSuccess.FAILURE


def _order(message: Any) -> Order:
    return Order(
        transaction_no=message.transaction_no,
        source=StartSource.APP,
        physical_card_no=message.physical_card_no,
        balance=cents(message.account_balance),
        parallel_no=getattr(message, "parallel_no", None),
    )
