"""Builds the control plane's binaries from their Go modules, in a folder that is removed afterwards.

Everything that Go keeps meanwhile (modules, compiled packages: gigabytes) lies in that folder too, not in the user's
own caches: a fresh machine is left with the binaries alone, while an interrupted build goes on where it was. What the
user's module cache already holds is read from there instead of the network.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2e import procs, versions
from e2e.errors import BuildError
from e2e.progress import Progress

# How much of what Go said is shown when a build fails.
ERROR_LINES = 30


@dataclass(frozen=True)
class Project:
    """A Go module that binaries are built from."""

    title: str
    module: str
    version: str
    # The binaries' names and their packages.
    packages: Mapping[str, str]
    # Variables that the linker sets, so that the binary knows its version.
    variables: Mapping[str, str] = field(default_factory=dict)
    # Build tags.
    tags: tuple[str, ...] = ()
    # The version of modules that live in the project's own repository and that its go.mod replaces by a folder there.
    # Published separately, they are at this version; None where requiring the module is enough.
    staging: str | None = None


_VERSION = "k8s.io/component-base/version"

PROJECTS = (
    Project(
        title=f"etcd {versions.ETCD}",
        module="go.etcd.io/etcd/server/v3",
        version=f"v{versions.ETCD}",
        packages={"etcd": "go.etcd.io/etcd/server/v3"},
    ),
    Project(
        title=f"Kubernetes {versions.KUBERNETES}",
        module="k8s.io/kubernetes",
        version=f"v{versions.KUBERNETES}",
        packages={
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
        },
        variables={
            f"{_VERSION}.gitVersion": f"v{versions.KUBERNETES}",
            f"{_VERSION}.gitMajor": "1",
            f"{_VERSION}.gitMinor": versions.kubernetes_minor(),
            f"{_VERSION}.gitTreeState": "clean",
        },
        staging=f"v{versions.staging()}",
    ),
    Project(
        title=f"kwok {versions.KWOK}",
        module="sigs.k8s.io/kwok",
        version=f"v{versions.KWOK}",
        packages={"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
    ),
    Project(
        title=f"Helm {versions.HELM}",
        module="helm.sh/helm/v4",
        version=f"v{versions.HELM}",
        packages={"helm": "helm.sh/helm/v4/cmd/helm"},
        variables={"helm.sh/helm/v4/internal/version.version": f"v{versions.HELM}"},
    ),
    Project(
        title=f"Prometheus {versions.PROMETHEUS}",
        module="github.com/prometheus/prometheus",
        version=f"v{versions.prometheus_module()}",
        packages={"prometheus": "github.com/prometheus/prometheus/cmd/prometheus"},
        variables={"github.com/prometheus/common/version.Version": versions.PROMETHEUS},
        # Without the service discoveries, whose cloud clients are most of its code. Tests name their targets.
        tags=("remove_all_sd",),
    ),
)


class Workshop:
    """A folder to build in, and a Go to build with."""

    def __init__(self, folder: Path, go: Path, env: Mapping[str, str] = os.environ) -> None:
        """Use the folder for everything that Go keeps."""
        self._folder = folder
        self._go = go
        self._env = _go_env(folder, go, env)
        (folder / "tmp").mkdir(parents=True, exist_ok=True)

    def build(self, names: Iterable[str], done: Callable[[str, Path], None]) -> None:
        """Build the binaries of these names and hand each over to `done` as soon as its project is built.

        Raises BuildError with the end of what Go said.
        """
        wanted = set(names)
        for project in PROJECTS:
            if chosen := sorted(wanted & set(project.packages)):
                with Progress(project.title) as progress:
                    built = self._build(project, chosen, progress)
                for name, path in built.items():
                    done(name, path)

    def _build(self, project: Project, names: list[str], progress: Progress) -> dict[str, Path]:
        folder = self._folder / project.title.replace(" ", "-").lower()
        folder.mkdir(parents=True, exist_ok=True)
        progress.say("fetching its sources")
        self._write_module(project, folder)
        packages = [project.packages[name] for name in names]
        total = self._fetch(project, folder, packages, progress)
        progress.say("compiling")
        out = folder / "out"
        out.mkdir(exist_ok=True)
        # Several binaries are named by Go, after the last part of their package; a single one is named by us.
        target = out if len(names) > 1 else out / names[0]
        # Without debugging data, which the linker would drop anyway: a tenth less work, a fifth less disk.
        lean = ["-tags", ",".join(project.tags), "-trimpath", "-gcflags=all=-dwarf=false"]
        lean += ["-ldflags", _linker_flags(project)]
        compiled = 0
        for line in self._lines(["build", "-v", *lean, "-o", str(target), *packages], folder):
            compiled += not line.startswith("go: ")
            last = compiled >= total - len(names)
            progress.say("linking" if last else f"compiling package {compiled} of {total}")
        return {name: out / name for name in names}

    def _write_module(self, project: Project, folder: Path) -> None:
        """Write a module of our own that requires the project's, with the checksums that the project itself pins."""
        answer = self._output(["mod", "download", "-json", f"{project.module}@{project.version}"], folder)
        sources = Path(json.loads(answer)["Dir"])
        theirs = json.loads(self._output(["mod", "edit", "-json", str(sources / "go.mod")], folder))
        (folder / "go.mod").write_text(module_text(project, theirs))
        shutil.copyfile(sources / "go.sum", folder / "go.sum")

    def _fetch(self, project: Project, folder: Path, packages: list[str], progress: Progress) -> int:
        """Fetch all modules that the packages need, and return how many packages there are to compile."""
        fetched = total = 0
        for line in self._lines(["list", "-deps", "-tags", ",".join(project.tags), *packages], folder):
            if line.startswith("go: downloading"):
                fetched += 1
                progress.say(f"fetching module {fetched}")
            else:
                total += 1
        return total

    def _output(self, arguments: list[str], folder: Path) -> str:
        ran = subprocess.run(
            [self._go, *arguments], cwd=folder, env=self._env, capture_output=True, text=True, check=False
        )
        if ran.returncode:
            raise BuildError(f"go {' '.join(arguments)}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout

    def _lines(self, arguments: list[str], folder: Path) -> Iterator[str]:
        """Run Go and yield what it says, line by line, on both streams. It ends when we do, however we end."""
        last: deque[str] = deque(maxlen=ERROR_LINES)
        with subprocess.Popen(
            [self._go, *arguments],
            cwd=folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=procs.die_with_parent(),
        ) as going:
            assert going.stdout is not None
            try:
                for line in going.stdout:
                    last.append(line)
                    yield line.rstrip("\n")
            except BaseException:
                # The signal on which Go clears away what it was just writing.
                going.send_signal(signal.SIGINT)
                raise
        if going.returncode:
            raise BuildError(f"go {arguments[0]} failed:\n{''.join(last)}")


def module_text(project: Project, theirs: Mapping[str, object]) -> str:
    """A go.mod that requires the project, given its own go.mod as `go mod edit -json` prints it.

    A module's `replace` lines count only in itself. Where it replaces its siblings by folders, and requires them at a
    version that does not exist, we must replace them too: by the siblings as they were published.
    """
    lines = ["module computepool.io/e2e/build", "", f"go {theirs['Go']}", ""]
    lines += [f"godebug {setting['Key']}={setting['Value']}" for setting in _entries(theirs, "Godebug")]
    lines.append(f"require {project.module} {project.version}")
    if project.staging:
        for replace in _entries(theirs, "Replace"):
            if str(replace["New"]["Path"]).startswith("./"):
                sibling = replace["Old"]["Path"]
                lines.append(f"replace {sibling} => {sibling} {project.staging}")
    return "\n".join(lines) + "\n"


def _entries(module: Mapping[str, object], key: str) -> list[dict[str, dict[str, str]]]:
    found = module.get(key)
    return found if isinstance(found, list) else []


def _linker_flags(project: Project) -> str:
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in project.variables.items())])


def _go_env(folder: Path, go: Path, env: Mapping[str, str]) -> dict[str, str]:
    # What would build for another machine, or in another way, than this one runs.
    foreign = {"GOOS", "GOARCH", "GOEXPERIMENT", "GOROOT", "GOBIN"}
    own = {
        "GOCACHE": str(folder / "gocache"),
        "GOMODCACHE": str(folder / "mod"),
        "GOTMPDIR": str(folder / "tmp"),
        # -modcacherw: Go would make its modules read-only, and they are to be removed.
        "GOFLAGS": "-mod=mod -modcacherw -buildvcs=false",
        "GOPROXY": _proxy(go, env),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
    return {name: value for name, value in env.items() if name not in foreign} | own


def _proxy(go: Path, env: Mapping[str, str]) -> str:
    """The user's module cache, read only, before whatever proxy is configured."""
    asked = subprocess.run(
        [go, "env", "GOMODCACHE", "GOPROXY"], capture_output=True, text=True, env=dict(env), check=False
    )
    cache, _, proxy = asked.stdout.strip().partition("\n")
    downloads = Path(cache) / "cache" / "download"
    return f"{downloads.as_uri()},{proxy}" if cache and downloads.is_dir() else proxy
