"""What takes a station a while: uploading a log, and updating its firmware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from evproto.simulate.ocpp.station import StationModel

__all__ = ["update_firmware", "update_signed_firmware", "upload_log"]

_UPLOADS_FOR: Final = 15_000
_DOWNLOADS_FOR: Final = 30_000
_STEP: Final = 1_000


def upload_log(station: StationModel, request_id: int | None, now: int) -> str:
    """Begin to upload a log in the place of one that is being uploaded; its name."""
    job = ["Uploading", request_id]

    def told(status: str) -> None:
        station.log_job = (status, request_id)
        station.language.tell_log(status, request_id)

    def begin(then: int) -> None:
        if current() is job:
            told("Uploading")
            station.after(_UPLOADS_FOR, done, then)

    def done(then: int) -> None:
        if current() is job:
            told("Uploaded")
            station.log_job = None

    def current() -> object:
        return station.jobs.get("log")

    station.jobs["log"] = job
    station.log_job = ("Uploading", request_id)
    station.after(_STEP, begin, now)
    return f"{station.identity}-{station.moment(now):%Y%m%dT%H%M%SZ}.log"


def update_firmware(
    station: StationModel, request_id: int | None, retrieve: int, install: int | None, now: int
) -> None:
    """Begin an update in the place of one that runs; times are the station's ms.

    It is downloaded at ``retrieve`` and installed at ``install``, or when it
    is there; then the station waits until nobody charges, and reboots.
    """
    job = object()
    signed = request_id is not None

    def tell(status: str) -> None:
        station.firmware_job = (status, request_id)
        station.language.tell_firmware(status, request_id)

    def step(delay: int, what: str, then: int) -> None:
        def go(at: int) -> None:
            if station.jobs.get("firmware") is job:
                steps[what](at)

        station.after(delay, go, then)

    def downloading(then: int) -> None:
        tell("Downloading")
        step(_DOWNLOADS_FOR, "downloaded", then)

    def downloaded(then: int) -> None:
        tell("Downloaded")
        if signed:
            tell("SignatureVerified")
        if install is not None and install > then and signed:
            tell("InstallScheduled")
        step(max(_STEP, (install or then) - then), "installing", then)

    def installing(then: int) -> None:
        if any(connector.transaction for connector in station.guns):
            step(_UPLOADS_FOR, "installing", then)
            return
        tell("Installing")
        step(_DOWNLOADS_FOR, "installed", then)

    def installed(then: int) -> None:
        tell("Installed")
        station.jobs.pop("firmware", None)
        station.firmware_job = None
        digits = int("".join(filter(str.isdigit, station.firmware_version)) or "0") + 1
        station.firmware_version = f"{digits // 1000}.{digits // 100 % 10}.{digits % 100}"
        station.after(_STEP, lambda at: station.reboot("FirmwareUpdate"), then)

    steps = {"downloading": downloading, "downloaded": downloaded, "installing": installing,
             "installed": installed}  # fmt: skip
    station.jobs["firmware"] = job
    if signed and retrieve > now:
        tell("DownloadScheduled")
    else:
        station.firmware_job = ("Downloading", request_id)
    step(max(_STEP, retrieve - now), "downloading", now)


def update_signed_firmware(station: StationModel, request: Any, now: int) -> bool:
    """Begin the update that a request with signed firmware asks for; whether another one ends by it."""
    firmware = request.firmware
    cancelled = station.firmware_job is not None
    install = firmware.install_date_time
    update_firmware(
        station,
        request.request_id,
        station.here(firmware.retrieve_date_time),
        station.here(install) if install is not None else None,
        now,
    )
    return cancelled
