"""`make demo`: a primary runs out, pods run on standbys in milliseconds, one of those fails, and all come home.

`python -m e2e.demo --help` says more. The cluster's control plane, the chart and the operator are the real ones; only
the nodes are simulated. The manifests it applies are beside this file.
"""
