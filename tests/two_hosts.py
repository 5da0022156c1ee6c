"""Two hosts on one machine: network and host-name namespaces of their own, joined by a pair of
virtual interfaces.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

WIRE = {"node-a": "10.77.{net}.1", "node-b": "10.77.{net}.2"}


def missing() -> str | None:
    """Why there can be no such hosts here, None when there can."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "no `ip` or `unshare` here"
    name = f"try-{os.getpid()}"
    tries = (
        ["unshare", "--net", "--uts", "true"],
        ["ip", "netns", "add", name],
        ["ip", "netns", "del", name],
    )
    if any(subprocess.run(command, capture_output=True).returncode for command in tries):
        return "namespaces may not be made here"
    return None


@contextmanager
def two_hosts() -> Iterator[dict[str, str]]:
    """Name -> address of each; `on(name, ...)` gives what runs a command there."""
    tag = os.getpid() % 250
    names = {name: f"{name}-{tag}" for name in WIRE}
    addresses = {name: address.format(net=tag) for name, address in WIRE.items()}
    ends = dict(zip(WIRE, (f"psa{tag}", f"psb{tag}"), strict=True))
    try:
        for name in names.values():
            ip("netns", "add", name)
        ip("link", "add", ends["node-a"], "type", "veth", "peer", "name", ends["node-b"])
        for name, end in ends.items():
            ip("link", "set", end, "netns", names[name])
            inside = ("-n", names[name])
            ip(*inside, "addr", "add", f"{addresses[name]}/24", "dev", end)
            ip(*inside, "link", "set", end, "up")
            ip(*inside, "link", "set", "lo", "up")
        yield addresses
    finally:
        for name in names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def interface(name: str) -> str:
    """The interface of that host towards the other."""
    return f"ps{name[-1]}{os.getpid() % 250}"


def on(name: str, *command: str) -> list[str]:
    """The command as it runs on that host."""
    said = f'hostname {name} && exec "$@"'
    return [
        "ip",
        "netns",
        "exec",
        f"{name}-{os.getpid() % 250}",
        "unshare",
        "--uts",
        "sh",
        "-c",
        said,
        "sh",
        *command,
    ]
