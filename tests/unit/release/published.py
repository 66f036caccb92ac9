"""What a release of this tree would be called, for tests."""

from tools.release import versions
from tools.release.__main__ import ROOT
from tools.release.source import Image

VERSION = versions.version_of(ROOT)
REPOSITORY = "https://github.com/example-owner/computepool"
IMAGE = Image("registry.example.com:5000/example-owner/computepool", "sha256:" + "5e" * 32)
CHART = "oci://registry.example.com:5000/example-owner/charts/computepool"
