"""`computepool drill --live`: a provider is really drained for a while, and all is put back.

The drill begins with one patch and ends with one patch (`drill_field.py`). Ctrl-C, SIGTERM and the end of the terminal
end it at once, and the command tries until the API server has taken the patch, or until the drill is over by its time.
Only a second Ctrl-C leaves before that. If this process dies, or loses the API server, the operator ends the drill by
itself at the time that the field names.
"""

import asyncio
import getpass
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import msgspec
from rich.console import Console
from rich.text import Text

from computepool.cli import drill_field, stored_pool
from computepool.cli.cluster_view import NotFoundError
from computepool.cli.drill_field import DrillError, drills_in
from computepool.cli.drill_look import Look, Looks
from computepool.cli.drill_seed import Found, nodes_of
from computepool.cli.drill_text import Told, clock, name_of
from computepool.cli.drill_watch import End, Real, Watched
from computepool.cli.errors import ToldError
from computepool.cli.exit_codes import INTERRUPTED
from computepool.cli.stored_pool import Json, Stored
from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError, Conflict, Gone, Invalid
from computepool.model.api import ComputePool, DrillStatus, Mode
from computepool.model.text import printable, rfc3339
from computepool.report.formatting import counted, full_stop

POLL_SECONDS: Final = 1.0
"""Between two looks at the cluster; longer if a look takes long."""
_SHARE: Final = 5.0
"""Looks take at most a fifth of the time."""
RETRY_SECONDS: Final = 2.0
TAKE_UP_SECONDS: Final = 30.0
"""An operator takes a drill up within a pass."""
CLOCKS_SECONDS: Final = 5.0
"""By so much this computer's estimate of the leader's clock may be wrong."""
NOT_TAKEN_UP: Final = (
    "No operator has taken it up. Look with `computepool status` whether an operator leads. An operator that is older "
    "than this command does not know drills."
)
HELD_NO_MORE: Final = (
    "The operator does not hold it any more: its time is over, or an operator leads that is older than this command."
)
TIME_OVER: Final = End("Its time was over.")
_T = TypeVar("_T")


class Ended(msgspec.Struct, frozen=True):
    """How a live drill went."""

    told: Told
    real: tuple[Real, ...]
    seconds: float
    """How long it lasted."""
    end: End

    @property
    def verdict(self) -> str:
        """What became of the pods."""
        times = [real.ready_at for real in self.real if real.ready_at is not None]
        planned = self.told.course.served_after
        said = f"{len(times)} of {counted(len(self.real), 'pod')} were Ready elsewhere"
        if times:
            said += f", the last of them at {clock(max(times))}"
            said += f" (planned {clock(planned)})" if planned is not None else ""
        return f"{said}. {self.end.why}"


class Window(msgspec.Struct, frozen=True):
    """When the drill lasts, by the leader's clock, in seconds since the epoch."""

    since: float
    until: float


def confirm(yes: str, told: Told, console: Console, read: Callable[[], str] = input) -> bool:
    """Have a person type the name of the provider; return whether a person was asked. Raises DrillError without a
    confirmation. `yes`: the confirmation of a script.
    """
    wanted = f"{told.pool.name}/{told.course.provider}"
    if yes:
        if yes != wanted:
            raise DrillError(f"no drill: --yes {yes} does not name {wanted}")
        return False
    if not sys.stdin.isatty():
        raise DrillError(f"no drill: this is no terminal, so nobody can confirm it. Scripts give --yes {wanted}")
    # asyncio's own handler would wait for the line.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        console.print(
            f"{told.course.provider} will really be drained. Of its {counted(len(told.course.fates), 'pod')}, "
            f"{len(told.course.fates) - len(told.course.stranded)} will be evicted and made again elsewhere. "
            f"To go on, type {wanted}"
        )
        typed = read().strip()
    except EOFError:
        typed = ""
    finally:
        signal.signal(signal.SIGINT, before)
    if typed != wanted:
        raise DrillError("no drill: it was not confirmed, and nothing was changed")
    return True


async def hold(client: ApiClient, found: Found, told: Told, window: Window, console: Console) -> Ended:
    """Hold the drill: drain, watch, and put all back. Raises ApiError and DrillError if it did not begin."""
    pool, provider = told.pool, told.course.provider
    drill = drill_field.drill_of(window.since, window.until, _author())
    over = time.monotonic() + window.until - window.since
    with _signals(console, pool.name) as stop:
        try:
            await _begin(client, pool, provider, drill, window.since, stop)
        except ApiError as error:
            # Without an answer, the patch may have arrived.
            if error.retryable or error.status == 0:
                await put_back(client, pool.name, drill, console, over)
            raise
        watched = Watched(told.course.fates, found.seed.pods, nodes_of(found.seed, provider))
        began = time.monotonic()
        try:
            say(console, f"The drill of {provider} has begun. It ends by itself at {drill['until']} at the latest.")
            end = await _Watch(client, told, watched, drill, console).until_end(stop, began, over)
        finally:
            await put_back(client, pool.name, drill, console, over)
        return Ended(told, tuple(watched.real), time.monotonic() - began, end)


async def _begin(
    client: ApiClient, pool: ComputePool, provider: str, drill: Json, now: float, stop: asyncio.Event
) -> None:
    """Begin, unless another person has begun a drill, or drained the provider, in the meantime."""
    last: ApiError | None = None
    for _ in range(stored_pool.ATTEMPTS):
        stored = await stored_pool.read_stored(client, pool.name)
        if stored.pool.metadata.uid != pool.metadata.uid:
            raise DrillError(f"no drill: pool {pool.name} is another pool by now")
        stored.position(provider)
        if drills_in(stored).get(provider) == drill:
            # An earlier attempt had no answer, or a wrong one.
            return
        if why := drill_field.why_not_now(stored.pool, provider, now):
            raise DrillError(f"no drill: {why}")
        if stop.is_set():
            raise DrillError("no drill: it was interrupted, and nothing was changed")
        try:
            await drill_field.begin(client, stored, provider, drill)
        except (Conflict, Invalid) as error:
            last = error
            await asyncio.sleep(stored_pool.PAUSE_SECONDS)
        else:
            return
    raise DrillError(f"no drill: the pool is changed again and again by others, or the API server refuses it: {last}")


class _Watch:
    """Prints each pod that is Ready elsewhere, until all are, or until the drill can't go on."""

    def __init__(self, client: ApiClient, told: Told, watched: Watched, drill: Json, console: Console) -> None:
        self._told = told
        self._watched = watched
        self._drill = drill
        self._console = console
        self._looks = Looks(client, told.pool.name, watched.namespaces)
        self._away = False
        self._taken_up = False

    async def until_end(self, stop: asyncio.Event, began: float, over: float) -> End:
        """Watch until the end. `began`, `over`: by the monotonic clock."""
        while True:
            asked = time.monotonic()
            try:
                look = await _unless(stop, self._look())
                end = None if look is None else self._see(look, asked - began, over - asked)
            except (ApiError, ToldError) as error:
                return End(f"The drill could not be watched any more: {full_stop(str(error))}")
            if stop.is_set():
                return End("It was interrupted.", interrupted=True)
            now = time.monotonic()
            if end is not None and end.well:
                return end
            if now >= over:
                return TIME_OVER
            if end is not None:
                return end
            pause = max(POLL_SECONDS, (now - asked) * _SHARE)
            await _wait(stop, min(pause, over - now))

    def _see(self, look: Look, seconds: float, left: float) -> End | None:
        """`seconds`: since the drill began; `left`: until its end by this computer's clock, which may have slept."""
        for real in self._watched.see(look.pods, seconds):
            say(self._console, line_of(real))
        if end := self._watched.end:
            return end
        why = why_over(look.stored, self._told.course.provider, self._drill)
        if why is None:
            is_held = is_taken_up(look.stored, self._told.course.provider, self._drill)
            if self._taken_up and not is_held:
                return TIME_OVER if left < CLOCKS_SECONDS else End(HELD_NO_MORE)
            self._taken_up = is_held
            if not is_held and seconds > TAKE_UP_SECONDS:
                return End(NOT_TAKEN_UP)
        return why

    async def _look(self) -> Look | None:
        """Look at the cluster; None while the API server does not answer. Raises ApiError that does not pass."""
        try:
            look = await self._looks.look()
        except ApiError as error:
            if not error.retryable and not isinstance(error, Gone):
                raise
            if not self._away:
                say(self._console, f"The API server does not answer ({error.message}). Waiting for it ...")
            self._away = True
            return None
        if self._away:
            say(self._console, "The API server answers again.")
        self._away = False
        return look


def why_over(stored: Stored | None, provider: str, drill: Json) -> End | None:
    """Return why the drill can't go on; None if it can. `stored`: the pool, None if it is gone."""
    if stored is None:
        return End("The pool was deleted.")
    if drills_in(stored).get(provider) != drill:
        return End("Another person, or a tool that syncs the pool's manifest, has changed or removed the field drill.")
    if stored.pool.spec.mode is Mode.OBSERVE:
        return End("The pool is in mode Observe now, so nothing moves any more.")
    record = _record(stored, provider, drill)
    return End(f"The operator has stopped it: {printable(record.stopped)}.") if record and record.stopped else None


def is_taken_up(stored: Stored | None, provider: str, drill: Json) -> bool:
    """Say whether an operator has noted the drill in the pool's status."""
    return stored is not None and _record(stored, provider, drill) is not None


def _record(stored: Stored, provider: str, drill: Json) -> DrillStatus | None:
    record = next((found.drill for found in stored.pool.status.providers if found.name == provider), None)
    return record if record is not None and rfc3339(record.since) == drill["since"] else None


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, _T]) -> _T | None:
    """Do some work; give it up, and return None, once the drill is to stop."""
    task, waiting = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, waiting):
            each.cancel()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    """Wait for some time, or until the drill is to stop."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(0.0, seconds))


async def put_back(client: ApiClient, pool: str, drill: Json, console: Console, over: float) -> None:
    """Remove the field, however often the API server fails or refuses, until the drill is over by its time.

    `over`: by the monotonic clock.
    """
    told = False
    while True:
        try:
            ended = await drill_field.end(client, pool, drill)
        except NotFoundError:
            say(console, "The pool was deleted, and the drill with it.")
            return
        except (ApiError, ToldError) as error:
            if time.monotonic() >= over:
                say(
                    console,
                    f"The drill is over by its time, and has no effect any more. Its field is left: {error}. Remove "
                    f"it with computepool drill --restore {pool}",
                )
                return
            if not told:
                say(
                    console,
                    f"Waiting for the API server, to end the drill ({error}). The drill ends by itself at "
                    f"{drill['until']}. A second Ctrl-C leaves.",
                )
            told = True
            await asyncio.sleep(RETRY_SECONDS)
        else:
            done = "The drill has ended, and the pool's spec is as before." if ended else "There is no drill any more."
            say(console, done)
            return


def say(console: Console, text: str | Text) -> None:
    """Print a line, if anybody can read it: the drill must be ended although the terminal or the pipe is gone, or does
    not know a letter.
    """
    with suppress(OSError, ValueError):
        console.print(text)


@contextmanager
def _signals(console: Console, pool: str) -> Iterator[asyncio.Event]:
    """Yield an event that SIGINT, SIGTERM and SIGHUP set. A second SIGINT ends the process at once.

    Only a person sends SIGINT twice. A terminal that closes sends SIGHUP more than once.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_interrupt() -> None:
        if stop.is_set():
            say(console, f"Left without putting back. End the drill with: computepool drill --restore {pool}")
            # At once: tasks that are cancelled would wait for the API server again.
            os._exit(INTERRUPTED)
        stop.set()

    handlers = {signal.SIGINT: on_interrupt, signal.SIGTERM: stop.set, signal.SIGHUP: stop.set}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield stop
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


def _author() -> str:
    """Name the person and the computer, as far as they are known."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return printable(f"{user}@{socket.gethostname()}")[:253]


def line_of(real: Real) -> str:
    """Say when a pod was Ready elsewhere, planned and really."""
    planned = "-" if real.fate.ready_at is None else clock(real.fate.ready_at)
    really = "-" if real.ready_at is None else clock(real.ready_at)
    return f"{name_of(real.fate)}: Ready on {real.runs_on} at {really}, planned {planned}"
