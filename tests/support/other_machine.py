"""Another machine for tests: a real sshd in a network, a process tree and a file system of its own.

Owns its birth and death. Namespaces are anonymous and all its processes end with the first (`unshare --kill-child`),
which ends with the test's process: nothing is left of it, after SIGKILL neither.
"""

from __future__ import annotations

import getpass
import select
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rttcheck.kernels.parent_death import die_with_parent
from rttcheck_netns import Lab, Namespace, direct
from rttcheck_netns.namespace import _enter

PROJECT = Path(__file__).parents[2]
PORT = 2222
_START_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """A machine; ``config`` is ssh's for reaching it from `here`, as the host ``elsewhere``."""

    lab: Lab
    process: subprocess.Popen[str]
    config: Path

    @property
    def here(self) -> Namespace:
        """The network from which it is reached."""
        return self.lab.client.namespace

    @property
    def destination(self) -> str:
        """What ``--rtt-on`` is given."""
        return f"elsewhere//python={sys.executable}"

    def inside(self) -> Callable[[], None]:
        """For ``preexec_fn``: the child is on this side of the network."""
        return _in(self.here)

    def ssh(self, command: str) -> str:
        """What a command there says."""
        done = subprocess.run(
            ["ssh", "-F", str(self.config), "elsewhere", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            preexec_fn=self.inside(),
            timeout=30,
            check=False,
        )
        return done.stdout + done.stderr

    def switch_off(self) -> None:
        """All its processes are killed, at once."""
        self.process.kill()
        self.process.wait()

    def unplug(self) -> None:
        """Nothing comes through the cable any more, and nobody is told."""
        subprocess.run(["ip", "link", "set", "eth0", "down"], preexec_fn=self.inside(), check=True)


def _in(namespace: Namespace) -> Callable[[], None]:
    request_death_signal = die_with_parent()

    def enter() -> None:
        _enter(namespace.fd)
        request_death_signal()

    return enter


@contextmanager
def elsewhere(
    directory: Path, *, hidden: tuple[Path, ...] = (), cache: Path | None = None, authorized: str = ""
) -> Iterator[Elsewhere]:
    """A running machine, its keys in ``directory``; ``hidden`` are directories of this machine's that it has empty.

    It has this machine's programs. ``cache`` is its directory for kernels, a new one where none is given;
    ``authorized`` are options of its authorized_keys (sshd(8)).
    """
    cache = directory / "cache" if cache is None else cache
    keys = directory / "keys"
    for made in (keys, cache):
        made.mkdir(parents=True, exist_ok=True)
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    with direct() as lab:
        address = lab.server.ipv4
        (keys / "authorized").write_text(f"{authorized}{(keys / 'user.pub').read_text()}")
        (keys / "known").write_text(f"[{address}]:{PORT} {(keys / 'host.pub').read_text()}")
        daemon, client = keys / "sshd_config", keys / "ssh_config"
        daemon.write_text(_daemon(keys, address, cache))
        client.write_text(_client(keys, address))
        script = ["set -e", "mount --make-rprivate /", "mount -t tmpfs tmpfs /run", "mkdir -m 755 /run/sshd"]
        script += [f"mount -t tmpfs tmpfs {shlex.quote(str(path))}" for path in hidden]
        script.append(f"exec /usr/sbin/sshd -D -e -f {shlex.quote(str(daemon))}")
        with subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", "\n".join(script)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_in(lab.server.namespace),
        ) as process:
            try:
                _wait_until_it_listens(process)
                yield Elsewhere(lab=lab, process=process, config=client)
            finally:
                process.kill()


def _wait_until_it_listens(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    said = ""
    while "listening" not in said:
        ready, _, _ = select.select([process.stderr], [], [], _START_S)
        line = process.stderr.readline() if ready else ""
        if not line:
            raise RuntimeError(f"sshd does not listen: {said}")
        said += line


def _daemon(keys: Path, address: str, cache: Path) -> str:
    return f"""\
ListenAddress {address}:{PORT}
HostKey {keys / "host"}
AuthorizedKeysFile {keys / "authorized"}
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
LogLevel INFO
SetEnv RTTCHECK_CACHE={cache} ELSEWHERE=1
"""


def _client(keys: Path, address: str) -> str:
    return f"""\
Host elsewhere
    HostName {address}
    Port {PORT}
    User {getpass.getuser()}
    IdentityFile {keys / "user"}
    IdentitiesOnly yes
    UserKnownHostsFile {keys / "known"}
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""
