"""The cluster that Ray tasks go to. (Tasks on Ray follow the rules of `test_workers.py`.)"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from slstt.errors import ConfigError
from slstt.ray_workers import OnRay
from slstt.workers import at_work


def test_ray_that_is_not_installed_is_named_with_the_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    where = OnRay(None, "ray.address", tmp_path)
    with pytest.raises(ConfigError, match=r"pip install 'slstt\[ray\]'"), at_work(str, (), ["a"], where) as outcomes:
        list(outcomes)


OWN_RAY = """
import signal
from slstt.errors import ConfigError
from slstt.ray_workers import ray_cluster

def ours(number, frame): ...

try:
    with ray_cluster("127.0.0.1:1", None, "run.ray.address"):
        pass
except ConfigError as error:
    assert "run.ray.address: no Ray cluster answers at 127.0.0.1:1" in str(error)
else:
    raise AssertionError("nothing listens there")

signal.signal(signal.SIGTERM, ours)
with ray_cluster(None, 1, "run.ray.address") as ray:
    assert ray.cluster_resources()["CPU"] == 1
    assert signal.getsignal(signal.SIGTERM) is ours
    with ray_cluster(None, 2, "run.ray.address") as same:  # the connection that stands is used, and left
        assert same.cluster_resources()["CPU"] == 1
    assert ray.is_initialized()
assert not ray.is_initialized()
"""


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs slstt[ray]")
@pytest.mark.cluster
def test_a_cluster_that_does_not_answer_is_named_and_ray_here_leaves_our_signals_alone(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", OWN_RAY], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
