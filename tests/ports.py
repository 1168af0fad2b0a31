"""Ports for the servers that tests start."""

import os
import socket
from itertools import count

# Below those that systems give to whoever asks for any: nobody else is given one of these between
# its choice here and the start of a server.
_FIRST, _NUMBER = 20_000, 12_000
_tried = count(os.getpid() * 211)  # test processes side by side begin apart


def free_port() -> int:
    """Return a port that nobody listens on."""
    for number in _tried:
        port = _FIRST + number % _NUMBER
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError  # it counts without end
