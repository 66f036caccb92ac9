"""What all tests share."""

from hypothesis import HealthCheck, settings

# Tests assert behaviour, not time: a busy machine must not fail one for how long an example takes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
