"""Two hosts on one machine: network and UTS namespaces, joined by a pair of virtual interfaces."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

WIRE = {"node-a": "10.77.{net}.1", "node-b": "10.77.{net}.2"}


def why_impossible() -> str | None:
    """Return why two hosts are impossible on this machine, or None."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return "needs `ip` and `unshare`"
    name = f"try-{os.getpid()}"
    tries = (
        ["unshare", "--net", "--uts", "true"],
        ["ip", "netns", "add", name],
        ["ip", "netns", "del", name],
    )
    if any(subprocess.run(command, capture_output=True).returncode for command in tries):
        return "needs permission to make namespaces"
    return None


@contextmanager
def two_hosts() -> Iterator[dict[str, str]]:
    """Yield name -> address of each host; `on(name, ...)` returns a command that runs on it."""
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
    """Return the interface of a host that leads to the other host."""
    return f"ps{name[-1]}{os.getpid() % 250}"


def on(name: str, *command: str) -> list[str]:
    """Return the command line that runs a command on a host."""
    renamed = f'hostname {name} && exec "$@"'
    return [
        "ip",
        "netns",
        "exec",
        f"{name}-{os.getpid() % 250}",
        "unshare",
        "--uts",
        "sh",
        "-c",
        renamed,
        "sh",
        *command,
    ]
