# SPDX-License-Identifier: GPL-2.0-or-later
"""In the booted machine, last: kernel lockdown, which can only be raised. "integrity" must change nothing;
under "confidentiality" no BPF program may read the kernel, and /proc takes over."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from cases import assert_deadlocks_found  # noqa: E402
from live import Skip, Workload, ask, assert_silent, main, read_text, run, test  # noqa: E402

LOCKDOWN = "/sys/kernel/security/lockdown"


def raise_lockdown(level):
    """Does nothing where the machine is locked down as far as that already."""
    if not os.path.exists(LOCKDOWN):
        raise Skip("this kernel has no lockdown")
    if "[%s]" % level not in read_text(LOCKDOWN):
        with open(LOCKDOWN, "w", encoding="ascii") as file:
            file.write(level)
    assert "[%s]" % level in read_text(LOCKDOWN), read_text(LOCKDOWN)


@test("integrity: full service")
def _():
    raise_lockdown("integrity")
    assert_deadlocks_found("bpf")
    assert_silent(ask("why", Workload("idle_pool", "epoll").pid))


@test("confidentiality: /proc, said so and why, and the same verdicts")
def _():
    raise_lockdown("confidentiality")
    answer = assert_deadlocks_found("procfs")
    notes = " ".join(answer.summary["notes"])
    assert "lockdown" in notes and "Reading /proc instead" in notes and "reduced service" in notes, notes
    assert_silent(ask("why", Workload("idle_pool", "epoll").pid))


@test("confidentiality: --source=bpf is an error that names the lockdown and the way round it")
def _():
    raise_lockdown("confidentiality")
    answer = run("scan", "--source=bpf", "--json")
    assert (answer.status, answer.output) == (1, b""), (answer.status, answer.output)
    assert "lockdown" in answer.errors and "--source=procfs" in answer.errors, answer.errors


main()
