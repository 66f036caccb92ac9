"""Runs an audit: reads, judges, prints, and says by the exit code whether it passed."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from computepool.app.settings import RESERVED_NAMESPACES
from computepool.audit.auditing import Audit, Question, audit
from computepool.audit.checks import CheckName
from computepool.audit.cluster import Cluster
from computepool.audit.parts import UnknownPartError
from computepool.audit.suggestion import NoSuggestionError, suggest
from computepool.cli.audit.data import as_csv, as_data
from computepool.cli.audit.live import read_live
from computepool.cli.audit.markdown import as_markdown
from computepool.cli.audit.measure import TIMEOUT_SECONDS, measure, parse_window
from computepool.cli.audit.page import page
from computepool.cli.audit.prices_file import read_prices
from computepool.cli.audit.saved import read_saved
from computepool.cli.audit.terminal import print_audit
from computepool.cli.console import print_data
from computepool.cli.errors import ToldError
from computepool.cli.exit_codes import NOT_AS_WANTED
from computepool.cli.metrics_source import source_at, source_in
from computepool.cli.options import AuditOutput, FailOn, Output
from computepool.model.api.base import DNS_LABEL, EXTENDED_RESOURCE, LABEL_VALUE, QUALIFIED_NAME, fits
from computepool.model.labels import Requirement, Selector
from computepool.prometheus.source import Source


class AuditError(ToldError):
    """The audit can't be done as it was asked for; the message says what to change."""


class Request(msgspec.Struct, frozen=True):
    """What the user asks for."""

    kubeconfig: str | None
    context: str | None
    operator_namespace: str
    saved: Path | None
    providers: tuple[str, ...]
    lose: tuple[str, ...]
    resources: tuple[str, ...]
    prices: Path | None
    prometheus: str | None
    prometheus_config: Path | None
    window: str
    output: AuditOutput
    fail_on: tuple[FailOn, ...]
    suggest: bool = False
    """Whether to print a ComputePool that fits, in place of what was found."""


async def run(request: Request, console: Console, errors: Console) -> int:
    """Audit a cluster and print what was found; return the exit code. Progress is shown on `errors`, on a terminal.

    Raises AccessError, ApiError, AuditError, PricesError, SavedClusterError, SourceOptionError and WindowError.
    """
    _check(request)
    source, window = _source_of(request), parse_window(request.window)
    question = Question(
        providers=parse_providers(request.providers),
        lose=request.lose,
        resources=request.resources,
        prices=() if request.prices is None else read_prices(request.prices),
        reserved=(*RESERVED_NAMESPACES, request.operator_namespace),
    )
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    ) as progress:
        task = progress.add_task("Reading the cluster")

        def told(kind: str, count: int) -> None:
            progress.update(task, description=f"Reading the cluster: {count} {kind}s")

        cluster = await _read(request, told)
        if source is not None:
            progress.update(task, description="Asking Prometheus")
            at = None if request.saved is None else cluster.now
            question = msgspec.structs.replace(question, measures=await measure(cluster, source, window, at))

        def judged(done: int, count: int) -> None:
            progress.update(task, description=f"Judging losses: {done} of {count}")

        try:
            found = audit(cluster, question, judged)
        except UnknownPartError as error:
            raise AuditError(str(error)) from None
    for note in _without_nodes(question.providers, cluster):
        errors.print(note, soft_wrap=True, markup=False, highlight=False)
    if request.suggest:
        console.print(_suggestion(found), soft_wrap=True)
    else:
        show(found, request.output, console)
    return exit_code(found, request.fail_on)


def _check(request: Request) -> None:
    """Raise AuditError for options that are wrong, or that would have no effect beside the others."""
    for name in request.resources:
        if not fits(EXTENDED_RESOURCE, name):
            raise AuditError(
                f"--resource {name}: an accelerator is an extended resource with its domain, such as example.com/npu: "
                "write it as in a container's limits"
            )
    if request.saved is not None:
        for option, value in (("--context", request.context), ("--kubeconfig", request.kubeconfig)):
            if value is not None:
                raise AuditError(f"--from reads files, and {option} names a live cluster: leave out one of the two")
    if request.suggest and request.output not in (AuditOutput.TABLE, AuditOutput.YAML):
        raise AuditError(f"--suggest prints YAML with comments: leave out --output {request.output}")


def _without_nodes(providers: Mapping[str, Selector], cluster: Cluster) -> Iterable[str]:
    """Yield a note for each --provider that selects no node: its label may be misspelt."""
    for name, selector in providers.items():
        if not any(selector.matches(found.node.labels) for found in cluster.nodes):
            labels = ", ".join(dict.fromkeys(requirement.key for requirement in selector.requirements))
            yield f"--provider {name}: no node has this label with this value: {labels}"


def _suggestion(found: Audit) -> str:
    try:
        return str(suggest(found))
    except NoSuggestionError as error:
        raise AuditError(str(error)) from None


def _source_of(request: Request) -> Source | None:
    if request.prometheus is not None:
        return source_at(request.prometheus, "--prometheus", TIMEOUT_SECONDS)
    return None if request.prometheus_config is None else source_in(request.prometheus_config)


async def _read(request: Request, told: Any) -> Cluster:
    if request.saved is not None:
        return read_saved(request.saved, request.resources, told)
    return await read_live(request.kubeconfig, request.context, request.resources, told)


def show(found: Audit, output: AuditOutput, console: Console) -> None:
    """Print an audit in the form that the user asks for."""
    match output:
        case AuditOutput.TABLE:
            print_audit(found, console)
        case AuditOutput.CSV:
            console.print(as_csv(found), soft_wrap=True)
        case AuditOutput.MARKDOWN:
            console.print(as_markdown(found), soft_wrap=True)
        case AuditOutput.HTML:
            console.print(page(found), soft_wrap=True)
        case AuditOutput.JSON | AuditOutput.YAML:
            print_data(as_data(found), Output(output), console)


def exit_code(found: Audit, fail_on: Iterable[FailOn]) -> int:
    """Return 0, or NOT_AS_WANTED where something that the user asks about is not well."""
    failed = {
        FailOn.STRANDED: any(loss.stranded for loss in found.losses),
        FailOn.CHECKS: any(not check.passed for check in found.checks),
        FailOn.UNREAD: bool(found.cluster.missing or found.cluster.unreadable or _unmeasured(found)),
    }
    return NOT_AS_WANTED if any(failed[what] for what in fail_on) else 0


def _unmeasured(found: Audit) -> bool:
    return any(check.name is CheckName.METRICS_READ and not check.passed for check in found.checks)


def parse_providers(given: Iterable[str]) -> Mapping[str, Selector]:
    """Read NAME=LABEL=VALUE, or NAME=LABEL for any value of a label. Raises AuditError.

    The same name with the same label again adds a value.
    """
    found: dict[str, Selector] = {}
    for text in given:
        name, _, selector = text.partition("=")
        if not name or not selector:
            raise AuditError(f"--provider {text}: write NAME=LABEL=VALUE, such as aws=eks.amazonaws.com/nodegroup=p5")
        if not fits(DNS_LABEL, name):
            raise AuditError(
                f"--provider {text}: a provider's name has up to 63 lower-case letters, digits and '-', and starts and "
                "ends with a letter or digit"
            )
        made = Selector(tuple(_requirement(text, part) for part in selector.split(",")))
        found[name] = _either(text, found[name], made) if name in found else made
    return found


def _requirement(text: str, part: str) -> Requirement:
    key, equals, value = part.partition("=")
    if not fits(QUALIFIED_NAME, key) or not fits(LABEL_VALUE, value):
        raise AuditError(f"--provider {text}: {part!r} is no label with its value, such as example.com/rack=7")
    return Requirement(key, "In", (value,)) if equals else Requirement(key, "Exists")


def _either(text: str, first: Selector, second: Selector) -> Selector:
    """Return the selector of nodes that either selects. Raises AuditError where a selector can't say so."""
    match (first.requirements, second.requirements):
        case ((Requirement(key, "In", some),), (Requirement(other, "In", more),)) if key == other:
            return Selector((Requirement(key, "In", tuple(dict.fromkeys((*some, *more)))),))
    if first == second:
        return first
    raise AuditError(
        f"--provider {text}: the name is given before with another label. Give the nodes of a provider one label, or "
        "give the provider once"
    )
