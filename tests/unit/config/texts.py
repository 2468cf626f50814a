"""Configs that the tests start from, and the types of the fixtures that load them."""

from collections.abc import Callable

from supervisor.config import Config, Problem

KAFKA = '[kafka]\n"bootstrap.servers" = "127.0.0.1:9092"\n'
GROUP = '[groups.orders]\ntopics = ["orders"]\nhandler = "shop.orders:process"\n'
MINIMAL = KAFKA + GROUP

Loader = Callable[..., Config]
Checker = Callable[..., dict[str, Problem]]
