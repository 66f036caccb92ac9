"""The account of what providers can still take in a pass: places, devices and money. Pure."""
