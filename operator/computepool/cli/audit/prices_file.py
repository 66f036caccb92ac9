"""Reads a file of prices: YAML with the price of an accelerator for an hour, in the user's currency.

    nebius: "2.95"
    aws:
      H100: "12.29"
      A100-80GB: {spot: "1.80", default: "4.10"}
      nvidia.com/mig-1g.10gb: "1.75"
      spot: "4.10"
      default: "9.00"

Of several prices that apply, the one that says most holds: a resource, then a model, then a capacity type.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import yaml

from computepool.audit.node_labels import ON_DEMAND, RESERVED, SPOT
from computepool.audit.prices import PriceRule, words_of
from computepool.cli.errors import ToldError
from computepool.model.api.base import DECIMAL, fits
from computepool.model.text import cut, printable

_DEFAULT: Final = "default"
_CAPACITY_TYPES: Final = frozenset({SPOT, ON_DEMAND, RESERVED})
_MAX_TEXT: Final = 60
_KINDS: Final[Mapping[type, str]] = {dict: "a mapping", list: "a list"}


class PricesError(ToldError):
    """The file of prices can't be used; the message names the key."""


def read_prices(path: Path) -> tuple[PriceRule, ...]:
    """Read a file of prices. Raises PricesError."""
    try:
        # All values as texts: 12.10 is a price and no float, and `on` is no boolean.
        content: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise PricesError(f"--prices {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        told = " ".join(str(error).split())
        raise PricesError(f"--prices {path}: this is no YAML: {cut(printable(told), 200)}") from None
    if not isinstance(content, Mapping) or not content:
        raise PricesError(f'--prices {path}: write a price for each provider, such as aws: "12.29"')
    try:
        return tuple(rule for name, value in content.items() for rule in _of_provider(_key(name, ""), value))
    except PricesError as error:
        raise PricesError(f"--prices {path}: {error}") from None


class _Loader(yaml.BaseLoader):
    """Reads all values as texts, and takes no key twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str) or key in found:
            problem = "this key is there twice" if isinstance(key, str) else "a key must be a text"
            raise yaml.MarkedYAMLError(problem=f"{problem}: {key}", problem_mark=key_node.start_mark)
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _of_provider(provider: str, value: Any) -> Iterator[PriceRule]:
    if not isinstance(value, Mapping):
        yield PriceRule(provider, _price(value, provider))
        return
    for name, inner in _items(value, provider):
        path = f"{provider}.{name}"
        if name in _CAPACITY_TYPES or name == _DEFAULT:
            yield PriceRule(provider, _price(inner, path), capacity_type=_type(name))
        elif "/" in name:
            yield from _of_devices(provider, inner, path, resource=name)
        else:
            if not words_of(name):
                raise PricesError(f"{path}: name a model such as H100, a capacity type, a resource, or default")
            yield from _of_devices(provider, inner, path, model=name)


def _of_devices(provider: str, value: Any, path: str, *, resource: str = "", model: str = "") -> Iterator[PriceRule]:
    """Yield the prices of a resource or a model: a price, or a price by capacity type."""
    if not isinstance(value, Mapping):
        yield PriceRule(provider, _price(value, path), resource, model)
        return
    for name, inner in _items(value, path):
        if name not in _CAPACITY_TYPES and name != _DEFAULT:
            known = ", ".join((*sorted(_CAPACITY_TYPES), _DEFAULT))
            raise PricesError(f"{path}.{name}: there is no such capacity type; there is {known}")
        yield PriceRule(provider, _price(inner, f"{path}.{name}"), resource, model, _type(name))


def _items(value: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Any]]:
    if not value:
        raise PricesError(f"{path}: there is no price")
    for name, inner in value.items():
        yield _key(name, path), inner


def _key(name: Any, path: str) -> str:
    if not isinstance(name, str) or not name:
        raise PricesError(f"{path or 'the file'}: a key must be a text")
    return name


def _type(name: str) -> str:
    return "" if name == _DEFAULT else name


def _price(value: Any, path: str) -> Decimal:
    if not isinstance(value, str) or not fits(DECIMAL, value):
        told = cut(printable(value), _MAX_TEXT) if isinstance(value, str) else _KINDS.get(type(value), "this")
        raise PricesError(
            f"{path}: {told or 'nothing'} is no price. Write a decimal with at most six digits on either side of the "
            'point, such as "12.29"'
        )
    return Decimal(value)
