"""Typed errors: a caller can tell a missing binary from a cluster that did not start."""


class E2EError(Exception):
    """Anything the test cluster gives up on; its text says what to do next."""


class BinaryMissingError(E2EError):
    """A binary is neither on this machine nor may be built now."""


class BuildError(E2EError):
    """`go build` failed."""


class DownloadError(E2EError):
    """A release could not be downloaded, or was not what its checksum says."""


class HostError(DownloadError):
    """The host of a release can't be reached, is silent or too slow, which is true of all its files."""

    def __init__(self, host: str, text: str) -> None:
        """Name the host whose file was asked for."""
        super().__init__(text)
        self.host = host


class ClusterError(E2EError):
    """A cluster could not be started, found, or told what to do."""


class CommandError(E2EError):
    """kubectl or helm ended with another code than 0."""

    def __init__(self, command: str, code: int, stdout: str, stderr: str) -> None:
        """Keep what was said on both streams: tests look at it, and people need it."""
        super().__init__(f"{command} ended with {code}:\n{stderr.strip() or stdout.strip()}")
        self.code = code
        self.stdout = stdout
        self.stderr = stderr


class WaitTimeoutError(E2EError):
    """A condition did not come true in time; the text says what was seen last."""
