# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots the kernels that Debian's apt offers here, one after the other, and runs tests in each. Prints TAP:
for each kernel that it boots and comes to the end, then one line for each test program.

Environment: BUILD (the build directory), and optionally KERNELS (names of Debian packages; by default the
newest of each series and flavour in FLAVOURS). The machine is emulated (TCG) even where there is a
/dev/kvm, which in a guest of a cloud is often there and fails: it is the same test everywhere. Waits are
measured by the machine's own clocks, so the tests keep their tolerances.
"""

import os
import re
import shutil
import subprocess
import sys
import time

import initramfs

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(ROOT, "build")))
CACHE = os.path.join(BUILD, "kernels")
QEMU = "qemu-system-x86_64"
# cloud: what virtual machines run. rt: spin locks that sleep, another mmap_lock, another scheduler's habits.
FLAVOURS = ("cloud", "rt")
PACKAGE = re.compile(r"^linux-image-(\d+\.\d+)\.[^ ]*?-(?:(cloud|rt)-)?amd64$")
BOOT_SECONDS = 400
MACHINE = ("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1G", "-no-reboot", "-nodefaults",
           "-display", "none")
COMMAND_LINE = "console=ttyS0 panic=-1"
# What a kernel says when something in it broke.
COMPLAINT = re.compile(r"\bBUG: |\bWARNING: CPU|\bOops\b|Kernel panic|general protection|soft lockup")
RESULT = re.compile(r"^(not )?ok\b *\d* *(?:- )?(.*)$")
CONSOLE_LINES_SHOWN = 30


class Report:
    """TAP, whose plan comes last."""

    def __init__(self):
        self.count = self.failed = 0

    def line(self, passed, name, story=()):
        self.count += 1
        self.failed += not passed
        print("%s %d - %s" % ("ok" if passed else "not ok", self.count, name), flush=True)
        for text in story:
            print("# " + text.encode("unicode_escape").decode(), flush=True)

    def skip(self, name, reason):
        self.count += 1
        print("ok %d - %s # SKIP %s" % (self.count, name, reason), flush=True)

    def finish(self):
        print("1..%d" % self.count, flush=True)
        return 1 if self.failed else 0


# Kernels --------------------------------------------------------------------------------------------


def output_of(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          check=False)
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def numbers(text):
    return tuple(int(number) for number in re.findall(r"\d+", text))


def offered_kernels():
    """The newest package of each series and flavour, oldest series first."""
    newest = {}
    for line in output_of("apt-cache", "search", "--names-only", "^linux-image-[0-9].*amd64$").splitlines():
        name = line.split(" ")[0]
        found = PACKAGE.match(name)
        if found and found.group(2) in FLAVOURS:
            key = (numbers(found.group(1)), found.group(2))
            newest[key] = max(newest.get(key, name), name, key=numbers)
    return [newest[key] for key in sorted(newest)]


class Unavailable(Exception):
    """A kernel can't be had; says why."""


def fetch_kernel(package):
    """The path of a package's kernel image, which is downloaded once and installed nowhere."""
    version = re.search(r"^Version: (\S+)$", output_of("apt-cache", "show", "--no-all-versions", package), re.M)
    if not version:
        raise Unavailable("apt does not offer it")
    folder = os.path.join(CACHE, "%s_%s" % (package, version.group(1).replace(":", "%3a")))
    image = os.path.join(folder, "vmlinuz-" + package.removeprefix("linux-image-"))
    if os.path.exists(image):
        return image
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    done = subprocess.run(["apt-get", "download", "-q", package], cwd=folder, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise Unavailable("apt-get download: " + " ".join(done.stdout.decode(errors="replace").split())[-200:])
    archive = next(name for name in os.listdir(folder) if name.endswith(".deb"))
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], cwd=folder, stdout=subprocess.PIPE) as unpacker:
        subprocess.run(["tar", "-x", "--strip-components=2", "./boot/" + os.path.basename(image)], cwd=folder,
                       stdin=unpacker.stdout, check=False)
    os.remove(os.path.join(folder, archive))
    if not os.path.exists(image):
        raise Unavailable("%s holds no /boot/%s" % (archive, os.path.basename(image)))
    return image


# The machine ----------------------------------------------------------------------------------------


def boot(image, archive, name):
    """Runs the machine until it powers itself off. Returns the lines of kernel and tests, and what went wrong."""
    logs = [os.path.join(CACHE, "%s-%s.log" % (name, line)) for line in ("console", "tests")]
    command = [QEMU, *MACHINE, "-kernel", image, "-initrd", archive, "-append", COMMAND_LINE]
    for log in logs:
        command += ["-serial", "file:" + log.replace(",", ",,")]
    error = ""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=BOOT_SECONDS, check=False)
        if done.returncode:
            error = "%s ended with %d: %s" % (QEMU, done.returncode, done.stdout.decode(errors="replace"))
    except subprocess.TimeoutExpired:
        error = "not finished within %d s" % BOOT_SECONDS
    return [read_lines(log) for log in logs], error


def read_lines(path):
    try:
        with open(path, encoding="utf-8", errors="backslashreplace") as file:
            return [line.rstrip("\r\n") for line in file]
    except OSError:
        return []


class Program:
    """What one test program in the machine said."""

    def __init__(self, name):
        self.name, self.planned, self.status = name, None, None
        self.passed = self.failed = 0
        self.skipped, self.output = [], []

    def take(self, line):
        self.output.append(line)
        if line.startswith("1.."):
            self.planned = int(line[3:].split()[0])
        result = RESULT.match(line)
        if not result:
            return
        if result.group(1):
            self.failed += 1
        elif "# SKIP" in line:
            self.skipped.append(result.group(2))
        else:
            self.passed += 1

    def trouble(self):
        """Why the program counts as failed, or None."""
        if self.status is None:
            return "did not end"
        if self.failed:
            return "%d failed" % self.failed
        if self.status:
            return "ended with status %d" % self.status
        if not self.passed or self.planned != self.passed + len(self.skipped):
            return "planned %s tests, reported %d" % (self.planned, self.passed + len(self.skipped))
        return None


def read_tests(lines):
    """Returns (the kernel's release and version, the programs, whether all were run)."""
    kernel, programs, done = "", [], False
    for line in lines:
        words = line.split(" ", 2)
        if words[0] != "==":
            if programs:
                programs[-1].take(line)
        elif words[1] == "kernel":
            kernel = words[2]
        elif words[1] == "begin":
            programs.append(Program(words[2]))
        elif words[1] == "end":
            programs[-1].status = int(words[2])
        elif words[1] == "done":
            done = True
    return kernel, programs, done


def check_kernel(report, package, archive):
    release = package.removeprefix("linux-image-")
    try:
        image = fetch_kernel(package)
    except Unavailable as error:
        report.skip(release, str(error))
        return
    began = time.monotonic()
    (console, lines), error = boot(image, archive, release)
    kernel, programs, done = read_tests(lines)
    complaints = [line for line in console if COMPLAINT.search(line)]
    passed = not error and done and kernel.split(" ")[0] == release and not complaints
    report.line(passed, "Linux %s: boots, runs every test, has nothing to complain about (%.0f s)" % (
        kernel or release, time.monotonic() - began),
        [] if passed else [error, *complaints, *console[-CONSOLE_LINES_SHOWN:]])
    for program in programs:
        trouble = program.trouble()
        report.line(not trouble, "%s: %s: %s" % (release, program.name, trouble or "%d passed, %d skipped" % (
            program.passed, len(program.skipped))), program.output if trouble else program.skipped)


def main():
    missing = [name for name in (QEMU, "apt-get", "dpkg-deb", "setpriv") if not shutil.which(name)]
    if missing:
        print("1..0 # SKIP no " + ", ".join(missing))
        return 0
    kernels = os.environ.get("KERNELS", "").split() or offered_kernels()
    if not kernels and os.geteuid() == 0:
        output_of("apt-get", "update", "-q")
        kernels = offered_kernels()
    if not kernels:
        print("1..0 # SKIP apt offers no kernel: is this Debian for amd64, and has apt-get update been run?")
        return 0
    os.makedirs(CACHE, exist_ok=True)
    archive = os.path.join(CACHE, "initramfs.cpio")
    initramfs.pack(ROOT, BUILD, archive)
    report = Report()
    for package in kernels:
        check_kernel(report, package, archive)
    return report.finish()


sys.exit(main())
