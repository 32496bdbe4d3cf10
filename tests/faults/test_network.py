"""The network between two nodes goes down in mid-run: two network namespaces on this machine, joined by one link."""
import os
import signal
import subprocess
import time

import pytest

from conftest import FAKE, environment
from drill import Drill
from test_faults import whole  # noqa: F401 (a fixture)

LEASE = 1.5  # s


class Link:
    """Namespaces a and b; mpirun starts in a, and reaches b by `ip netns exec` in place of ssh."""

    def __init__(self, folder):
        self.names = [f"qtaylor-{os.getpid()}-{side}" for side in "ab"]
        self.agent = folder / "agent.sh"
        self.agent.write_text(f'#!/bin/bash\nshift\nexec ip netns exec {self.names[1]} bash -c "$*"\n')
        self.agent.chmod(0o755)

    def ip(self, *words):
        return subprocess.run(["ip", *words], check=True, capture_output=True, text=True)

    def up(self):
        for name in self.names:
            self.ip("netns", "add", name)
        a, b = self.names
        self.ip("link", "add", "veth0", "netns", a, "type", "veth", "peer", "name", "veth1", "netns", b)
        for name, device, address in ((a, "veth0", "10.77.0.1/24"), (b, "veth1", "10.77.0.2/24")):
            self.ip("-n", name, "addr", "add", address, "dev", device)
            self.ip("-n", name, "link", "set", "lo", "up")
            self.ip("-n", name, "link", "set", device, "up")

    def set(self, state):
        self.ip("-n", self.names[0], "link", "set", "veth0", state)

    def remove(self):
        for name in self.names:
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
            for pid in pids:  # a launcher's daemon that was cut off
                subprocess.run(["kill", "-KILL", pid], capture_output=True)
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)

    def wait_for_ranks(self, job):
        deadline = time.monotonic() + 30
        while subprocess.run(["pgrep", "-f", f"^{FAKE} run {job}"], capture_output=True).returncode == 0:
            assert time.monotonic() < deadline, "ranks live on"
            time.sleep(0.05)

    def mpirun(self, *command):
        network = ["--mca", "btl_tcp_if_include", "10.77.0.0/24", "--mca", "oob_tcp_if_include", "10.77.0.0/24"]
        return ["ip", "netns", "exec", self.names[0], "mpirun", "-n", "2", "-H", "10.77.0.1:1,10.77.0.2:1", "--mca",
                "btl",
                "self,tcp", *network, "--mca", "plm_rsh_agent", self.agent, "--bind-to", "none", "--enable-recovery",
                "-x", "QTAYLOR_LEASE", *command]


@pytest.fixture
def link(tmp_path):
    link = Link(tmp_path)
    try:
        link.up()
        yield link
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', None) or error}")
    finally:
        link.remove()


@pytest.mark.long
@pytest.mark.parametrize("leases, back", [(1.4, True), (1.9, True), (3, True), (3, False)],
                         ids=["comes-back", "comes-back-as-a-rank-gives-up", "comes-back-late", "stays-down"])
def test_the_link_goes_down(job, link, whole, leases, back):  # noqa: F811
    """For longer than a lease; after two, the rank beyond it gives up. Whatever the launcher does then, no rank is left
    behind and nothing is lost."""
    drill = Drill(job, delay=200)
    drill.remade = 2  # what the rank beyond the link had in hand
    said = open(job.folder / "said.log", "w+")
    process = subprocess.Popen([str(word) for word in link.mpirun(FAKE, "run", drill.path)], stdout=said, stderr=said,
                               start_new_session=True, env=environment(QTAYLOR_LEASE=LEASE))
    try:
        deadline = time.monotonic() + 30
        while not drill.samples_there():
            assert time.monotonic() < deadline and process.poll() is None, (job.folder / "said.log").read_text()
            time.sleep(0.01)
        link.set("down")
        time.sleep(leases * LEASE)
        assert len(drill.samples_there()) < 8, "done while the link was down"
        if back:
            link.set("up")
        link.wait_for_ranks(drill.path)
        if back:
            process.wait(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
        said.close()
    said = (job.folder / "said.log").read_text()
    assert "rank 1 has been silent" in said
    assert process.returncode == 0 or "rank 0) is gone" in said or not back, said
    drill.resume(1, whole)
