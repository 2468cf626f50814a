"""The slots of one group under the group's rules, with a fake clock, for tests."""

from supervisor.core.group_rules import Ask, Group, Phase, condition, look
from supervisor.core.slot import (
    CancelSpawn,
    Effect,
    Exited,
    Policy,
    Process,
    Ready,
    Report,
    Rung,
    Slot,
    SlotEvent,
    Spawn,
    Spawned,
    Start,
    Tick,
)
from supervisor.core.slot_rules import step
from supervisor.core.snapshot import SlotState
from supervisor.core.spec import Mode

SIGKILL = -9


class Troop:
    """A group and its slots; a process that was asked for exists when ``arrive`` is called."""

    def __init__(self, slots: int, policy: Policy | None = None, *, chance: float = 0.0) -> None:
        self.policy = policy or Policy(is_static=False)
        self.slots = {number: Slot() for number in range(slots)}
        self.group = Group()
        self.now = 1000.0
        self.chance = chance
        self.told: list[str] = []
        self.texts: list[str] = []
        self.spawns: list[tuple[int, Mode]] = []
        """Processes that were asked for and not called off."""
        self._asked: dict[int, Mode] = {}

    def start(self) -> "Troop":
        """Start all slots and let them be ready."""
        for number in self.slots:
            self.happen(number, Start(), Spawned(1), Ready())
        self.spawns.clear()
        return self

    def happen(self, number: int, *events: SlotEvent) -> None:
        """Let events happen to one slot, and the group look after each."""
        for event in events:
            self._step(number, event)
            self.look()

    def look(self) -> None:
        """Let the group look until it has nothing more to say."""
        for _ in range(100):
            self.group, effects = look(self.policy, self.group, self.slots, now=self.now)
            for effect in effects:
                match effect:
                    case Ask():
                        self._step(effect.slot, effect.demand)
                    case Report():
                        self.told.append(effect.name)
                        self.texts.append(effect.text)
            if not effects:
                return
        message = "the group's rules never come to rest"
        raise AssertionError(message)

    def arrive(self) -> None:
        """Let the processes exist that were asked for."""
        for number, slot in self.slots.items():
            if slot.process is Process.ASKED:
                self.happen(number, Spawned(1))

    def wait(self, seconds: float, *, ready: bool = False) -> None:
        """Let time pass second by second; what starts exists at once, and is ``ready`` or not.

        Leaving succeeds, and who is asked to end does.
        """
        until = self.now + seconds
        while self.now < until:
            self.now += min(1.0, until - self.now)
            for number in self.slots:
                self._step(number, Tick())
            self.look()
            self.arrive()
            for number, slot in self.slots.items():
                if slot.process is Process.LIVE and (slot.mode is Mode.LEAVE or slot.rung is not Rung.NONE):
                    self.happen(number, Exited(0))
                elif ready and slot.process is Process.LIVE and not slot.ready:
                    self.happen(number, Ready())

    def crash(self, *numbers: int, status: int = SIGKILL) -> None:
        """Let the workers of these slots die, if they live."""
        for number in numbers:
            if self.slots[number].process is Process.LIVE:
                self.happen(number, Exited(status))
                self.arrive()

    def fail_as_a_whole(self) -> None:
        """Let every worker die, and die again when it is back, until the group is half-open."""
        for _ in range(60):
            self.crash(*self.slots)
            if self.group.phase is Phase.HALF_OPEN:
                return
            self.wait(1.0, ready=True)
        message = f"not half-open: {self.slots}"
        raise AssertionError(message)

    def states(self) -> list[SlotState]:
        """Return the slots' states."""
        return [slot.state for slot in self.slots.values()]

    def phase(self) -> Phase:
        """Return the group's phase; a call, because mypy believes that an attribute stays as it was compared."""
        return self.group.phase

    def condition(self) -> str:
        """Return what is told of the group."""
        return condition(self.group)

    def live(self) -> list[int]:
        """Return the slots with a live worker."""
        return [n for n, slot in self.slots.items() if slot.process is Process.LIVE and slot.mode is Mode.WORK]

    def _step(self, number: int, event: SlotEvent) -> None:
        self.slots[number], effects = step(self.policy, self.slots[number], event, now=self.now, chance=self.chance)
        for effect in effects:
            self._note(number, effect)

    def _note(self, number: int, effect: Effect) -> None:
        match effect:
            case Spawn():
                self.spawns.append((number, effect.mode))
                self._asked[number] = effect.mode
            case CancelSpawn():
                self.spawns.remove((number, self._asked.pop(number)))
            case Report():
                self.told.append(effect.name)
            case _:
                pass
