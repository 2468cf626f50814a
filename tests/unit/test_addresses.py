import pytest

from supervisor.core.addresses import format_address, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:9464", "127.0.0.1", 9464), ("[::1]:80", "::1", 80), ("metrics.local:65535", "metrics.local", 65535)],
)
def test_an_address_is_a_host_and_a_port_and_is_written_back_as_it_was(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)
    assert format_address(host, port) == text


@pytest.mark.parametrize("text", ["", "9464", ":9464", "127.0.0.1", "::1:80", "a:0", "a:65536", "a:9464 ", "a:٣"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        parse_address(text)
