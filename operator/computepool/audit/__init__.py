"""What depends on whom: a whole cluster in plain values, what it has, who uses it, and what is lost with a provider.

The parts, in the order in which they are used:

    cluster      what is read of a cluster, live or saved
    node_labels  where a node is, by well-known labels
    providers    which nodes belong to which provider
    pools        the ComputePools by which losses are judged: the cluster's own, or a pool over all providers
    supply       accelerators by provider, region, node group, capacity type and model
    demand       workloads, where they run, and what pins them
    losses       what becomes of the pods when a part of the cluster is lost, by the operator's own decisions
    prices       what an accelerator costs for an hour
    costs        what providers and workloads cost for an hour
    activity     what Prometheus has seen of accelerators
    waste        accelerators that pods hold and do not use
    gaps         the least that would close a gap
    checks       the short list of what passes and what fails
    auditing     all of it together
"""
