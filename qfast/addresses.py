"""Where a callback may go: one strict reading of a URL, and a guard that judges every address, also at connect."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from aiohttp.abc import AbstractResolver, ResolveResult

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL = 2048  # characters
# Path and query as RFC 3986 spells them: visible ASCII without the characters that parsers read differently.
_URL = re.compile(
    r"(https?)://(\[[0-9a-f:.]*\]|[a-z0-9._-]*)(?::([0-9]{1,5}))?((?:[/?][!$&-;=?-Z_a-z~%@\[\]]*)?)", re.I | re.A
)
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.I | re.A)
_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)", re.I | re.A)  # resolvers read such a host as an IPv4 address

# IANA's special-purpose registry for IPv4 (loopback, private, shared, link-local with the metadata addresses, protocol
# assignments, documentation, benchmarks, multicast, reserved), 6to4 relays, and Azure's metadata address.
_SPECIAL_V4 = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
    )
)  # fmt: skip
# In IPv6 only 2000::/3 is global unicast, so that mapped, NAT64, unique-local, link-local and multicast ones are out;
# of it, protocol assignments (Teredo, ORCHID), documentation and 6to4 are not hosts of the world either.
_GLOBAL_V6 = ip_network("2000::/3")
_SPECIAL_V6 = tuple(ip_network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))


class Target(NamedTuple):
    """Who is called: deliveries to one target share its slots."""

    scheme: str
    host: str
    port: int


class AddressGuard:
    """Which addresses a server calls back to.

    A server bound to loopback calls loopback addresses only, since it has no accounts and its callers must not reach
    into the network through it; any other server calls global addresses only, since its own network is none of its
    callers' business.

    Parameters
    ----------
    loopback_only : bool
        The server is bound to loopback.
    allowed : tuple of networks
        Networks that the configuration allows besides.
    """

    def __init__(self, loopback_only: bool, allowed: tuple[Network, ...] = ()) -> None:
        self.loopback_only = loopback_only
        self.allowed = allowed

    def refusal(self, address: Address) -> str | None:
        """Why this address is not called, or None when it is."""
        if any(address.version == network.version and address in network for network in self.allowed):
            return None
        if self.loopback_only:
            if address in ip_network("127.0.0.0/8") if address.version == 4 else address == IPv6Address("::1"):
                return None
            return f"{address} is not a loopback address, and this server calls back to loopback only"
        if isinstance(address, IPv4Address):
            special = any(address in network for network in _SPECIAL_V4)
        else:
            special = address not in _GLOBAL_V6 or any(address in network for network in _SPECIAL_V6)
        return f"{address} is not an address of the public internet" if special else None

    def check_url(self, url: str) -> Target:
        """Read a URL and judge what can be judged without resolving a name.

        Raises
        ------
        ValueError
            With the rule that it breaks, to follow the URL in a sentence.
        """
        if len(url) > MAX_URL:
            raise ValueError(f"is longer than {MAX_URL} characters")
        match = _URL.fullmatch(url)
        if match is None:
            if re.match(r"https?://[^/?#]*@", url, re.I | re.A):
                raise ValueError("carries a user name, which is not allowed")
            raise ValueError(
                "is not a plain http:// or https:// URL (a host, maybe a port, a path, a query; all ASCII)"
            )
        scheme, host, digits = match[1].lower(), match[2].lower(), match[3]
        port = int(digits) if digits else {"http": 80, "https": 443}[scheme]
        if port > 65535 or (port < 1024 and port not in (80, 443)):
            raise ValueError(f"names the port {port}; allowed are 80, 443 and 1024..65535")
        self._check_host(host)
        return Target(scheme, host, port)

    def _check_host(self, host: str) -> None:
        if host.startswith("[") or _NUMBER.fullmatch(host):
            literal = host.strip("[]")
            try:
                address = ip_address(literal)
            except ValueError:
                address = None
            if address is None or str(address) != literal or host.startswith("[") != (address.version == 6):
                raise ValueError("has a host that is neither a name nor an IP address in its usual form")
            reason = self.refusal(address)
            if reason is not None:
                raise ValueError(f"is refused: {reason}")
        elif len(host) > 253 or not _NAME.fullmatch(host):
            raise ValueError("has no valid host")
        elif self.loopback_only and host != "localhost" and not self.allowed:
            raise ValueError("is refused: this server calls back to loopback only: 127.0.0.1, [::1] or localhost")
        elif not self.loopback_only and not self.allowed and (host == "localhost" or host.endswith(".localhost")):
            raise ValueError("is refused: localhost is not an address of the public internet")


async def system_addresses(host: str, port: int) -> list[str]:
    """The numeric addresses of a name, by the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedResolver(AbstractResolver):
    """Resolves a name once per connection and lets only judged addresses through: the connection goes to these.

    One refused address refuses the name, so that an answer that changes between the submit and the delivery, or holds
    a private address beside a public one, opens nothing.
    """

    def __init__(
        self, guard: AddressGuard, addresses: Callable[[str, int], Awaitable[list[str]]] = system_addresses
    ) -> None:
        self._guard = guard
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of the name, all of them judged; raises OSError."""
        results: list[ResolveResult] = []
        for text in await self._addresses(host, port):
            address = ip_address(text)
            reason = self._guard.refusal(address)
            if reason is not None:
                raise OSError(f"{host} is refused: {reason}")
            kind = socket.AF_INET if address.version == 4 else socket.AF_INET6
            results.append(
                ResolveResult(
                    hostname=host, host=text, port=port, family=kind, proto=0, flags=int(socket.AI_NUMERICHOST)
                )
            )
        if not results:
            raise OSError(f"{host} has no address")
        return results

    async def close(self) -> None:
        """Nothing to release."""
