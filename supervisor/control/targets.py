"""From what an operator typed to the slots that are meant."""

from collections.abc import Mapping

from supervisor.core.suggest import did_you_mean


class UnknownTargetError(LookupError):
    """No group or slot is called that; ``help`` says which ones there are."""

    def __init__(self, text: str, help_: str) -> None:
        super().__init__(text)
        self.help = help_


def resolve(target: str | None, groups: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Return the ``(group, slot)`` pairs that ``target`` names, given each group's number of slots."""
    if target is None:
        return tuple((name, slot) for name, workers in groups.items() for slot in range(workers))
    if target in groups:
        return tuple((target, slot) for slot in range(groups[target]))
    name, slash, number = target.rpartition("/")
    if slash and name in groups:
        if number.isascii() and number.isdigit() and int(number) < groups[name]:
            return ((name, int(number)),)
        message = f"group {name!r} has no slot {number!r}"
        raise UnknownTargetError(message, _slots_help(name, groups[name]))
    wanted = name or target
    message = f"no group is called {wanted!r}"
    raise UnknownTargetError(message, f"{did_you_mean(wanted, groups)}groups: {', '.join(groups)}")


def check_scope(group: str, slot: int | None, groups: Mapping[str, int]) -> None:
    """Refuse a group and a slot, written apart, of which nothing is; an empty group and no slot mean every one."""
    if group and group not in groups:
        ((name, number),) = resolve(group, groups)
        text = f"{group!r} is a slot, not a group"
        raise UnknownTargetError(text, f"write --group {name} --slot {number}")
    slots = groups[group] if group else max(groups.values(), default=0)
    if slot is not None and slot >= slots:
        there = "none" if not slots else "0" if slots == 1 else f"0 to {slots - 1}"
        text = f"group {group!r} has no slot {slot}" if group else f"no group has a slot {slot}"
        raise UnknownTargetError(text, f"slots: {there}")


def _slots_help(name: str, workers: int) -> str:
    return f"its slots are {name}/0 to {name}/{workers - 1}" if workers > 1 else f"its only slot is {name}/0"
