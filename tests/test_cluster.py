import importlib.util
import signal

import pytest

from slstt.cluster import ray_cluster
from slstt.errors import ConfigError

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs slstt[ray]"),
]


def test_ray_starts_here_and_leaves_our_signals_alone() -> None:
    def ours(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGTERM, ours)
    try:
        with ray_cluster(None, 1, "run.ray.address") as ray:
            assert ray.cluster_resources()["CPU"] == 1
            assert signal.getsignal(signal.SIGTERM) is ours
            with ray_cluster(None, 2, "run.ray.address") as same:  # the connection that stands is used, and left
                assert same.cluster_resources()["CPU"] == 1
            assert ray.is_initialized()
        assert not ray.is_initialized()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_cluster_that_does_not_answer_is_named_with_the_setting() -> None:
    with (
        pytest.raises(ConfigError, match=r"run\.ray\.address: no Ray cluster answers at 127\.0\.0\.1:1"),
        ray_cluster("127.0.0.1:1", None, "run.ray.address"),
    ):
        pass
