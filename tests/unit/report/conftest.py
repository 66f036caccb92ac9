"""What the tests of the reports share."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "computepool")
