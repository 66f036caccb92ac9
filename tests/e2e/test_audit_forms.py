"""The documents of `computepool audit` about a real cluster: a page for a browser, and Markdown."""

from __future__ import annotations

from html import unescape

from e2e import command, objects
from e2e.site import Site


def _document(site: Site, form: str) -> str:
    ran = command.run("audit", "-o", form, env=site.cluster.command_env())
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_a_live_cluster_as_a_page_and_as_markdown(site: Site) -> None:
    site.add_nodes("aws", 2, gpus=4)
    site.add_nodes("nebius", gpus=4, taint=True)
    site.create(objects.gpu_deployment("work", 3, gpus=2))
    site.wait_bound(3)
    page, markdown = _document(site, "html"), _document(site, "markdown")
    verdict = "If aws fails now: 4 of 6 accelerators have somewhere to go; 2 do not, of 1 workload."
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert f"<p>{verdict}</p>" in page
    assert f"**{verdict}**" in markdown
    for told in (unescape(page), markdown):
        assert f"from {site.cluster.url}" in told
        assert "Kubernetes v1." in told
        assert f"{site.namespace}/deployment/work" in told
    assert "nebius: 4 now; stranded: 2 without a place" in page
