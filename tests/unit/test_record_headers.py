"""Headers with names that the client cannot read; broken pairs as the client makes them."""

import ctypes
from typing import Any

from supervisor.core.record_headers import UNREADABLE, headers_of


def broken(value: object) -> Any:
    """Return a pair with nothing at all in its first place; to take it apart ends the process."""
    api = ctypes.pythonapi
    api.PyTuple_New.restype = ctypes.py_object
    api.Py_IncRef.argtypes = [ctypes.py_object]
    api.PyTuple_SetItem.argtypes = [ctypes.py_object, ctypes.c_ssize_t, ctypes.py_object]
    api.Py_IncRef(value)
    pair = api.PyTuple_New(2)
    # SetItem demands that nobody else holds the tuple, and takes over one reference of the value.
    ctypes.c_void_p.from_address(id(pair) + tuple.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)).value = id(value)
    return pair


class Message:
    """Raises once, as the client does, and is broken from then on unless it is given whole headers."""

    def __init__(self, *pairs: Any) -> None:
        self._pairs: list[Any] = list(pairs)
        self._has_raised = False

    def headers(self) -> list[Any]:
        if not self._has_raised:
            self._has_raised = True
            message = "returned a result with an exception set"
            raise SystemError(message)
        return self._pairs

    def set_headers(self, pairs: list[Any]) -> None:
        self._pairs = pairs


def test_a_name_that_the_client_cannot_read_costs_neither_its_value_nor_the_other_headers() -> None:
    message = Message(broken(b"\xff"), ("own", b"1"), broken(None), ("none", None))
    whole = [(UNREADABLE, b"\xff"), ("own", b"1"), (UNREADABLE, None), ("none", None)]

    assert headers_of(message) == whole
    assert headers_of(message) == whole
