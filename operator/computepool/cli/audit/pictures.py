"""The pictures of an audit's page, as SVG: where accelerators are, and what moves where when a part is lost.

A picture has the width of its place, and the text keeps its size: horizontal places are shares of the width. So it is
readable on a telephone, on a screen and on paper. Amounts are in thousandths of an accelerator.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Final

import msgspec

from computepool.audit.accelerators import accelerators
from computepool.audit.results import JudgedLoss
from computepool.audit.supply import SupplyRow, summed_up
from computepool.cli.audit.wording import amount, not_judged, sentences
from computepool.model.text import printable
from computepool.report.formatting import counted

MOST_BARS: Final = 12
"""Providers of which a bar is drawn, the largest."""
MOST_REGIONS: Final = 6
"""Regions of a provider of which a bar is drawn."""
MOST_TARGETS: Final = 6
"""Providers to which a flow is drawn."""
LONGEST_NAME: Final = 20
"""Characters of a name beside a flow. The whole name is in the description and in the tables."""
_THINNEST: Final = 0.3
"""Percent of the width: so that few accelerators beside thousands are seen."""
_BAR: Final = 20
_REGION_BAR: Final = 10
_FLOW: Final = 130
"""Pixels for all that a lost part holds."""
_SLOT: Final = 40
"""Pixels for the two lines beside a flow."""
_LEAST: Final = 2.0
_BLOCK: Final = 14
_SHARE: Final = 52
"""Percent of the width for the flows; the rest is for names."""

PATTERNS: Final = (
    '<svg width="0" height="0" class="patterns" aria-hidden="true"><defs>'
    '<pattern id="hatched" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect class="ground-bad" width="6" height="6"/><rect class="ink-bad" width="2.5" height="6"/></pattern>'
    '<pattern id="dotted" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<rect class="ground-made" width="6" height="6"/><circle class="ink-made" cx="3" cy="3" r="1.7"/></pattern>'
    "</defs></svg>"
)
"""The fills that tell parts apart without colours. All pictures of a page use them."""


def shown(text: str) -> str:
    """Return a text for a page: in one line, and with nothing in it that a browser would take for its own."""
    return escape(printable(text))


def supply_bars(rows: Sequence[SupplyRow]) -> str:
    """Draw a bar for each provider, and a thinner one for each of its regions, all to one scale; empty without rows."""
    providers = summed_up(rows, lambda row: row.provider)
    scale = max((row.capacity for row in providers.values()), default=0)
    if not scale:
        return ""
    drawn = [
        _provider_bars(name, row, [own for own in rows if own.provider == name], scale)
        for name, row in list(providers.items())[:MOST_BARS]
    ]
    return "".join(drawn) + _more(len(providers) - MOST_BARS, "provider")


def supply_legend() -> str:
    """Explain the parts of the bars."""
    return _legend(("used", "used"), ("free", "free"), ("bad", "bad: no pod can begin to use these now"))


def flow(loss: JudgedLoss) -> str:
    """Draw what becomes of the pods of a lost part; empty where no pod holds an accelerator there."""
    streams = list(_streams(loss))
    if not streams:
        return ""
    total = sum(stream.milli for stream in streams)
    heights = [max(_LEAST, _FLOW * stream.milli / total) for stream in streams]
    slots = [max(_SLOT, height + 8) for height in heights]
    whole = sum(slots)
    source = (whole - sum(heights)) / 2
    ribbons, blocks, words = "", "", ""
    target = 0.0
    for stream, height, slot in zip(streams, heights, slots, strict=True):
        top = target + (slot - height) / 2
        ribbons += _ribbon(stream.kind, source, top, height)
        blocks += f'<rect class="{stream.kind}" x="{_SHARE}%" y="{top:.1f}" width="{_BLOCK}" height="{height:.1f}"/>'
        words += _words(stream, target + slot / 2)
        source += height
        target += slot
    held = f'<rect class="held" width="{_BLOCK}" y="{(whole - sum(heights)) / 2:.1f}" height="{sum(heights):.1f}"/>'
    description = "; ".join(f"{stream.name}: {stream.told}" for stream in streams)
    return (
        f'<svg class="flow" role="img" width="100%" height="{whole:.0f}">'
        f"<title>{shown(f'Where the pods go if {loss.what} is lost')}</title><desc>{shown(description)}</desc>"
        f'<svg width="{_SHARE}%" height="{whole:.0f}" viewBox="0 0 100 {whole:.0f}" preserveAspectRatio="none">'
        f"{ribbons}</svg>{held}{blocks}{words}</svg>"
    )


def flow_legend(losses: Iterable[JudgedLoss]) -> str:
    """Explain the ends of the flows that are drawn."""
    drawn = {stream.kind for loss in losses for stream in _streams(loss)}
    kinds = (
        ("now", "there is a place now"),
        ("made", "a place once the provider has made nodes"),
        ("stranded", "stranded: no provider has a place"),
    )
    return _legend(*((kind, words) for kind, words in kinds if kind in drawn))


class _Stream(msgspec.Struct, frozen=True):
    """A part of what a lost part holds, and where it goes."""

    name: str
    milli: int
    kind: str
    """now, made or stranded: the class of its style."""

    @property
    def told(self) -> str:
        words = {"now": "now", "made": "on nodes yet to make", "stranded": "without a place"}
        return f"{amount(self.milli)} {words[self.kind]}"


def _streams(loss: JudgedLoss) -> Iterator[_Stream]:
    targets = list(loss.moves.items())
    for name, milli in targets[:MOST_TARGETS]:
        made = min(milli, loss.on_demand.get(name, 0))
        for part, kind in ((milli - made, "now"), (made, "made")):
            if part:
                yield _Stream(name, part, kind)
    others = targets[MOST_TARGETS:]
    if others:
        rest = sum(milli for _, milli in others)
        made = sum(min(milli, loss.on_demand.get(name, 0)) for name, milli in others)
        for part, kind in ((rest - made, "now"), (made, "made")):
            if part:
                yield _Stream(counted(len(others), "other provider"), part, kind)
    if loss.stranded:
        yield _Stream("stranded", loss.stranded, "stranded")


def _ribbon(kind: str, source: float, target: float, height: float) -> str:
    """Draw the way from the left edge to the right one; the numbers are the upper ends and the height in pixels."""
    below, beneath = source + height, target + height
    return (
        f'<path class="ribbon {kind}" d="M0 {source:.1f}C50 {source:.1f} 50 {target:.1f} 100 {target:.1f}'
        f'V{beneath:.1f}C50 {beneath:.1f} 50 {below:.1f} 0 {below:.1f}Z"/>'
    )


def _words(stream: _Stream, middle: float) -> str:
    name = stream.name if len(stream.name) <= LONGEST_NAME else f"{stream.name[: LONGEST_NAME - 1]}…"
    beside = f'x="{_SHARE}%" dx="{_BLOCK + 8}"'
    return (
        f'<text class="name" {beside} y="{middle - 3:.1f}">{shown(name)}</text>'
        f'<text {beside} y="{middle + 13:.1f}">{shown(stream.told)}</text>'
    )


def _provider_bars(name: str, row: SupplyRow, rows: Sequence[SupplyRow], scale: int) -> str:
    regions = summed_up(rows, lambda own: own.region)
    if len(regions) == 1:
        region = next(iter(regions))
        return f'<div class="provider">{_bar(f"{name} in {region}" if region else name, row, scale, _BAR)}</div>'
    by_size = sorted(regions.items(), key=lambda item: (-item[1].capacity, item[0]))
    drawn = "".join(
        f'<div class="region">{_bar(region or "no region", own, scale, _REGION_BAR)}</div>'
        for region, own in by_size[:MOST_REGIONS]
    )
    more = _more(len(by_size) - MOST_REGIONS, "region")
    return f'<div class="provider">{_bar(name, row, scale, _BAR)}{drawn}{more}</div>'


def _bar(name: str, row: SupplyRow, scale: int, height: int) -> str:
    """Draw the parts of a row: used on nodes that work, free there, and the rest, which pods may hold as well."""
    works = row.allocatable - row.free
    parts = (("used", works), ("free", row.free), ("bad", row.unhealthy))
    told = f"{accelerators(row.capacity)}: " + ", ".join(f"{amount(milli)} {kind}" for kind, milli in parts)
    # Pods go on holding accelerators of a node that fails or is cordoned.
    held = min(row.unhealthy, row.used - works)
    if held > 0:
        told += f" ({amount(held)} of them used)"
    rects, begin = "", 0.0
    for kind, milli in parts:
        if milli > 0:
            width = max(_THINNEST, 100 * milli / scale)
            rects += f'<rect class="{kind}" x="{begin:.2f}%" width="{width:.2f}%" height="{height}"/>'
            begin += width
    return (
        f'<p class="bar"><b>{shown(name)}</b> <span>{shown(told)}</span></p>'
        f'<svg class="bar" role="img" width="100%" height="{height}">'
        f"<title>{shown(name)}</title><desc>{shown(told)}</desc>{rects}</svg>"
    )


def _legend(*parts: tuple[str, str]) -> str:
    items = "".join(
        '<li><svg width="28" height="12" aria-hidden="true">'
        f'<rect class="{kind}" width="28" height="12"/></svg> {shown(words)}</li>'
        for kind, words in parts
    )
    return f'<ul class="legend">{items}</ul>'


def _more(count: int, noun: str) -> str:
    return f'<p class="soft">And {shown(counted(count, f"more {noun}"))}: see the tables.</p>' if count > 0 else ""


def figures(losses: Iterable[JudgedLoss]) -> str:
    """Draw the flow of each loss, under a caption in words."""
    return "".join(
        f"<figure><figcaption><b>{shown(f'{loss.what} is lost')}</b>: {shown(_caption(loss))}</figcaption>"
        f"{flow(loss)}</figure>"
        for loss in losses
    )


def _caption(loss: JudgedLoss) -> str:
    left_out = loss.assumptions.not_judged
    if not loss.held:
        holder = "no workload that can be judged" if left_out else "no pod"
        return sentences((f"{holder} holds any of its {accelerators(loss.capacity)}", *not_judged(loss)))
    told = f"{amount(loss.held)} of {accelerators(loss.capacity)} held, {amount(loss.stranded)} stranded"
    return sentences((told, *not_judged(loss)))
