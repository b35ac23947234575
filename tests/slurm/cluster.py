"""A real Slurm of one's own on this machine: munge, slurmctld and node daemons on free ports, all below one folder.

Nothing under /etc or /run is read or written; several clusters can run at once. Everything ends with this process.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
SBIN = "/usr/sbin:/sbin:/usr/local/sbin"
START_S = 60.0  # a machine with other work to do takes seconds
STOP_S = 15.0


def missing_daemons() -> list[str]:
    """The programs of Slurm that this machine lacks."""
    path = f"{os.environ.get('PATH', '')}:{SBIN}"
    return [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=path) is None]


@dataclass
class Cluster:
    """A Slurm that `start` starts.

    nodes, cpus, memory: node daemons, and what each of them says it has; it may be more than the machine has [1, MB].
    slurmd_timeout: seconds after which the jobs of a silent node daemon are requeued.
    kill_wait: seconds from the TERM of a time limit or scancel to the KILL.
    settings: further lines of slurm.conf; partitions: lines of its partitions, one of all nodes by default.
    """

    nodes: int = 2
    cpus: int = 2
    memory: int = 8000
    slurmd_timeout: int = 60
    kill_wait: int = 5
    max_array_size: int = 1001
    settings: Sequence[str] = ()
    partitions: Sequence[str] = ("PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP",)
    folder: Path = field(init=False)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, init=False)

    @property
    def node_names(self) -> list[str]:
        """n1, n2, ..."""
        return [f"n{number + 1}" for number in range(self.nodes)]

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which Slurm's commands mean this cluster."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        path = f"{self.folder}/bin:{os.environ.get('PATH', '')}:{SBIN}"
        return {**inherited, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def start(self) -> None:
        """Starts all daemons and waits until every node is idle. RuntimeError if they do not come up."""
        assert not missing_daemons(), "apt-get install slurmctld slurmd slurm-client munge"
        # Sockets have short paths, whatever the test's own folder is called.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.folder.chmod(0o755)
        for name in ("munge", "sockets", "state", "log", "bin", *(f"spool.{node}" for node in self.node_names)):
            (self.folder / name).mkdir()
        try:
            self._start_munge()
            (self.folder / "slurm.conf").write_text(self._configuration())
            self._spawn("slurmctld", "slurmctld", "-D", "-f", str(self.folder / "slurm.conf"))
            for node in self.node_names:
                self.start_node(node)
            wait_for(self._is_up, START_S, "every node to be idle")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends every job and daemon and removes the folder."""
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            jobs = self.run("squeue", "-h", "-o", "%A", check=False).split()
            if jobs:
                self.run("scancel", "--signal=KILL", "--full", *sorted(set(jobs)), check=False)
                self.run("scancel", *sorted(set(jobs)), check=False)
        for name in sorted(self._processes, key=lambda name: ("slurmd", "slurmctld", "munged").index(name.split()[0])):
            process = self._processes[name]
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        for pid in self._pids_with(f"SLURM_CONF={self.folder}/slurm.conf"):  # steps that a killed daemon left behind
            _kill(pid)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_node(self, node: str) -> None:
        """Starts the daemon of a node, again if it was killed."""
        command = ("slurmd", "-D", "-f", str(self.folder / "slurm.conf"), "-N", node)
        self._spawn(f"slurmd {node}", *command, AMID_TEST_NODE=node)

    def kill_daemon(self, node: str) -> None:
        """SIGKILL to the daemon of a node; what ran there runs on, and nobody looks after it."""
        process = self._processes.pop(f"slurmd {node}")
        process.kill()
        process.wait()

    def kill_node(self, node: str) -> None:
        """SIGKILL to the daemon of a node and to all that ran there, as if the power were cut."""
        self.kill_daemon(node)
        marks = (f"AMID_TEST_NODE={node}", f"SLURMD_NODENAME={node}")
        for pid in self._pids_with(f"SLURM_CONF={self.folder}/slurm.conf"):
            if any(_has(pid, mark) for mark in marks):
                _kill(pid)

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        """What a command prints, with this cluster's Slurm on its PATH. RuntimeError if it fails."""
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env={**self.environment, **environment}, check=False
        )
        if check and result.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit {result.returncode}: {result.stderr or result.stdout}")
        return result.stdout

    def jobs(self) -> dict[str, str]:
        """Job id (12, or 12_3 for a task of an array) -> state (PENDING, RUNNING, ...) of what is in the queue."""
        return dict(line.split() for line in self.run("squeue", "-h", "-r", "-o", "%i %T").splitlines())

    def job(self, name: str) -> dict[str, str]:
        """The fields of a job that Slurm still knows (JobState, ExitCode, Restarts, ...); empty for others."""
        shown = self.run("scontrol", "-o", "show", "job", name, check=False).split()
        return {key: value for key, separator, value in (each.partition("=") for each in shown) if separator}

    def wait_until_empty(self, timeout_s: float = 120) -> None:
        """Waits until nothing is queued or running."""
        wait_for(lambda: not self.jobs(), timeout_s, "an empty queue")

    def _start_munge(self) -> None:
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        (self.folder / "munge").chmod(0o700)
        files = {"key": key, "pid": self.folder / "munge/pid", "log": self.folder / "munge/log"}
        files["seed"] = self.folder / "munge/seed"
        options = [f"--{name}-file={path}" for name, path in files.items()]
        self._spawn("munged", "munged", "--foreground", "--force", f"--socket={self._munge_socket}", *options)
        wait_for(self._munge_socket.exists, START_S, "munge's socket")

    @property
    def _munge_socket(self) -> Path:
        return self.folder / "sockets" / "munge"

    def _configuration(self) -> str:
        host, user = socket.gethostname().split(".")[0], getpass.getuser()
        ports = _free_ports(self.nodes + 1)
        lines = [
            "ClusterName=test",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={ports[0]}",
            f"SlurmUser={user}",
            f"SlurmdUser={user}",
            "AuthType=auth/munge",
            "CryptoType=crypto/munge",
            # A requeued job waits until its old credential has expired: 121 s by default.
            f"AuthInfo=socket={self._munge_socket},cred_expire=5",
            f"StateSaveLocation={self.folder}/state",
            f"SlurmdSpoolDir={self.folder}/spool.%n",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/slurmd.%n.pid",
            f"SlurmctldLogFile={self.folder}/log/slurmctld.log",
            f"SlurmdLogFile={self.folder}/log/slurmd.%n.log",
            f"JobCompLoc={self.folder}/log/completed.txt",
            "JobCompType=jobcomp/filetxt",
            "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "MpiDefault=none",
            "SwitchType=switch/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core_Memory",
            "SchedulerType=sched/backfill",
            "SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0",
            "ReturnToService=2",  # a node that was down is used again as soon as its daemon is back
            "SlurmdParameters=config_overrides",
            "JobAcctGatherType=jobacct_gather/none",
            "AccountingStorageType=accounting_storage/none",
            "JobRequeue=1",
            f"KillWait={self.kill_wait}",
            "MinJobAge=300",
            f"MaxArraySize={self.max_array_size}",
            "InactiveLimit=0",
            "SlurmctldTimeout=30",
            f"SlurmdTimeout={self.slurmd_timeout}",
            "PropagateResourceLimits=NONE",
            *self.settings,
        ]
        for node, port in zip(self.node_names, ports[1:], strict=True):
            address = f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
            lines.append(f"{address} CPUs={self.cpus} RealMemory={self.memory} State=UNKNOWN")
        return "\n".join([*lines, *self.partitions, ""])

    def _spawn(self, name: str, *command: str, **environment: str) -> None:
        log = self.folder / "log" / f"{name.replace(' ', '.')}.out"
        with log.open("ab") as stream:
            # It ends when this process does, even if that is killed.
            self._processes[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env={**self.environment, **environment},
                cwd=self.folder,
            )

    def _is_up(self) -> bool:
        for name, process in self._processes.items():
            if process.poll() is not None:
                said = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("log/*"))
                raise RuntimeError(f"{name} ended with {process.returncode} while starting:\n{said}")
        states = self.run("sinfo", "-h", "-N", "-o", "%T", check=False).split()
        return bool(states) and set(states) == {"idle"}

    def _pids_with(self, mark: str) -> Iterator[int]:
        for path in Path("/proc").glob("[0-9]*"):
            pid = int(path.name)
            if pid != os.getpid() and _has(pid, mark):
                yield pid


@contextlib.contextmanager
def cluster(**options: object) -> Iterator[Cluster]:
    """A running cluster; `options` as `Cluster` takes them."""
    made = Cluster(**options)  # type: ignore[arg-type]
    made.start()
    try:
        yield made
    finally:
        made.stop()


def wait_for(condition: Callable[[], object], timeout_s: float, what: str, *, every_s: float = 0.1) -> None:
    """Waits until the condition holds. TimeoutError, which says what was waited for, if it does not."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(every_s)


def _has(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # it has ended meanwhile, or is another user's
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
