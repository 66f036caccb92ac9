"""A whole cluster in plain values: the same decisions as the operator's, with no API server, no loop and no wall clock.

`Simulation` puts the parts together. Each part can also be played alone, in any order:

    Clock      the time of day, which moves only when it is told to
    Cluster    what the API server holds: nodes, pods and the pool; it publishes what changes
    Scheduler  binds pods, on the primary first or in a random order
    Owners     create pods, and others in place of the pods that were evicted
    Operator   sees what is delivered, decides with `reconcile`, writes, and may be restarted at any moment

What happens depends on the calls alone; what is random takes a `random.Random`.
"""
