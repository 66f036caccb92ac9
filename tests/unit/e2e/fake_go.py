"""A stand-in for the `go` command that is told what to do, and writes down how it was called."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Json = dict[str, Any]

# What runs in its place. It reads its orders beside itself, and appends each call to a log there.
_PROGRAM = """\
#!{python}
import json, os, pathlib, signal, sys
here = pathlib.Path(__file__).parent
orders = json.loads((here / "orders.json").read_text())
arguments = sys.argv[1:]
call = {{"arguments": arguments, "env": dict(os.environ), "folder": os.getcwd(), "pid": os.getpid()}}
with (here / "calls.jsonl").open("a") as log:
    log.write(json.dumps(call) + "\\n")
match arguments:
    case ["version"]:
        print(orders["version"])
    case ["env", *_]:
        print(here / "user-modules")
        print("https://proxy.invalid,direct")
    case ["mod", "download", *_]:
        print(json.dumps({{"Dir": str(here / "sources")}}))
    case ["mod", "edit", *_]:
        print(json.dumps(orders["module"]))
    case ["list", *_]:
        print("go: downloading example.invalid/x v1.0.0", "errors", "fmt", sep="\\n")
    case ["build", *rest]:
        print("errors", "fmt", sep="\\n", flush=True)
        if orders["build_hangs"]:
            (here / "hangs").write_text("")
            signal.pause()
        if orders["build_fails"]:
            sys.exit(orders["build_fails"])
        out = pathlib.Path(rest[rest.index("-o") + 1])
        packages = rest[rest.index("-o") + 2:]
        for package in packages:
            binary = out / package.rpartition("/")[2] if out.is_dir() else out
            binary.write_text("#!/bin/sh\\necho " + orders["binary_says"] + "\\n")
"""


class FakeGo:
    """`path` is the command. Change the attributes, then call `tell`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "go"
        self.path.write_text(_PROGRAM.format(python=sys.executable))
        self.path.chmod(0o755)
        (folder / "sources").mkdir()
        (folder / "sources" / "go.sum").write_text("example.invalid/x v1.0.0 h1:pinned=\n")
        self.version = "go version go1.26.8 linux/amd64"
        self.module: Json = {"Go": "1.26.0"}
        self.build_fails = ""
        self.build_hangs = False
        self.binary_says = "v0.0.0"
        self.tell()

    def tell(self) -> None:
        orders = {
            "version": self.version,
            "module": self.module,
            "build_fails": self.build_fails,
            "build_hangs": self.build_hangs,
            "binary_says": self.binary_says,
        }
        (self.folder / "orders.json").write_text(json.dumps(orders))

    def calls(self, verb: str) -> list[Json]:
        log = self.folder / "calls.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return [call for call in map(json.loads, lines) if call["arguments"][0] == verb]
