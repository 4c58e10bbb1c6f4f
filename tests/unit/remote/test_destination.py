"""The names of other machines, and the arguments of ssh for them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import execnet
import pytest

from rttcheck.errors import RemoteError
from rttcheck.remote.destination import Destination


@pytest.mark.parametrize(
    ("text", "host", "port", "python"),
    [
        ("box", "box", None, "python3"),
        ("root@box.example", "root@box.example", None, "python3"),
        ("root@10.0.0.1:2222//python=/opt/venv/bin/python", "root@10.0.0.1", 2222, "/opt/venv/bin/python"),
        ("me@[2001:db8::1]:22", "me@2001:db8::1", 22, "python3"),
    ],
)
def test_destinations_are_read(text: str, host: str, port: int | None, python: str) -> None:
    found = Destination.parse(text)
    assert (found.host, found.port, found.python) == (host, port, python)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-oProxyCommand=x",
        "me@-x",
        "a b",
        "a;b",
        "box:99999",
        "box//id=x",
        "box//python=a b",
        "box//python=/a//id=x",
    ],
)
def test_what_is_no_machine_is_refused(text: str) -> None:
    with pytest.raises(RemoteError, match="write"):
        Destination.parse(text)


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="nowhere is no file"):
        Destination.parse("box", config=tmp_path / "nowhere")


def test_ssh_itself_takes_the_arguments(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host box\n    HostName 198.18.0.9\n")
    found = Destination.parse("me@box:2222", config=config)
    command = found.command("true")
    try:
        output = subprocess.run([command[0], "-G", *command[1:]], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("ssh is not installed: apt-get install openssh-client")
    for line in ("hostname 198.18.0.9", "port 2222", "user me", "batchmode yes", "serveraliveinterval 5"):
        assert line in output.splitlines()
    spec = execnet.XSpec(found.spec(name="guest0", python="sh -c 'x=1 exec \"$@\"' sh python3"))
    assert spec.ssh is not None
    assert spec.ssh.split() == found.arguments()
    assert (spec.ssh_config, spec.id, spec.python) == (str(config), "guest0", "sh -c 'x=1 exec \"$@\"' sh python3")
