"""Options that say where the dashboard listens, and the lines that print its address."""

import argparse
import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.ui.terminal.output import print_line

if TYPE_CHECKING:
    from perfscope.ui.dashboard.dashboard_data import Live
    from perfscope.ui.dashboard.serve import Dashboard


@dataclass(frozen=True)
class DashboardArguments:
    """Where the dashboard listens, whether it asks for a token, and its path behind a proxy."""

    port: int | None
    host: str
    no_token: bool
    base_path: str | None


def add_dashboard_arguments(parser: argparse.ArgumentParser, condition: str = "") -> None:
    """Add the options of `DashboardArguments`; `condition` begins their help."""
    parser.add_argument(
        "--port", type=int, metavar="N", help=f"{condition}port to listen on (8050, or a free one)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help=f"{condition}address to listen on (127.0.0.1: this machine only)",
    )
    parser.add_argument(
        "--no-token",
        action="store_true",
        help=(
            f"{condition}do not ask for a token: every user of this machine can then read the"
            " runs and stop a recording"
        ),
    )
    parser.add_argument(
        "--base-path",
        metavar="PATH",
        help=f"{condition}path of the dashboard behind a reverse proxy, such as /perfscope",
    )


def dashboard_of(
    root: Path,
    arguments: DashboardArguments,
    *,
    live: "Live | None" = None,
    ignored: tuple[str, ...] = (),
) -> "Dashboard":
    """Start the dashboard where the arguments say. Raises UsageError."""
    from perfscope.ui.dashboard.serve import Dashboard

    return Dashboard(
        root,
        arguments.host,
        arguments.port,
        live,
        with_token=not arguments.no_token,
        base_path=arguments.base_path,
        ignored=ignored,
    )


def print_address(dashboard: "Dashboard", hint: str) -> None:
    """Print the address of the dashboard and `hint`.

    In an SSH session, print between them the command that forwards the port.
    """
    print_line(dashboard.url)
    forwarding = ssh_forwarding(dashboard.access.port, os.environ)
    if forwarding is not None:
        print_line(f"from your own machine, first run:  {forwarding}")
    print_line(hint)


def ssh_forwarding(port: int, environment: "os._Environ[str] | dict[str, str]") -> str | None:
    """Return the command that forwards the port to the user's own machine, None without SSH.

    `SSH_CONNECTION` holds the client's address and port, then ours as the client reached us.
    """
    parts = environment.get("SSH_CONNECTION", "").split()
    if len(parts) != 4:
        return None
    _, _, server, server_port = parts
    option = "" if server_port == "22" else f"-p {server_port} "
    return f"ssh {option}-L {port}:127.0.0.1:{port} {getpass.getuser()}@{server}"
