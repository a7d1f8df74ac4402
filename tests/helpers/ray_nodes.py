"""Ray nodes on this machine, for tests: they share nothing but the machine; and how they and their workers are killed."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import subprocess
import threading
import time

import psutil

from ddbench.executors.ray_cluster import START_TRIES
from ddbench.executors.ray_worker import folder_of

NODE = {"num_cpus": 1, "object_store_memory": 200 * 2**20}


@contextlib.contextmanager
def a_cluster():
    """Give a cluster of one node of one CPU, to which tests add others."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    nodes = Cluster()
    try:
        add_node(nodes, include_dashboard=False)
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()
        reap()


def add_node(nodes, **more):
    """Return a new node, once more tried where a busy machine let Ray give up its start after half a minute."""
    for _ in range(START_TRIES - 1):
        with contextlib.suppress(Exception):
            return nodes.add_node(**NODE, **more)
    return nodes.add_node(**NODE, **more)


def reap():
    """Wait for the processes that Ray started and ended, which it leaves to the garbage collector, whose warnings are errors."""
    for process in gc.get_objects():
        if issubclass(type(process), subprocess.Popen) and process.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
                continue
            process.kill()
            process.wait()


def workers(run):
    """Return the worker processes that have made units of a run and are alive: each has a store under its process's number."""
    pids = [int(path.name) for path in folder_of(run).glob("*/*") if path.name.isdigit()]
    return [pid for pid in pids if psutil.pid_exists(pid)]


def kill_worker(run, draw):
    """Kill one worker process of a run, if there is one; return whether."""
    alive = workers(run)
    if not alive:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(draw.choice(alive), signal.SIGKILL)
        return True
    return False


def kill_node(node):
    """Kill a node's raylet and everything it started, at once."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in (raylet, *raylet.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@contextlib.contextmanager
def at_random_moments(act, *, seed, between_s, at_most):
    """Call `act` with a random generator after random times while the block runs; give how often it did something, as it grows."""
    draw, over, acts = random.Random(seed), threading.Event(), []

    def disturb():
        while len(acts) < at_most and not over.wait(draw.uniform(*between_s)):
            if act(draw):
                acts.append(time.monotonic())

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        yield acts
    finally:
        over.set()
        thread.join()
