from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.request.addresses import is_public, parse_address

REFUSED_TEXT = """
127.0.0.1 127.255.255.254 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 169.254.169.254
0.0.0.0 0.1.2.3 255.255.255.255 240.0.0.1 198.18.0.1 192.0.2.1 198.51.100.7 203.0.113.1
224.0.0.1 239.255.255.255
100.64.0.1 100.100.100.200 100.127.255.255 192.0.0.192 192.0.0.9 168.63.129.16 192.88.99.1
::1 :: fc00::1 fd12::1 fe80::1 fec0::1 ff02::1 ff0e::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:8.8.8.8
::127.0.0.1 ::8.8.8.8 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001::1 2001:0:7f00:1::
2001:db8::1 2002:7f00:1:: 2002:a9fe:a9fe:: 2002:808:808:: 3fff::1 3fff:fff::1 5f00::1
2606:4700::5efe:127.0.0.1 2606:4700:0:0:200:5efe:169.254.169.254 2606:4700::100:5efe:10.0.0.1
"""
ALLOWED_TEXT = """
8.8.8.8 1.1.1.1 100.63.255.255 100.128.0.1 172.15.255.255 172.32.0.1 168.63.129.15 168.63.129.17 192.0.1.1
192.88.98.255 192.88.100.0 223.255.255.255 2606:4700::1111 2a00:1450:4001::1 2001:4860:4860::8888
2606:4700:0:0:200:5efe:8.8.8.8
"""


@pytest.mark.parametrize("text", REFUSED_TEXT.split())
def test_special_and_private_addresses_are_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", ALLOWED_TEXT.split())
def test_internet_addresses_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@given(st.integers(0, 2**32 - 1))
def test_an_address_that_python_calls_private_is_not_public(number: int) -> None:
    address = IPv4Address(number)

    assert not (is_public(address) and not address.is_global)


@given(st.sampled_from([0, 0xFFFF << 32, 0x64FF9B << 96, 0x2002 << 112]), st.integers(0, 2**32 - 1))
def test_an_ipv4_address_embedded_in_ipv6_is_not_public(prefix: int, number: int) -> None:
    is_6to4 = prefix >> 112 == 0x2002

    assert not is_public(IPv6Address(prefix | number << (80 if is_6to4 else 0)))


@pytest.mark.parametrize("text", ["fe80::1%eth0", "", "localhost", "1.2.3", "2130706433"])
def test_only_complete_addresses_are_parsed(text: str) -> None:
    assert parse_address(text) is None
