"""`make demo`: a primary runs out, a standby fails, all pods come home, and a queue of requests opens admission.

`python -m e2e.demo --help` says more. The cluster's control plane, the chart and the operator are the real ones; only
the nodes are simulated. The manifests it applies are beside this file.
"""
