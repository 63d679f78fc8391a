"""A worker's view of how it was started is the same with and without a wrapper, apart from process ids."""

import ctypes
import os
import resource
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

from harness import IS_SIDECAR, SIDECAR, W, WRAPPED, row, sidecar_only
from running import HERE, Case, inline, worker

PR_SET_TIMERSLACK, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_SET_SECUREBITS = 29, 38, 24, 28
ADDR_NO_RANDOMIZE = 0x0040000
libc = ctypes.CDLL(None)


@row("argv[0], cwd, environment, umask, nice, rlimits, oom score, session, group and the rest")
class Environment(Case):
    def report(self, prefix, command=None, **options):
        run = self.start(command or worker("probe"), prefix=prefix, **options)
        run.finish()
        # These differ from run to run.
        unlike = {str(run.folder): "<folder>", run.mark.decode(): "<mark>"}
        facts = run.fact("facts")
        for own, common in unlike.items():
            facts["environment"] = [entry.replace(own, common) for entry in facts["environment"]]
        return facts, run

    def same(self, **options):
        reports = [self.report(prefix, **options)[0] for prefix in ([], W)]
        if IS_SIDECAR:
            # The one variable that the sidecar adds, behind all others.
            reports[0]["environment"].insert(-1, WRAPPED)
        for name in reports[0]:
            with self.subTest(fact=name):
                self.assertEqual(reports[0][name], reports[1][name])
        return reports[0]

    def test_as_it_is(self):
        self.same(group=None)

    def test_everything_changed(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)

        def change():
            os.umask(0o027)
            os.nice(7)
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
            resource.setrlimit(resource.RLIMIT_CPU, (1000, 2000))
            resource.setrlimit(resource.RLIMIT_STACK, (1 << 22, resource.getrlimit(resource.RLIMIT_STACK)[1]))
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            Path("/proc/self/oom_score_adj").write_text("321")
            Path("/proc/self/coredump_filter").write_text("0x11")
            libc.personality(ADDR_NO_RANDOMIZE)
            libc.prctl(PR_SET_TIMERSLACK, 123456, 0, 0, 0)
            libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)

        facts = self.same(group=None, setup=change, cwd=folder, env={"EMPTY": "", "Ü": "ü", "A": "=x\ny"})
        niceness = min(os.nice(0) + 7, 19)
        self.assertEqual((facts["niceness"], facts["oom_score_adj"], facts["Umask"]), (niceness, "321\n", "0027"))
        self.assertEqual((facts["NoNewPrivs"], facts["timer slack"]), ("1", 123456))

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_as_another_user(self):
        """Capabilities, secure bits and identities."""

        def change():
            libc.prctl(PR_SET_SECUREBITS, 0x5, 0, 0, 0)
            for capability in (12, 21, 23):
                libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
            os.setgroups([4, 5])

        facts = self.same(group=None, setup=change)
        self.assertEqual((facts["Groups"].strip(), facts["securebits"]), ("4 5", 0x5))

    def test_bytes_in_the_environment(self):
        """Variables that are not text."""
        facts = self.same(group=None, env={"BYTES": os.fsdecode(b"\xff\xfe"), "SNAKEPIT_PROCESS_GROUP": "0"})
        self.assertIn("BYTES=\xff\xfe", facts["environment"])

    def test_session_and_group(self):
        """They are the wrapper's, whether it is their leader or not."""
        for group in ("session", "group", None):
            with self.subTest(started_as=group):
                facts, run = self.report(W, group=group)
                expected = {
                    "session": (run.pid, run.pid),
                    "group": (os.getsid(0), run.pid),
                    None: (os.getsid(0), os.getpgrp()),
                }
                self.assertEqual((facts["session"], facts["group"]), expected[group])

    def test_first_argument(self):
        """argv[0] is the given name, not the path that was found. Arguments are bytes and may be empty."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        os.symlink(sys.executable, f"{folder.name}/interpreter")
        probe = ["-S", str(HERE / "workers/probe.py"), "", "--", "-x", os.fsdecode(b"\xff"), "a b\n"]
        for name, options in {
            "interpreter": {"env": {"PATH": f"{folder.name}:/usr/bin:/bin"}},
            "./interpreter": {"cwd": folder.name},
            "../" + os.path.basename(folder.name) + "/interpreter": {"cwd": folder.name},
        }.items():
            with self.subTest(name=name):
                # Popen searches the command in this process's own PATH.
                command = ["env", name, *probe] if W in ([], ["env"]) else [name, *probe]
                facts, _ = self.report(W, command=command, group=None, **options)
                self.assertEqual(facts["arguments"], [name, *probe[:5], "\xff", "a b\n", ""])

    @row("variables of Rust's are the worker's alone")
    @sidecar_only
    def test_rust_variables(self):
        """A stack of that size would be too small, or more than there is."""
        with tempfile.TemporaryDirectory() as folder:
            options = ["--record", f"{folder}/r", "--export-jsonl", f"{folder}/j", "--export-statsd", "udp://localhost:9"]
            prefix = [SIDECAR, "-q", *options, "--"]
            for size in ("1", str(1 << 60), "text"):
                with self.subTest(size=size):
                    env = {"RUST_MIN_STACK": size, "RUST_LOG": "trace", "RUST_BACKTRACE": "full"}
                    code = "report(got=[os.environ[name] for name in ARGUMENTS]); os.write(2, b'text\\n'); os._exit(7)"
                    run = self.start(inline(code, *env), prefix=prefix, env=env)
                    self.assertEqual(run.finish(), (7, b"", b"text\n"))
                    self.assertEqual(run.fact("got"), list(env.values()))

    @row("the sidecar's own variables are not inherited")
    @sidecar_only
    def test_own_variables(self):
        env = {"TELEMETRY_SIDECAR_QUEUE_CAPACITY": "77", "TELEMETRY_SIDECAR_LISTEN": "127.0.0.1:0"}
        facts, _ = self.report(W, group=None, env=env)
        self.assertEqual([entry for entry in facts["environment"] if entry.startswith("TELEMETRY")], [WRAPPED])

    @row("TELEMETRY_SIDECAR=1 says that stderr is a sidecar's")
    @sidecar_only
    def test_wrapped(self):
        """Another value is replaced where it was; a sidecar within another one sets it as well."""
        nested = [*W, "env", "TELEMETRY_SIDECAR=0", *W]
        for prefix, env in [(W, {"TELEMETRY_SIDECAR": "0"}), (W, {"TELEMETRY_SIDECAR": ""}), (nested, {})]:
            with self.subTest(prefix=prefix, env=env):
                facts, _ = self.report(prefix, group=None, env=env)
                self.assertEqual([entry for entry in facts["environment"] if entry.startswith("TELEMETRY")], [WRAPPED])


if __name__ == "__main__":
    unittest.main()
