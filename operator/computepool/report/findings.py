"""Findings about the configuration as problems: with the names of objects and the command that mends each."""

from collections.abc import Iterable, Sequence
from typing import Final

from computepool.assess.configuration.finding import Finding, Severity
from computepool.report.formatting import full_stop, listed
from computepool.report.pass_report import PassReport
from computepool.report.problem import Problem

NAMED: Final = 5
"""How many objects a finding names."""


def configuration_problems(report: PassReport, severity: Severity) -> Sequence[Problem]:
    """Return the findings of one severity, worst first."""
    return [problem_of(found) for found in report.assessment.configuration.findings if found.severity is severity]


def problem_of(finding: Finding) -> Problem:
    """Return a finding as a problem."""
    names = listed(finding.names, NAMED)
    what = f"{finding.what}: {names}" if names else finding.what
    return Problem(finding.reason, sentence_of(finding), what)


def sentence_of(finding: Finding) -> str:
    """Write a finding for people: what is so and where, what it means, and the command that mends it."""
    names = listed(finding.names, NAMED)
    what = f"{finding.what}: {names}." if names else f"{finding.what}."
    mend = f"To mend it: {finding.mend}" if finding.mend.startswith("`") else finding.mend
    # The command comes before the explanation: a message that is too long loses its end.
    return " ".join(filter(None, (what, mend and full_stop(mend), finding.reason.help)))


def findings_about(findings: Iterable[Finding], providers: Iterable[str]) -> Sequence[Finding]:
    """Return the findings that are about one of these providers."""
    concerned = frozenset(providers)
    return [finding for finding in findings if finding.provider in concerned]
