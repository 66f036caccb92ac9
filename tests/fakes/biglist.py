"""A server of very long lists, for measuring the first list: pods of 6 KB and nodes of 4 KB, by pages or streamed.

    python -m tests.fakes.biglist --pods 100000 --nodes 5000

prints its URL on a line of its own and serves until its standard input ends. It answers lists and watches of
pods, nodes, namespaces and the nodes' Leases only, and no pod has failed; after the streamed list a watch stays open,
and silent but for bookmarks.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

VERSION = 5_000_000
BOOKMARK_SECONDS = 30.0
MARK = "@mark@"
NODE = b"@node@"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


@dataclass(frozen=True, slots=True)
class Listed:
    """A resource: the pieces of one object's JSON between which its number goes, and how many objects there are."""

    kind: str
    pieces: list[bytes]
    count: int
    nodes: int = 1

    def item(self, number: int) -> bytes:
        """Return one object's JSON."""
        return (b"%07d" % number).join(self.pieces).replace(NODE, b"%07d" % (number % self.nodes))

    def page(self, start: int, limit: int) -> bytes:
        """Return a list's JSON, with a continue token where there is more."""
        end = min(self.count, start + limit)
        token = b',"continue":"%d"' % end if end < self.count else b""
        head = b'{"kind":"%sList","apiVersion":"v1","metadata":{"resourceVersion":"%d"%s},"items":[' % (
            self.kind.encode(),
            VERSION,
            token,
        )
        return head + b",".join(self.item(number) for number in range(start, end)) + b"]}\n"

    def events(self, size: int = 50) -> Iterator[bytes]:
        """Yield the lines of a streamed list, so many at a time."""
        for start in range(0, self.count, size):
            numbers = range(start, min(self.count, start + size))
            yield b"".join(b'{"type":"ADDED","object":%s}\n' % self.item(number) for number in numbers)

    def bookmark(self, annotations: bytes = b"{}") -> bytes:
        """Return a bookmark line."""
        head = b'{"type":"BOOKMARK","object":{"kind":"%s","apiVersion":"v1",' % self.kind.encode()
        return head + b'"metadata":{"resourceVersion":"%d","annotations":%s}}}\n' % (VERSION, annotations)


def listed(kind: str, template: dict[str, Any], count: int, nodes: int) -> Listed:
    """Return a resource whose objects are the template with their number in place of each mark."""
    return Listed(kind, msgspec.json.encode(template).split(MARK.encode()), count, max(1, nodes))


class BigList:
    """The resources, over HTTP."""

    def __init__(self, pods: int, nodes: int) -> None:
        self._resources = {
            "/api/v1/pods": listed("Pod", pod_template(), pods, nodes),
            "/api/v1/nodes": listed("Node", node_template(), nodes, nodes),
            "/api/v1/namespaces": listed("Namespace", namespace_template(), 1, 1),
            LEASES: listed("Lease", lease_template(), nodes, nodes),
        }
        self._no_pods = listed("Pod", pod_template(), 0, 1)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a list or a watch."""
        resource = self._resources.get(request.path)
        if resource is None:
            raise web.HTTPNotFound
        query = request.query
        if query.get("fieldSelector") == "status.phase=Failed":
            resource = self._no_pods
        if "watch" not in query:
            page = resource.page(int(query.get("continue", 0)), int(query.get("limit", 0)) or resource.count)
            return web.Response(body=page, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if "sendInitialEvents" in query:
            for lines in resource.events():
                await response.write(lines)
            await response.write(resource.bookmark(b'{"k8s.io/initial-events-end":"true"}'))
        while True:
            await asyncio.sleep(BOOKMARK_SECONDS)
            await response.write(resource.bookmark())


async def serve(pods: int, nodes: int) -> None:
    """Serve on a free port of loopback, print the URL, and go on until the standard input ends."""
    app = web.Application()
    app.router.add_get("/{path:.*}", BigList(pods, nodes).handle)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"http://127.0.0.1:{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


@contextmanager
def big_list(pods: int, nodes: int) -> Iterator[str]:
    """Run the server as a process of its own, and yield its URL."""
    command = [sys.executable, "-m", "tests.fakes.biglist", "--pods", str(pods), "--nodes", str(nodes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        # Leaving the context closes its standard input, which ends it.


def pod_template() -> dict[str, Any]:
    """A GPU pod of a Deployment, with what real ones carry: about 6 KB."""
    env = [{"name": f"SETTING_{n}", "value": f"a value of usual length for setting {n}"} for n in range(12)]
    container = {
        "name": "server",
        "image": "registry.example.com/team/inference-server:v1.27.3",
        "args": ["--model", "/models/current", "--port", "8080"],
        "env": env,
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "resources": {
            "limits": {"nvidia.com/gpu": "1", "memory": "64Gi"},
            "requests": {"cpu": "4", "memory": "64Gi", "nvidia.com/gpu": "1"},
        },
        "volumeMounts": [{"name": "models", "mountPath": "/models"}, {"name": "token", "mountPath": "/var/run/token"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10},
        "terminationMessagePath": "/dev/termination-log",
        "imagePullPolicy": "IfNotPresent",
    }
    labels = {"app": "inference", "team": "ml", "pod-template-hash": "6d4cf56db6"}
    return {
        "metadata": {
            "name": f"inference-6d4cf56db6-{MARK}",
            "generateName": "inference-6d4cf56db6-",
            "namespace": "ml",
            "uid": f"8c9a1f8e-3b1d-4c0e-9f1a-00000{MARK}",
            "resourceVersion": f"3{MARK}",
            "creationTimestamp": "2026-11-20T09:12:33Z",
            "labels": labels,
            "annotations": {"prometheus.io/scrape": "true", "checksum/config": "5f4dcc3b5aa765d61d8327deb882cf99" * 2},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": "inference-6d4cf56db6",
                    "uid": "f3b0c442-98fc-1c14-9afb-f4c8996fb924",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
            "managedFields": [_managed("kube-controller-manager", 14), _managed("kubelet", 12)],
        },
        "spec": {
            "containers": [container],
            "volumes": [
                {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            ],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "inference",
            "nodeName": f"node-{NODE.decode()}",
            "schedulerName": "default-scheduler",
            "priority": 1000,
            "priorityClassName": "serving",
            "tolerations": [
                {
                    "key": f"node.kubernetes.io/{what}",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }
                for what in ("not-ready", "unreachable")
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": "2026-11-20T09:12:40Z", "lastProbeTime": None}
                for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "hostIP": "10.0.12.34",
            "podIP": "10.1.200.17",
            "startTime": "2026-11-20T09:12:33Z",
            "containerStatuses": [
                {
                    "name": "server",
                    "state": {"running": {"startedAt": "2026-11-20T09:12:39Z"}},
                    "ready": True,
                    "restartCount": 0,
                    "image": "registry.example.com/team/inference-server:v1.27.3",
                    "imageID": "registry.example.com/team/inference-server@sha256:" + "ab" * 32,
                    "containerID": "containerd://" + "cd" * 32,
                }
            ],
            "qosClass": "Burstable",
        },
    }


def node_template() -> dict[str, Any]:
    """A GPU node of a cloud, about 4 KB."""
    amounts = {"cpu": "192", "memory": "2097152Mi", "nvidia.com/gpu": "8", "pods": "110", "ephemeral-storage": "1Ti"}
    return {
        "metadata": {
            "name": f"node-{MARK}",
            "uid": f"1d9c4b7a-77aa-4be0-8d11-00000{MARK}",
            "resourceVersion": f"4{MARK}",
            "creationTimestamp": "2026-11-01T00:00:00Z",
            "labels": {
                "kubernetes.io/hostname": f"node-{MARK}",
                "kubernetes.io/arch": "amd64",
                "node.kubernetes.io/instance-type": "p5.48xlarge",
                "topology.kubernetes.io/zone": "us-east-1a",
                "eks.amazonaws.com/nodegroup": "p5",
                **{f"feature.node.kubernetes.io/cpu-feature-{n}": "true" for n in range(15)},
            },
            "managedFields": [_managed("kubelet", 10)],
        },
        "spec": {"providerID": f"aws:///us-east-1a/i-0{MARK}", "taints": []},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [
                {
                    "type": kind,
                    "status": "True" if kind == "Ready" else "False",
                    "reason": f"KubeletHas{kind}",
                    "message": f"kubelet reports on {kind}",
                    "lastHeartbeatTime": "2026-11-23T05:00:00Z",
                    "lastTransitionTime": "2026-11-01T00:01:00Z",
                }
                for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
            ],
            "images": [{"names": [f"registry.example.com/image-{n}:v1"], "sizeBytes": 10**9 + n} for n in range(10)],
        },
    }


def lease_template() -> dict[str, Any]:
    """A node's Lease, as the kubelet keeps it."""
    node = {"apiVersion": "v1", "kind": "Node", "name": f"node-{MARK}", "uid": f"1d9c4b7a-77aa-4be0-8d11-00000{MARK}"}
    return {
        "metadata": {
            "name": f"node-{MARK}",
            "namespace": "kube-node-lease",
            "uid": f"7a1e55aa-77aa-4be0-8d11-00000{MARK}",
            "resourceVersion": f"4{MARK}",
            "ownerReferences": [node],
            "managedFields": [_managed("kubelet", 4)],
        },
        "spec": {
            "holderIdentity": f"node-{MARK}",
            "leaseDurationSeconds": 40,
            "renewTime": "2026-11-23T05:00:00.000000Z",
        },
    }


def namespace_template() -> dict[str, Any]:
    """The namespace of all pods."""
    return {"metadata": {"name": "ml", "uid": f"0a0a0a0a-0000-4000-8000-00000{MARK}", "resourceVersion": "2"}}


def _managed(manager: str, fields: int) -> dict[str, Any]:
    inner: dict[str, Any] = {f'k:{{"name":"FIELD_{n}"}}': {".": {}, "f:name": {}, "f:value": {}} for n in range(fields)}
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-11-20T09:12:33Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:containers": {'k:{"name":"server"}': {"f:env": inner}}}},
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Serve very long lists of pods and nodes.")
    parser.add_argument("--pods", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=5_000)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.pods, arguments.nodes))


if __name__ == "__main__":
    main()
