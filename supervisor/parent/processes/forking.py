"""``start_method = "fork"``: workers come from zygotes, one per distinct ``preload``."""

from pathlib import Path

from supervisor.core.spec import WorkerSpec
from supervisor.parent.processes.exits import ExitWatch
from supervisor.parent.processes.keeper import until
from supervisor.parent.processes.launcher import Answer, Launcher
from supervisor.parent.processes.subreaper import Adopted, become_subreaper
from supervisor.parent.processes.zygote import Preload, Request, ZygoteProcess
from supervisor.parent.store.eventlog import EventLog

END = 2.0


class ZygoteLauncher:
    """Forks workers from zygotes that are started when first needed; what cannot be forked is exec'd.

    Makes this process a subreaper (P4: what workers leave behind is ours to end). Raises ``OSError``.
    """

    def __init__(self, program: tuple[str, ...], *, otherwise: Launcher, exits: ExitWatch, events: EventLog) -> None:
        become_subreaper()
        self._program = program
        self._otherwise = otherwise
        self._exits = exits
        self._events = events
        self._zygotes: dict[Preload, ZygoteProcess] = {}
        self._retired: list[ZygoteProcess] = []
        self._adopted = Adopted(exits, self._is_starting)
        self._stopped = False

    def start(self, spec: WorkerSpec, slot_file: Path, answer: Answer) -> None:
        """See ``Launcher``."""
        if self._stopped:
            answer(OSError("the supervisor is ending"))
            return
        self._zygote(_preload_of(spec)).start(Request(spec, slot_file, answer))

    def renew(self) -> None:
        """Replace every zygote, so that what is preloaded is what is on disk now."""
        old, self._zygotes = self._zygotes, {}
        self._retired = [zygote for zygote in self._retired if zygote.child is not None]
        for preload, zygote in old.items():
            zygote.retire()
            self._retired.append(zygote)
            self._zygote(preload)

    async def stop(self) -> None:
        """Kill all zygotes: nothing in them needs time to end."""
        self._stopped = True
        zygotes = [*self._zygotes.values(), *self._retired]
        for zygote in zygotes:
            zygote.retire()
            zygote.kill()
        await until(lambda: not any(zygote.child for zygote in zygotes), END)
        self._adopted.close()
        await until(self._adopted.end_all, END)

    def _zygote(self, preload: Preload) -> ZygoteProcess:
        if preload not in self._zygotes:
            self._zygotes[preload] = ZygoteProcess(
                preload, self._program, exits=self._exits, events=self._events, otherwise=self._exec
            )
        return self._zygotes[preload]

    def _exec(self, request: Request) -> None:
        self._otherwise.start(request.spec, request.slot_file, request.answer)

    def _is_starting(self) -> bool:
        return any(zygote.is_starting_workers for zygote in (*self._zygotes.values(), *self._retired))


def _preload_of(spec: WorkerSpec) -> Preload:
    return Preload(spec.group.preload, spec.group.plugins.search_path)
