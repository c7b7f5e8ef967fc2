"""The stack's ports lie within a hundred, and a taken one is named."""

import socket

import pytest

from free_addresses import free_ports
from local.errors import StackError
from local.ports import HOST, SPAN, VARIABLE, Ports


def test_the_default_ports_are_those_of_the_documentation() -> None:
    """API 8500, Triton 8501, preprocessing 8510, Redis 8579."""
    ports = Ports.from_environment({})
    assert (ports.api, ports.triton, ports.preprocessing, ports.redis) == (8500, 8501, 8510, 8579)


def test_no_two_parts_share_a_port() -> None:
    """All of them lie in the hundred that begins with the API's."""
    ports = dict(Ports.starting_at(20_000).named())
    assert len(set(ports.values())) == len(ports)
    assert set(ports.values()) < set(range(20_000, 20_000 + SPAN))


@pytest.mark.parametrize("text", ["0", "80", "65437", "66000", "many", "-1"])
def test_a_first_port_that_leaves_no_room_is_refused(text: str) -> None:
    """The sentence names the variable."""
    with pytest.raises(StackError, match=VARIABLE):
        Ports.from_environment({VARIABLE: text})


def test_the_last_hundred_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for what a busy port's sentence advises."""
    ports = Ports.from_environment({VARIABLE: "65436"})
    assert max(port for _, port in ports.named()) < 65_536
    monkeypatch.setattr(Ports, "find_busy", lambda ports: ("api", ports.api))
    with pytest.raises(StackError) as caught:
        ports.check_free(target="run")
    Ports.from_environment({VARIABLE: str(caught.value).partition(f"{VARIABLE}=")[2].split()[0]})


def test_a_busy_port_is_named_with_what_to_do() -> None:
    """Which port, whose, and which variable takes others for the same target."""
    ports = free_ports()
    with socket.create_server((HOST, ports.redis)), pytest.raises(StackError) as caught:
        ports.check_free(target="bench")
    assert str(ports.redis) in str(caught.value)
    assert "redis" in str(caught.value)
    assert VARIABLE in str(caught.value)
    assert str(caught.value).endswith(" make bench.")
