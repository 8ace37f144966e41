"""Addresses: decides which IP addresses belong to the public internet.

A server that fetches URLs from its clients must not give them access to its own network (server-side request
forgery). Python's ``is_global`` alone accepts metadata services, 6to4 and NAT64 addresses, so the rule here
is stricter: an address is public only if every check passes. Ranges that tunnels and translators map to IPv4
addresses are refused as a whole. If the interface identifier of an address contains an IPv4 address (ISATAP),
that one must be public too.

References:
    IANA IPv4 and IPv6 Special-Purpose Address Registries; RFC 3056 (6to4), 4380 (Teredo), 6052 (NAT64).
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

_SPECIAL = tuple(
    ip_network(text)
    for text in (
        *(
            "100.64.0.0/10",
            "192.0.0.0/24",
            "192.88.99.0/24",
            "168.63.129.16/32",
        ),  # include metadata services of clouds
        *("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2002::/16"),
        *("2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10"),
    )
)


def is_public(address: Address) -> bool:
    """Return whether an address belongs to the public internet."""
    is_special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or any(address.version == network.version and address in network for network in _SPECIAL)
    )
    return not is_special and address.is_global and _is_isatap_public(address)


def parse_address(text: str) -> Address | None:
    """Parse an address from a resolver; return ``None`` for an invalid or interface-scoped one."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def _is_isatap_public(address: Address) -> bool:
    """Return False if an ISATAP interface identifier contains a non-public IPv4 address (RFC 5214)."""
    low = int(address) & 0xFFFFFFFFFFFFFFFF
    is_isatap = isinstance(address, IPv6Address) and low >> 32 & 0xFCFFFFFF == 0x00005EFE
    return not is_isatap or is_public(IPv4Address(low & 0xFFFFFFFF))
