"""The types of the project: API, snapshot, state and reasons. Pure: no client, no loop, no clock."""
