"""The words of the project: API types, snapshot records and reasons. Pure: no client, no loop, no clock."""
