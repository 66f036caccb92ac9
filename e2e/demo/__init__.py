"""`make demo`: a primary runs out of accelerators, and pods run on the standbys within milliseconds.

`python -m e2e.demo --help` says more. The cluster's control plane, the chart and the operator are the real ones; only
the nodes are simulated. The manifests it applies are beside this file.
"""
