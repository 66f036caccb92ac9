"""`computepool drill --live`: a provider is really drained for a while, and all is put back.

The drill begins with one patch and ends with one patch (`drill_field.py`). A first Ctrl-C or SIGTERM ends it at once,
and the command tries until the API server has taken the patch. A second one leaves. If this process dies, or loses the
API server, the operator ends the drill by itself at the time that the field names.
"""

import asyncio
import getpass
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import msgspec
from rich.console import Console
from rich.text import Text

from computepool.app.caches import UNFINISHED
from computepool.cli import drill_field
from computepool.cli.cluster_view import NotFoundError
from computepool.cli.drill_field import DrillError, Json
from computepool.cli.drill_seed import Found, nodes_of, read_list
from computepool.cli.drill_text import Told, clock, name_of
from computepool.cli.drill_watch import Real, Watched
from computepool.cli.leader import LeaderWatch, LeaseAddress
from computepool.kube import paths
from computepool.kube.client import ApiClient
from computepool.kube.errors import ApiError, Conflict, Invalid
from computepool.model.api import BreakerState, ComputePool, ConditionStatus, Mode
from computepool.model.cluster import Pod
from computepool.model.text import printable, rfc3339
from computepool.observe.decode import Records
from computepool.report.conditions import DEGRADED
from computepool.report.formatting import counted, span

POLL_SECONDS: Final = 1.0
"""Between two lists of the pods; longer if a list takes long."""
_SHARE: Final = 5.0
"""A list takes at most a fifth of the time."""
RETRY_SECONDS: Final = 2.0
MOST_SKEW: Final = 60.0
"""Seconds by which this computer's clock may differ from the leader's: the drill ends by the leader's clock."""
EXIT_SECOND_SIGNAL: Final = 130


class Live(msgspec.Struct, frozen=True):
    """How the user wants the drill."""

    within: float
    """Seconds after which the drill ends by itself."""
    lease: LeaseAddress
    yes: str = ""
    """The confirmation of a script."""
    allow_stranded: bool = False
    wait_home: bool = False
    """Whether the command waits until the provider is in full use again, and its pods are back."""


class Ended(msgspec.Struct, frozen=True):
    """How a live drill went."""

    told: Told
    real: tuple[Real, ...]
    seconds: float
    """How long it lasted."""
    why: str
    """Why it ended, as a sentence."""


async def refuse(client: ApiClient, live: Live, told: Told, now: float) -> None:
    """Raise DrillError if the drill must not begin."""
    pool, provider = told.pool, told.course.provider
    if why := await _why_not(client, live, pool, provider, now):
        raise DrillError(f"no drill: {why}")
    stranded = told.course.stranded
    if stranded and not live.allow_stranded:
        raise DrillError(
            f"no drill: {counted(len(stranded), 'pod')} would be stranded, see above. A pod that can't leave "
            "stays on the provider. To drill nevertheless, give --allow-stranded"
        )


async def _why_not(client: ApiClient, live: Live, pool: ComputePool, provider: str, now: float) -> str:
    if pool.spec.mode is Mode.OBSERVE:
        return "the pool is in mode Observe, so nothing would move"
    if why := drill_field.why_not_now(pool, provider, now):
        return why
    report = next((found for found in pool.status.providers if found.name == provider), None)
    if report is None or not pool.status.conditions:
        return "the operator has not reported on this pool yet"
    if report.breaker.state is not BreakerState.CLOSED:
        return f"{provider} is not in full use: its breaker is {report.breaker.state} ({report.breaker.reason})"
    degraded = pool.status.condition(DEGRADED)
    if degraded is not None and degraded.status is not ConditionStatus.FALSE:
        return f"the pool is Degraded already ({degraded.reason}): {degraded.message}"
    watch = LeaderWatch(client, live.lease)
    leader = await watch.read()
    if not leader.is_well:
        return leader.trouble or leader.message
    age = watch.age(leader)
    if age is None or abs(age) > MOST_SKEW:
        return "this computer's clock and the leader's differ by more than a minute, and the drill ends by the leader's"
    return ""


def confirm(live: Live, told: Told, console: Console, read: Callable[[], str] = input) -> None:
    """Have a person type the name of the provider. Raises DrillError without a confirmation."""
    wanted = f"{told.pool.name}/{told.course.provider}"
    if live.yes:
        if live.yes != wanted:
            raise DrillError(f"no drill: --yes {live.yes} does not name {wanted}")
        return
    if not sys.stdin.isatty():
        raise DrillError(f"no drill: this is no terminal, so nobody can confirm it. Scripts give --yes {wanted}")
    console.print()
    console.print(
        f"{told.course.provider} will really be drained, and its pods are evicted ({len(told.course.fates)}). "
        f"To go on, type {wanted}"
    )
    try:
        typed = read().strip()
    except EOFError:
        typed = ""
    if typed != wanted:
        raise DrillError("no drill: it was not confirmed, and nothing was changed")


async def hold(client: ApiClient, live: Live, found: Found, told: Told, console: Console) -> Ended:
    """Hold the drill: drain, watch, and put all back. Raises ApiError and DrillError."""
    pool, provider = told.pool, told.course.provider
    with _signals(console, pool.name) as stop:
        began = time.time()
        drill = drill_field.drill_of(began, began + live.within, _author())
        try:
            await _begin(client, pool, provider, drill)
        except ApiError as error:
            # Without an answer, the patch may have arrived.
            if error.retryable or error.status == 0:
                await _put_back(client, pool.name, drill, console, began + live.within)
            raise
        watched = Watched(told.course.fates, found.seed.pods, nodes_of(found.seed, provider))
        try:
            console.print(f"The drill of {provider} has begun. It ends by itself at {drill['until']} at the latest.")
            why = await _watch(client, watched, stop, console, began, began + live.within)
        finally:
            await _put_back(client, pool.name, drill, console, began + live.within)
        return Ended(told, tuple(watched.real), time.time() - began, why)


async def _begin(client: ApiClient, pool: ComputePool, provider: str, drill: Json) -> None:
    """Begin, unless another person has begun a drill, or drained the provider, in the meantime."""
    last: ApiError | None = None
    for _ in range(drill_field.ATTEMPTS):
        stored = await drill_field.read_stored(client, pool.name)
        if stored.pool.metadata.uid != pool.metadata.uid:
            raise DrillError(f"no drill: pool {pool.name} is another pool by now")
        stored.position(provider)
        if stored.drills.get(provider) == drill:
            # An earlier attempt had no answer, or a wrong one.
            return
        if why := drill_field.why_not_now(stored.pool, provider, time.time()):
            raise DrillError(f"no drill: {why}")
        try:
            await drill_field.begin(client, stored, provider, drill)
        except (Conflict, Invalid) as error:
            last = error
            await asyncio.sleep(drill_field.PAUSE_SECONDS)
        else:
            return
    raise DrillError(f"no drill: pool {pool.name!r} is changed again and again by others: {last}")


async def _watch(
    client: ApiClient, watched: Watched, stop: asyncio.Event, console: Console, began: float, until: float
) -> str:
    """Print each pod that is Ready elsewhere, until all are; return why the watch ended."""
    lists = _Lists(client, console)
    while True:
        asked = time.time()
        for real in watched.see(await lists.next(), asked - began):
            console.print(line_of(real))
        if watched.is_over:
            return "All pods that were planned to move are Ready elsewhere."
        if stop.is_set():
            return "It was interrupted."
        if time.time() >= until:
            return "Its time was over."
        pause = max(POLL_SECONDS, (time.time() - asked) * _SHARE)
        await _wait(stop, min(pause, max(0.0, until - time.time())))


class _Lists:
    """Lists all pods again and again; while the API server does not answer, the last list stands."""

    def __init__(self, client: ApiClient, console: Console) -> None:
        self._client = client
        self._console = console
        self._records = Records()
        self._last: list[Pod] | None = None
        self._away = False

    async def next(self) -> list[Pod] | None:
        """Return the pods that have not ended; None before the first answer. Raises ApiError that does not pass."""
        try:
            pods = await read_list(self._client, paths.PODS, self._records.pod, set(), UNFINISHED)
        except ApiError as error:
            if not error.retryable:
                raise
            if not self._away:
                self._console.print(f"The API server does not answer ({error.message}). Waiting for it ...")
            self._away = True
            return self._last
        if self._away:
            self._console.print("The API server answers again.")
        self._away = False
        self._last = [pod for pod in pods if not pod.finished]
        return self._last


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    """Wait for some time, or until the drill is to stop."""
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()


async def _put_back(client: ApiClient, pool: str, drill: Json, console: Console, until: float) -> None:
    """Remove the field, however long the API server is away."""
    told = False
    while True:
        try:
            ended = await drill_field.end(client, pool, drill)
        except NotFoundError:
            _say(console, "The pool was deleted, and the drill with it.")
            return
        except ApiError as error:
            if not error.retryable:
                raise DrillError(
                    f"the drill could not be ended: {error}. It ends by itself at {rfc3339(until)}. Remove the field "
                    f"with computepool drill --restore {pool}"
                ) from None
            if not told:
                _say(
                    console,
                    f"Waiting for the API server, to end the drill ({error.message}). The drill ends by itself at "
                    f"{rfc3339(until)}. A second Ctrl-C leaves.",
                )
            told = True
            await asyncio.sleep(RETRY_SECONDS)
        else:
            done = "The drill has ended, and the pool's spec is as before." if ended else "There is no drill any more."
            _say(console, done)
            return


def _say(console: Console, text: str) -> None:
    """Print a line, if anybody still reads: the drill must be ended although the terminal or the pipe is gone."""
    with suppress(OSError):
        console.print(text)


@contextmanager
def _signals(console: Console, pool: str) -> Iterator[asyncio.Event]:
    """Yield an event that the first SIGINT, SIGTERM or SIGHUP sets. The second one ends the process at once."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            _say(console, f"Left without putting back. End the drill with: computepool drill --restore {pool}")
            # At once: tasks that are cancelled would wait for the API server again.
            os._exit(EXIT_SECOND_SIGNAL)
        stop.set()

    # SIGHUP: the terminal, or the connection to it, is gone.
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _author() -> str:
    """Name the person and the computer, as far as they are known."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return printable(f"{user}@{socket.gethostname()}")[:253]


# --- what is printed


def line_of(real: Real) -> str:
    """Say when a pod was Ready elsewhere, planned and really."""
    planned = "-" if real.fate.ready_at is None else clock(real.fate.ready_at)
    really = "-" if real.ready_at is None else clock(real.ready_at)
    return f"{name_of(real.fate)}: Ready on {real.runs_on} at {really}, planned {planned}"


def print_end(ended: Ended, console: Console) -> None:
    """Print how the drill went."""
    course = ended.told.course
    ready = sum(real.ready_at is not None for real in ended.real)
    console.print()
    verdict = (
        f"{ready} of {counted(len(ended.real), 'pod')} were Ready elsewhere, in {span(ended.seconds)}. {ended.why}"
    )
    planned = len(course.fates) - len(course.stranded)
    console.print(Text(verdict, style="green" if ready >= planned else "red"))
    if course.served_after is not None:
        really = max((real.ready_at for real in ended.real if real.ready_at is not None), default=None)
        last = "-" if really is None else clock(really)
        console.print(f"The last of them: planned {clock(course.served_after)}, really {last}.")
    console.print(_home(ended.told))


def _home(told: Told) -> str:
    pool, provider = told.pool, told.course.provider
    trial = f"{provider} is on trial now, until a first pod is healthy there, or no pod has come for a while."
    if pool.spec.primary.name == provider:
        return f"{trial} Pods come home by failback, as failback.policy says ({pool.spec.failback.policy})."
    return f"{trial} Pods that have left stay where they are, as after every move."
