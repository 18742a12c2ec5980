"""Ports and addresses that a service listens on: which one it gets, who has the one it wanted, and who can reach it there."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from workbench.errors import SkyGraphError
from workbench.settings import Settings

__all__ = ["choose_port", "is_loopback", "shown_host"]


def choose_port(settings: Settings, name: str, service: str, *, taken: Sequence[int] = ()) -> tuple[int, str]:
    """The port for a service, and a note when it is not the default one.

    A default port that is taken gives way to the next free one. `taken` are ports promised to others.

    Raises:
        SkyGraphError: a port that was asked for is taken; says by what.
    """
    port: int = getattr(settings, name)
    if port not in taken and is_free(port):
        return port, ""
    holder = holder_of(port)
    if settings.origin(name) != "default":
        raise SkyGraphError(
            f"port {port} was asked for ({name}) and is taken by {holder}", hint="stop that process or ask for another port"
        )
    for candidate in range(port + 1, min(port + 1000, 65536)):
        if candidate not in taken and is_free(candidate):
            return candidate, f"port {port} is taken by {holder}; {service} uses {candidate}"
    raise SkyGraphError(f"no free port from {port} to {port + 1000}", hint=f"set {name} to a free one")


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    """Who listens on a port, in words."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid is None:
                    break
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another process"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def shown_host(host: str) -> str:
    """The host of the address that people of this machine open.

    >>> shown_host("127.0.0.1"), shown_host("0.0.0.0"), shown_host("10.0.0.5"), shown_host("::1")
    ('localhost', 'localhost', '10.0.0.5', '[::1]')
    """
    host = host.strip("[]")
    if host.lower() in ("localhost", "127.0.0.1", "0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host
