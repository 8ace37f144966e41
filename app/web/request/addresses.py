"""Addresses: which of them belong to the open internet, and which to somebody's own house.

A server that fetches what strangers name must not be their way into the network it stands in. Python's
``is_global`` alone lets metadata services, 6to4 and NAT64 addresses pass, so the rule here is longer: an
address is public if every test of it says so. Of addresses that stand for an IPv4 address, tunnels and
translators are refused whole; where an interface is named after one, that has to be public too.

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
        ),  # metadata services among them
        *("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2002::/16"),
        *("2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10"),
    )
)


def is_public(address: Address) -> bool:
    """Tell whether an address is one that anybody on the internet may name."""
    is_special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or any(address.version == network.version and address in network for network in _SPECIAL)
    )
    return not is_special and address.is_global and _is_inner_public(address)


def parse_address(text: str) -> Address | None:
    """Return the address that a resolver named; ``None`` for one that is bound to an interface."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def _is_inner_public(address: Address) -> bool:
    """Tell the same of the IPv4 address that an ISATAP interface is named after (RFC 5214)."""
    low = int(address) & 0xFFFFFFFFFFFFFFFF
    is_isatap = isinstance(address, IPv6Address) and low >> 32 & 0xFCFFFFFF == 0x00005EFE
    return not is_isatap or is_public(IPv4Address(low & 0xFFFFFFFF))
