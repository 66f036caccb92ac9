"""What is wrong with a kubeconfig, in a sentence: the official loader's errors speak of its own code.

It is asked only after the loader has failed, so that no file is refused that the loader takes.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

Json = Mapping[str, Any]
UNFINDABLE: Final = (OSError, RuntimeError)
"""A place that may not be looked at, and a home directory that nobody knows."""


def problem_in(paths: str, context: str | None) -> str | None:
    """Return what is wrong with the files, separated as in $KUBECONFIG; None if nothing obvious is.

    `context`: the name of the context that was asked for; None: the current context.
    """
    merged: dict[str, dict[str, Json]] = {"clusters": {}, "contexts": {}, "users": {}}
    current = context or ""
    try:
        files = list(files_in(paths))
    except UNFINDABLE as error:
        return str(error)
    for file in files:
        content = _content(file)
        if isinstance(content, str):
            return content
        current = current or str(content.get("current-context") or "")
        for kind, found in merged.items():
            entries = content.get(kind) or ()
            if not isinstance(entries, Sequence) or isinstance(entries, str):
                return f"its {kind} must be a list"
            for entry in entries:
                if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
                    return f"an entry of its {kind} has no name"
                found.setdefault(entry["name"], entry)
    return _missing(merged, current)


def plugin_in(paths: str, context: str | None) -> str | None:
    """Return the command of the context's credential plugin; None without one. The files are those of a loaded file."""
    contents = [content for file in files_in(paths) if isinstance(content := _content(file), Mapping)]
    current = context or next((str(c["current-context"]) for c in contents if c.get("current-context")), "")

    def entry(kind: str, name: object) -> Json:
        entries = (e for content in contents for e in content.get(kind) or () if isinstance(e, Mapping))
        found = next((e.get(kind[:-1]) for e in entries if e.get("name") == name), None)
        return found if isinstance(found, Mapping) else {}

    plugin = entry("users", entry("contexts", current).get("user")).get("exec")
    return str(plugin.get("command") or "") if isinstance(plugin, Mapping) else None


def files_in(paths: str) -> Iterator[Path]:
    """Yield the files that exist. Raises UNFINDABLE."""
    return (file for path in paths.split(os.pathsep) if path and (file := Path(path).expanduser()).is_file())


def _content(file: Path) -> Json | str:
    """Return what the file holds, or why it is no kubeconfig."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except PermissionError:
        return "it may not be read: check its permissions"
    except (OSError, ValueError) as error:
        return f"it can't be read: {error}"
    except yaml.YAMLError as error:
        return f"it is not YAML: {' '.join(str(error).split())}"
    if content is None:
        return "it is empty"
    return (
        content
        if isinstance(content, Mapping)
        else "it is no kubeconfig: it must be a mapping with clusters and contexts"
    )


def _missing(merged: Mapping[str, Mapping[str, Json]], current: str) -> str | None:
    """Return which entry the context lacks."""
    contexts = merged["contexts"]
    if not current:
        return "it has no current-context: choose one by kubectl config use-context"
    if current not in contexts:
        return f"it has no context {current!r}; it has {', '.join(sorted(contexts)) or 'none'}"
    context = contexts[current].get("context")
    if not isinstance(context, Mapping):
        return f"its context {current!r} is empty"
    for kind in ("cluster", "user"):
        name = context.get(kind)
        if name and name not in merged[f"{kind}s"]:
            return f"its context {current!r} names the {kind} {name!r}, which it does not have"
    return None
