"""`computepool audit`: reads a cluster, live or saved, audits it, and prints what was found."""
