"""What is hidden of OCPP does not come out anywhere, in any form, of any version, right frames or wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from cli.shell import ROOT, run

SPECS = {"ocpp1.6": "ocpp/v16", "ocpp2.0.1": "ocpp/v201", "ocpp2.1": "ocpp/v21", "ntxcp": "ntxcp/v10"}
# Written down by hand from the documents, not taken from the table under test.
SECRET = {
    "idTag",
    "parentIdTag",
    "idToken",
    "idTokens",
    "additionalIdToken",
    "customerIdentifier",
    "prioritizedEMAIDs",
    "certificate",
    "certificateChain",
    "signingCertificate",
    "csr",
    "exiRequest",
    "exiResponse",
    "ocspResult",
    "issuerNameHash",
    "issuerKeyHash",
    "password",
    "basicAuthPassword",
    "apn",
    "apnUserName",
    "apnPassword",
    "user",
    "vatNumber",
    "signedMeterData",
    "pspRef",
}
SECRET_IN = {
    ("VPNType", "key"),
    ("AddressType", "name"),
    ("AddressType", "address1"),
    ("DataTransfer", "data"),
}
FORMS = (
    ["decode"],
    ["decode", "--explain", "--check"],
    ["decode", "--brief"],
    ["decode", "--format", "jsonl", "--check"],
    ["decode", "--format", "json"],
    ["validate"],
    ["validate", "--format", "json"],
)


class Maker:
    """Payloads with every member, whose secrets can be recognised."""

    def __init__(self, protocol: str) -> None:
        folder = ROOT / "specs" / SPECS[protocol]
        self.types = json.loads((folder / "types.json").read_text())["definitions"]
        files = sorted((folder / "actions").glob("*.json"))
        self.actions = {file.stem: json.loads(file.read_text()) for file in files}
        self.secrets: list[str] = []
        self._numbers = count(1)

    def make(self, schema: dict[str, Any], of: str, member: str = "", depth: int = 0) -> Any:
        if "$ref" in schema:
            of = schema["$ref"].rpartition("/")[2]
            schema = self.types[of]
        if "enum" in schema:
            return schema["enum"][0]
        kind = schema.get("type", "string")
        kind = kind if isinstance(kind, str) else kind[0]
        if kind == "object":
            required = schema.get("required", [])
            return {
                name: self.make(inner, of, name, depth + 1)
                for name, inner in schema.get("properties", {}).items()
                if depth < 7 or name in required
            }
        if kind == "array":
            return [
                self.make(schema["items"], of, member, depth + 1) for _ in range(schema.get("minItems", 1))
            ]
        if kind == "integer":
            return int(schema.get("minimum", 1))
        if kind == "number":
            return schema.get("minimum", 1.5)
        if kind == "boolean":
            return True
        if schema.get("format") == "date-time":
            return "2026-11-20T10:00:00Z"
        if schema.get("format") == "uri":
            return "https://192.0.2.1/x"
        if member in SECRET or (of, member) in SECRET_IN:
            return self.secret(schema.get("maxLength", 40))
        return "x"

    def secret(self, most: int = 20) -> str:
        text = f"Q{next(self._numbers):05}ZW"[: max(most, 8)]
        self.secrets.append(text)
        return text

    def requests(self) -> Iterator[tuple[str, int, Any, Any]]:
        for name, spec in self.actions.items():
            kind = 2 if spec.get("response") else 6
            response = spec.get("response")
            yield (
                name,
                kind,
                self.make(spec["request"], name),
                self.make(response, name) if response else None,
            )


def dumped(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def leaks(out: str, secrets: list[str]) -> list[str]:
    return [secret for secret in secrets if secret.lower() in out.lower()]


def log_of(maker: Maker) -> list[str]:
    """Every action: right, and with its faults."""
    lines = []
    before = 0
    for number, (action, kind, request, response) in enumerate(maker.requests()):
        call = dumped([kind, f"m{number}", action, request])
        lines.append(f"10:00:00 CP-01 -> {call} (ok)")
        escaped = json.dumps({"cp": "CP-01", "msg": call, "card": maker.secret()})
        lines.append(escaped)
        if response is not None:
            answer = dumped([3, f"m{number}", response])
            lines.append(f"10:00:01 CP-01 <- {answer}")
        if len(maker.secrets) == before + 1:
            before += 1
            continue  # nothing to hide in it
        if response is not None:
            lines.append(f"10:00:01 CP-01 <- {dumped([3, f'nobody{number}', response])}")
            lines.append(
                f"10:00:01 CP-01 <- {dumped([3, f'm{number}', {**response, 'fan': maker.secret()}])}"
            )
            lines.append(f"10:00:01 CP-01 <- {answer[: len(answer) * 3 // 4]}")
        lines.append(f"10:00:02 CP-01 -> {call[: len(call) * 3 // 4]}")
        lines.append(f"10:00:02 CP-01 -> {call[:-2]}")
        lines.append(
            f"10:00:02 CP-01 -> {dumped([kind, f'e{number}', action, {**request, 'surprise': maker.secret()}])}"
        )
        lines.append(f"10:00:02 CP-01 -> {dumped([kind, f'u{number}', 'MakeCoffee', request])}")
        lines.append(f"10:00:02 CP-01 -> {dumped([kind, f'l{number}', action, [request]])}")
        lines.append(f"10:00:02 CP-01 -> {dumped([kind, f't{number}', action, request, request])}")
        lines.append(f"10:00:02 CP-01 -> {dumped([9, f'k{number}', action, request])}")
        lines.append(f"10:00:02 CP-01 -> {call.replace(':', '=', 1)}")
        for secret in maker.secrets[before : before + 2]:
            lines.append(f'{{"who":"{secret}","msg":{call}}}')
            error = [4, f"m{number}", "GenericError", f"bad {secret}", {"seen": secret, "x": [secret]}]
            lines.append(f"10:00:03 CP-01 <- {dumped(error)} {secret}")
        before = len(maker.secrets)
    return lines


@pytest.mark.parametrize("protocol", SPECS)
def test_nothing_leaks(protocol: str) -> None:
    maker = Maker(protocol)
    data = "\n".join(log_of(maker)).encode()
    assert len(maker.secrets) > (15 if protocol == "ntxcp" else 80)
    for form in FORMS:
        arguments = [*form, "--protocol", protocol, "-"]
        result = run(*arguments, "--redact", stdin=data)
        assert not leaks(result.out + result.err, maker.secrets), form
        assert result.out.count("\n") > 10
        if form == ["decode", "--format", "jsonl", "--check"]:
            items = [json.loads(line) for line in result.out.splitlines()]
            assert all(item["redacted"] for item in items if "note" not in item)
            # The test could not fail if nothing were there to hide.
            plain = run(*arguments, stdin=data)
            assert set(leaks(plain.out, maker.secrets)) == set(maker.secrets)


def hidden(*lines: str, protocol: str = "ocpp1.6", form: tuple[str, ...] = ("--format", "jsonl")) -> str:
    return run("decode", "--protocol", protocol, "--redact", *form, stdin="\n".join(lines).encode()).out


def test_names_words_and_numbers_that_are_nobodys_stay() -> None:
    out = hidden(
        'CP1 -> [2,"1","StartTransaction",{"connectorId":7,"idTag":"04A1B2C3","meterStart":1204,'
        '"timestamp":"2026-11-20T10:00:00Z"}]'
    )
    assert (
        '"payload":{"connectorId":7,"idTag":"***","meterStart":1204,"timestamp":"2026-11-20T10:00:00Z"}'
        in out
    )
    out = hidden(
        '[2,"1","Authorize",{"idToken":{"idToken":"04A1B2C3","type":"ISO14443"}}]', protocol="ocpp2.0.1"
    )
    assert '"idToken":{"idToken":"***","type":"ISO14443"}' in out


@pytest.mark.parametrize("form", [(), ("--format", "jsonl"), ("--explain",)], ids=str)
def test_a_hidden_value_is_hidden_all_over_the_line_and_in_later_ones(form: tuple[str, ...]) -> None:
    out = hidden(
        'card 04A1B2C3D4 at CP1 -> [2,"04a1b2c3d4-1","StatusNotification",{"connectorId":1,"errorCode":"NoError",'
        '"status":"Available","info":"04A1B2C3D4 seen"}] 04A1B2C3D4',
        'CP1 -> [2,"1","Authorize",{"idTag":"04A1B2C3D4"}] user=04A1B2C3D4',
        'CP1 -> [2,"2","StatusNotification",{"connectorId":1,"errorCode":"NoError","status":"Available",'
        '"info":"04A1B2C3D4 seen"}] for 04a1b2c3d4',
        'CP1 <- [3,"1",{"idTagInfo":{"status":"Accepted"}}] 04A1B2C3D4 may charge',
        form=form,
    )
    # Before it was ever hidden nobody knows it for a tag; from then on it is.
    later = out[out.index("Authorize") :]
    assert "04a1b2c3d4" not in later.lower()
    assert "may charge" in later or "***" in later


@pytest.mark.parametrize(
    ("protocol", "frame"),
    [
        ("ocpp1.6", '[2,"1","ChangeConfiguration",{"key":"AuthorizationKey","value":"SECRET99"}]'),
        ("ocpp1.6", '[2,"1","ChangeConfiguration",{"key":"acmeWifiPassword","value":"SECRET99"}]'),
        ("ocpp1.6", '[2,"1","UpdateFirmware",{"location":"ftp://u:SECRET99@192.0.2.1/f","retrieveDate":"2026-11-20T10:00:00Z"}]'),
        (
            "ocpp1.6",
            ('[2,"1","MeterValues",{"connectorId":1,"meterValue":[{"timestamp":"2026-11-20T10:00:00Z","sampledValue":'
            '[{"value":"OCMF|{\\"ID\\":\\"SECRET99\\"}","format":"SignedData"}]}]}]'),
        ),
        ("ocpp1.6", '[2,"1","Authorize",{"idTag":{"x":"SECRET99"},"idTag":"SECRET99SECRET99SECRET99"}]'),
        ("ocpp1.6", '[2,"1","Authorize",{"idtag":"SECRET99"}]'),
        ("ocpp1.6", '[2,"1","Authorize",{"SECRET99":1}]'),
        ("ocpp1.6", '[2,"1","SECRET99",{}]'),
        ("ocpp1.6", '[2,"1",["SECRET99"],{}]'),
        ("ocpp1.6", '[2,{"SECRET99":"SECRET99"},"Authorize",{}]'),
        ("ocpp1.6", '[2,"1","BootNotification",{"chargePointVendor":{"a":"SECRET99"},"chargePointModel":["SECRET99"]}]'),
        ("ocpp1.6", '[2,"1","Authorize",{"idTag":SECRET99}]'),
        ("ocpp1.6", '[2,"1","Authorize",{"idTag:"SECRET99"}]'),
        ("ocpp1.6", '[2,"1","Authorize",{"idTag":"SECRET99'),
        ("ocpp1.6", '[2,"1","Authorize",{"idTag":' + "[" * 3000 + '"SECRET99"' + "]" * 3000 + "}]"),
        ("ocpp1.6", '[2,"1","Authorize",{"idTag":' + "[" * 400 + '"SECRET99"' + "]" * 400 + "}]"),
        ("ocpp1.6", '[4,"1","SECRET99","SECRET99",{"SECRET99":"SECRET99"}]'),
        ("ocpp1.6", '[3,"1",{"idTagInfo":{"status":"SECRET99","parentIdTag":"SECRET99"},"x":"SECRET99"}]'),
        (
            "ocpp2.0.1",
            ('[2,"1","SetVariables",{"setVariableData":[{"attributeValue":"SECRET99","component":{"name":"SecurityCtrlr"},'
            '"variable":{"name":"BasicAuthPassword"}}]}]'),
        ),
        (
            "ocpp2.0.1",
            ('[2,"1","NotifyReport",{"requestId":1,"generatedAt":"2026-11-20T10:00:00Z","seqNo":0,"reportData":[{'
            '"component":{"name":"NetworkConfiguration"},"variable":{"name":"VpnKey"},"variableAttribute":[{"value":'
            '"SECRET99"}]}]}]'),
        ),
        ("ocpp2.0.1", '[2,"1","Heartbeat",{"customData":{"vendorId":"acme","vin":"SECRET99","info":["SECRET99"]}}]'),
    ],
)  # fmt: skip
def test_where_secrets_hide(protocol: str, frame: str) -> None:
    for form in ((), ("--explain", "--check"), ("--brief",), ("--format", "jsonl", "--check")):
        for line in (f"SECRET99 -> {frame} by SECRET99", json.dumps({"m": frame, "password": "SECRET99"})):
            out = hidden(line, protocol=protocol, form=form)
            assert out
            assert "SECRET99" not in out


@pytest.mark.parametrize(
    "context",
    [
        "idTag=Z9Y8X7W6 ",
        '{"idTag":"Z9Y8X7W6","m":',
        "Authorization: Basic Z9Y8X7W6== ",
        "password: Z9Y8X7W6, ",
        "wss://cp1:Z9Y8X7W6@csms.example/ocpp/CP1 ",
        "id_token='Z9Y8X7W6' ",
        "-----BEGIN CERTIFICATE-----\\nMIIZ9Y8X7W6\\n",
    ],
)
def test_what_calls_itself_a_secret_around_a_frame(context: str) -> None:
    for form in ((), ("--format", "jsonl")):
        out = hidden(f'{context}[2,"1","Heartbeat",{{}}]', form=form)
        assert "Heartbeat" in out
        assert "Z9Y8X7W6" not in out


def test_the_samples_hide_what_they_hold() -> None:
    for name in ("ocpp16.log", "ocpp201.log", "ocpp_damaged.log"):
        text = (ROOT / "samples" / name).read_text()
        words = set(re.findall(r"04A1B2\w+|FLEET-\w+|correct-horse\S*?(?=\")|MII\w+", text))
        assert words
        for form in FORMS:
            result = run(*form, f"samples/{name}", "--redact")
            assert not leaks(result.out + result.err, sorted(words)), (name, form)
