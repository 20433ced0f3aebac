"""Settings: where they come from, which one decides, and what is said when they are wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cli.shell import run

from evproto.cli.app import main
from evproto.cli.seed_options import modernized
from evproto.gateway.config import (
    Config,
    ConfigError,
    Layer,
    describe,
    environment_layer,
    file_layer,
    is_public,
    load,
    settings,
)


def of(**values: Any) -> Config:
    return load(
        Layer({name.replace("__", ".").replace("_", "-"): value for name, value in values.items()}, {})
    )


def problems(*layers: Layer) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(*layers)
    return caught.value.problems


def write(folder: Path, text: str) -> Path:
    file = folder / "evproto.toml"
    file.write_text(text)
    return file


def test_the_command_line_decides_then_the_environment_then_the_file(tmp_path: Path) -> None:
    file = file_layer(
        write(tmp_path, "[ykc]\ntcp-port = 1\nauto-login = false\n[http]\nport = 11\n[log]\nlevel = 'debug'")
    )
    environment = environment_layer({"EVPROTO_YKC_TCP_PORT": "2", "EVPROTO_HTTP_PORT": "12"})
    line = Layer({"ykc.tcp-port": "3"}, {"ykc.tcp-port": "--tcp-port"})
    config = load(line, environment, file)
    assert config.ykc.tcp_port == 3
    assert config.http.port == 12
    assert config.log.level == "debug"
    assert config.ykc.auto_login is False
    assert config.ykc.auto_heartbeat is True


def test_the_defaults_are_those_of_a_server_that_stands_alone() -> None:
    config = load()
    assert (config.ykc.tcp_port, config.http.port, config.http.host) == (27600, 9556, "127.0.0.1")
    ykc = config.ykc
    assert (ykc.auto_login, ykc.auto_heartbeat, ykc.auto_billing_model, ykc.auto_record_confirm) == (
        True,
    ) * 4


def test_drop_in_mode_has_the_defaults_of_ykc_proxy_server() -> None:
    ykc = of(drop_in__enabled=True).ykc
    assert (ykc.auto_login, ykc.auto_heartbeat, ykc.auto_billing_model, ykc.auto_record_confirm) == (
        False,
        True,
        False,
        False,
    )
    assert of(drop_in__enabled=True, ykc__auto_login=True).ykc.auto_login is True


def test_jetstream_is_left_out_only_where_the_back_end_confirms_records() -> None:
    assert of().forward.jetstream is True
    assert of(drop_in__enabled=True).forward.jetstream is False
    assert of(drop_in__enabled=True, ykc__auto_record_confirm=True).forward.jetstream is True


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("EVPROTO_YKC_TCP_PORT", "many", "EVPROTO_YKC_TCP_PORT: 'many' is no whole number"),
        ("EVPROTO_YKC_TCP_PORT", "70000", "EVPROTO_YKC_TCP_PORT: 70000 does not fit: expected `int` <= 65535"),
        ("EVPROTO_YKC_AUTO_LOGIN", "maybe", "EVPROTO_YKC_AUTO_LOGIN: 'maybe' is not true or false"),
        ("EVPROTO_YKC_CONFIRM", "stord", "EVPROTO_YKC_CONFIRM: 'stord' is not one of stored, delivered; did you mean 'stored'?"),
        ("EVPROTO_YKC_TCPPORT", "1", "EVPROTO_YKC_TCPPORT: there is no such variable; did you mean EVPROTO_YKC_TCP_PORT?"),
        ("EVPROTO_YKC_ALLOW", "123", "EVPROTO_YKC_ALLOW: '123' is no pile number; it has 14 digits"),
        ("EVPROTO_SERVER_DRAIN_TIMEOUT", "0", "EVPROTO_SERVER_DRAIN_TIMEOUT: 0.0 does not fit: expected `float` > 0.0"),
        ("EVPROTO_DROP_IN_TRUSTED", "here", "EVPROTO_DROP_IN_TRUSTED: 'here' is no network; write 10.0.0.0/8 or 192.0.2.7"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_named(variable: str, text: str, said: str) -> None:
    assert problems(environment_layer({variable: text})) == (said,)


def test_a_token_that_is_too_short_is_not_repeated() -> None:
    (said,) = problems(environment_layer({"EVPROTO_HTTP_TOKEN": "sesame"}))
    assert said.startswith("EVPROTO_HTTP_TOKEN: the value does not fit")
    assert "sesame" not in said


def test_variables_of_others_are_noticed_and_no_more() -> None:
    layer = environment_layer(
        {"EVPROTO_SERVICE_HOST": "10.0.0.1", "EVPROTO_PURE": "1", "EVPROTO_YKC_HOST": "", "PATH": "/"}
    )
    assert layer.notices == ("the environment variable EVPROTO_SERVICE_HOST means nothing to evproto",)
    assert load(layer) == load()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ykc]\ntcp-prot = 1", "[ykc] has no setting 'tcp-prot'; did you mean 'tcp-port'?"),
        ("[ykc]\ntcp_port = 1", "[ykc] has no setting 'tcp_port'; did you mean 'tcp-port'?"),
        ("[ycc]\ntcp-port = 1", "there is no section [ycc]; did you mean 'ykc'?"),
        ("ykc = 1", "ykc is a section: write [ykc] and its settings below"),
        ("[ykc]\ntcp-port = true", "ykc.tcp-port: true is not what is expected: port that piles connect to; 0: any free one"),
        ("[ykc]\ntcp-port = '1'", None),
        ("[ykc]\nallow = [1]", "ykc.allow: [1] does not fit: expected `str`, got `int` - at `$[0]`"),
        ("[ykc]\ntls-cert = 'nowhere.pem'\ntls-key = 'nowhere.pem'", "ykc.tls-cert: there is no file {folder}/nowhere.pem"),
        ("[[http.tokens]]\nname = 'a'\nsha256 = 'b'", "http.tokens: the value does not fit: expected `str` matching regex '^[0-9a-fA-F]{{64}}$' - at `$[0].sha256`"),
        ("[ykc", "this is no TOML: Expected ']' at the end of a table declaration (at end of document)"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_named(text: str, said: str | None, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    if said is None:
        assert load(file_layer(file)).ykc.tcp_port == 1
        return
    with pytest.raises(ConfigError) as caught:
        load(file_layer(file))
    assert caught.value.problems[0] == f"{file}: {said.format(folder=tmp_path)}"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file or directory"):
        file_layer(tmp_path / "nowhere.toml")


def test_paths_in_a_file_are_meant_from_where_it_is(tmp_path: Path) -> None:
    config = load(file_layer(write(tmp_path, "[outbox]\ndata = 'var'")))
    assert config.outbox.data == tmp_path / "var"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"forward__to": "http"}, "forward.to: forwarding to http needs servers: set forward.servers (--servers)"),
        ({"forward__servers": "http://a"}, "forward.servers: nothing is forwarded unless forward.to (--forward) is http or nats"),
        ({"forward__to": "http", "forward__servers": "127.0.0.1:8080/x"}, "forward.servers: '127.0.0.1:8080/x' is no URL; write http://127.0.0.1:8080/x"),
        ({"forward__to": "nats", "forward__servers": "http://a"}, "forward.servers: 'http://a' is no URL; write nats://a"),
        ({"ykc__confirm": "delivered"}, "ykc.confirm: records can be confirmed when they are delivered only if they are forwarded: set forward.to"),
        ({"http__host": "0.0.0.0"}, "http.host: 0.0.0.0 can be reached from other machines, and no token is set. Make one with 'evproto serve token', or listen on 127.0.0.1"),
        ({"http__host": "gateway.example"}, "http.host: gateway.example can be reached from other machines, and no token is set. Make one with 'evproto serve token', or listen on 127.0.0.1"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(values: dict[str, Any], said: str) -> None:
    layer = Layer({name.replace("__", ".").replace("_", "-"): value for name, value in values.items()}, {})
    assert problems(layer) == (said,)


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("127.0.0.1", False),
        ("127.3.4.5", False),
        ("::1", False),
        ("[::1]", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("10.0.0.1", True),
        ("", True),
        ("localhost.example", True),
    ],
)
def test_what_others_can_reach(host: str, public: bool) -> None:
    assert is_public(host) is public


def test_several_problems_are_said_at_once() -> None:
    line = Layer({"ykc.tcp-port": "x"}, {"ykc.tcp-port": "--tcp-port"})
    environment = environment_layer({"EVPROTO_FORWARD_TO": "nats"})
    assert problems(line, environment) == (
        "--tcp-port: 'x' is no whole number",
        "EVPROTO_FORWARD_TO: forwarding to nats needs servers: set forward.servers (--servers)",
    )


def test_secrets_are_not_described() -> None:
    config = of(
        http__token="a-very-secret-token",
        forward__to="nats",
        forward__servers="nats://joe:hunter2@127.0.0.1:4222",
        forward__password="hunter2",
    )
    shown = str(describe(config))
    assert "secret" not in shown
    assert "hunter2" not in shown
    assert "nats://***@127.0.0.1:4222" in shown


def test_every_setting_says_what_it_is() -> None:
    assert [setting.key for setting in settings().values() if not setting.help] == []
    variables = [setting.variable for setting in settings().values()]
    assert len(set(variables)) == len(variables)


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("-tcpPort 27601", "--tcp-port=27601"),
        ("-tcpPort=27601", "--tcp-port=27601"),
        ("--tcpPort=27601", "--tcp-port=27601"),
        ("-host 0.0.0.0", "--host=0.0.0.0"),
        ("-autoVerification", "--auto-login=true"),
        ("-autoVerification=false", "--auto-login=false"),
        ("-autoVerification true", "--auto-login=true"),
        ("-autoVerification false -tcpPort 1", "--auto-login=false --tcp-port=1"),
        ("-autoHeartbeatResponse=0", "--auto-heartbeat=0"),
        ("-autoBillingModelVerify T", "--auto-billing-model=T"),
        ("-autoTransactionRecordConfirm=1", "--auto-record-confirm=1"),
        (
            "-messagingServerType nats -servers nats://a,nats://b",
            "--forward=nats --servers=nats://a,nats://b",
        ),
        ("-username u -password p", "--username=u --password=p"),
        ("--host 0.0.0.0 --servers a --username u", "--host 0.0.0.0 --servers a --username u"),
    ],
)
def test_the_spellings_of_ykc_proxy_server(line: str, ours: str) -> None:
    assert modernized(line.split())[0] == ours.split()


def test_what_is_taken_differently_is_said() -> None:
    _, notices = modernized(["-autoVerification", "true", "-servers", "http://a"])
    assert notices == [
        "-autoVerification true: taken for -autoVerification=true; ykc-proxy-server stops reading here",
        "-autoVerification is --auto-login here",
        "-servers is --servers here",
        "-servers alone forwarded nothing there; here it needs --forward http or nats",
    ]
    assert modernized(["--servers", "a", "--tcp-port", "1"])[1] == []


def test_the_command_line_is_checked() -> None:
    result = run("serve", "ykc", "--check", "--tcp-port", "99999")
    assert result.status == 2
    assert result.err == "evproto: error: --tcp-port: 99999 does not fit: expected `int` <= 65535\n"
    result = run("serve", "ykc", "--tcp-prot", "1")
    assert result.status == 2
    assert "there is no option --tcp-prot; did you mean --tcp-port?" in result.err


def test_check_shows_what_is_in_force(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVPROTO_HTTP_PORT", "9557")
    file = write(tmp_path, "[ykc]\nconfirm = 'delivered'\n[forward]\nto = 'http'\nservers = ['http://a']")
    result = run("serve", "ykc", "--check", "--config", str(file), "-autoVerification=false")
    assert result.status == 0
    lines = result.out.splitlines()
    assert "http.port = 9557" in lines
    assert "ykc.confirm = 'delivered'" in lines
    assert "ykc.auto-login = False" in lines
    assert result.err == "evproto: -autoVerification is --auto-login here\n"


def test_a_token_fits_its_hash() -> None:
    import hashlib

    lines = dict(line.split(None, 1) for line in run("serve", "token").out.splitlines()[:2])
    assert hashlib.sha256(lines["token"].encode()).hexdigest() == lines["sha256"]
    assert len(lines["token"]) >= 40


def test_the_settings_of_the_documentation_are_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "serve-ykc.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    config = load(file_layer(write(tmp_path, block)))
    assert config.ykc.confirm == "delivered"
    assert config.http.tokens[0].name == "back end"
    for name in re.findall(r"`((?:ykc|http|forward|outbox|drop-in|log|server)\.(?!db`)[a-z-]+)`", page):
        assert name in settings()
    options = run("serve", "ykc", "--help").out
    for option in re.findall(r"(?<!-)--[a-z][a-z-]+", page):
        assert option in options, option


@pytest.mark.parametrize(
    ("what", "file", "served"),
    [
        ("all", "", {"ykc", "ocpp", "ntxcp"}),
        ("all", "[ntxcp]\nenabled = false\n", {"ykc", "ocpp"}),
        ("ykc", "", {"ykc"}),
        ("ykc", "[ocpp]\nenabled = true\n", {"ykc", "ocpp"}),
        ("ocpp", "", {"ocpp"}),
        ("ocpp", "[ocpp]\nenabled = false\n", {"ocpp"}),
        ("ntxcp", "", {"ntxcp"}),
    ],
)
def test_what_is_served_is_said_by_the_command_then_by_the_file(
    what: str, file: str, served: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(file)
    assert main(["serve", what, "--config", str(settings), "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {name for name in ("ykc", "ocpp", "ntxcp") if f"{name}.enabled = True" in lines} == served


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ykc.enabled": False}, "no protocol is served"),
        ({"websocket.tls-port": 9001}, "wss:// needs"),
        ({"ocpp.enabled": True, "websocket.plain": False}, "neither ws:// nor wss:// is served"),
        ({"websocket.routes": ["/ocpp"]}, "no path with {id}"),
        ({"ocpp.authorize": "hook"}, "set the URL that is asked: ocpp.hook"),
        ({"ocpp.ask": ["DataTransfer"]}, "set the URL that is asked: ocpp.hook"),
        ({"ocpp.hook": "backend/hook"}, "is no URL; write http://host/path"),
        ({"admission.mode": "file"}, "set the file with the chargers"),
        ({"admission.mode": "hook"}, "admission.hook"),
        ({"cluster.servers": ["localhost"]}, "write nats://host:4222"),
        ({"cluster.node": "north"}, "a node without a cluster"),
        ({"cluster.servers": ["nats://a:4222"], "cluster.node": "n" * 65}, "cluster.node"),
        ({"admission.hook": "http://127.0.0.1/door"}, "unless admission.mode is hook"),
        ({"admission.file": __file__}, "unless admission.mode is file"),
        ({"ocpp.enabled": True, "ocpp.hook": "http://127.0.0.1/ask"}, "nobody asks it"),
        ({"ocpp.confirm": "delivered"}, "only if they are forwarded"),
        ({"drop-in.enabled": True, "ykc.enabled": False, "ocpp.enabled": True}, "ykc is not enabled"),
    ],
)
def test_settings_of_several_protocols_that_do_not_go_together(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(Layer(values, {}))
