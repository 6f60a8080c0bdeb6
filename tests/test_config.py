"""The configuration, from real files: what they come to, and every fault with its file, line and field."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

import jobd
from jobd import config
from jobd.config import Queue, Settings, Slots, System
from jobd.errors import Invalid

GB = 1024**3
EXAMPLES = Path(jobd.__file__).parent / "examples"
OTHER = 54321
"""A user that is not us."""


class Place:
    """A directory of configuration files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": str(path)}

    def write(self, text: str, name: str = "jobd.yaml") -> Path:
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    def load(self, text: str | None = None, system: bool = False) -> Settings:
        if text is not None:
            self.write(text)
        return config.load(self.path / "jobd.yaml", self.environ, system)

    def faults(self, text: str | None = None) -> list[str]:
        with pytest.raises(Invalid) as caught:
            self.load(text)
        return [str(fault).replace(f"{self.path}/", "") for fault in caught.value.faults]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# ---- without a file


def test_no_file_is_needed(place: Place) -> None:
    settings = config.load(None, place.environ | {"XDG_CONFIG_HOME": str(place.path)})
    assert (settings.mode, settings.config_file) == ("user", None)
    assert settings.state_dir == Path("/home/ada/.local/state/jobd")
    assert settings.socket == place.path / "jobd/jobd.sock"
    (system,) = settings.systems
    assert (system.id, system.backend, system.default, settings.default_system) == (
        "local",
        "local",
        True,
        "local",
    )
    assert system.slots == Slots()
    assert system.work_root("ada", "/home/ada") == "/home/ada/.local/state/jobd/jobs"
    assert system.default_queue().name == "default"
    assert system.default_queue().max_nodes == 1


def test_the_systems_daemon_has_other_places(place: Place) -> None:
    settings = place.load("", system=True)
    assert settings.mode == "system"
    assert (str(settings.state_dir), str(settings.socket)) == ("/var/lib/jobd", "/run/jobd/jobd.sock")
    assert settings.systems[0].work_root("ada", "/home/ada") == "/home/ada/jobd"


def test_the_slots_of_this_machine() -> None:
    slots = Slots()
    assert slots.processors == len(os.sched_getaffinity(0))
    assert slots.memory > 64 * 1024 * 1024
    assert slots.gpus == tuple(range(len(slots.gpus)))


def test_a_file_that_was_named_must_be_there(place: Place) -> None:
    with pytest.raises(Invalid, match=r"jobd\.yaml: No such file or directory"):
        place.load()
    with pytest.raises(Invalid, match=r"none\.yaml: No such file or directory"):
        config.load(None, place.environ | {"JOBD_CONFIG": f"{place.path}/none.yaml"})
    with pytest.raises(Invalid, match="Is a directory"):
        config.load(place.path, place.environ)


def test_jobds_variables_go_before_the_file(place: Place) -> None:
    place.environ |= {
        "JOBD_STATE_DIR": "/s",
        "JOBD_SOCKET": "/x",
        "JOBD_CONFIG": str(place.write("stateDir: /t")),
    }
    settings = config.load(None, place.environ)
    assert (str(settings.state_dir), str(settings.socket)) == ("/s", "/x")
    assert settings.config_file == place.path / "jobd.yaml"


def test_the_client_and_the_daemon_mean_the_same_socket(place: Place) -> None:
    from jobd import places

    place.environ["JOBD_CONFIG"] = str(place.write("stateDir: /data/jobd\n"))
    for environ in (place.environ, place.environ | {"XDG_RUNTIME_DIR": ""}):
        assert str(config.load(None, environ).socket) == places.socket_path(environ)


# ---- values


def test_values_are_read_into_seconds_and_bytes(place: Place) -> None:
    settings = place.load("""
killWait: 1m
lostAfter: null
maxBody: 1MB
adminGroup: lab
systems:
  - id: box
    slots: {processors: 3, memory: 2GB}
    environment: {OMP_NUM_THREADS: 8, MODE: "yes"}
    workDir: /scratch/${OWNER}
    killGrace: 0
    queues:
      - {name: short, maxRequestedTime: "01:00:00", maxJobs: 0, maxUserJobs: -1, maxNodes: 3, default: no}
      - {name: long, mappedName: batch-long, default: yes, maxMemoryPerNode: 16GB, defaultMaxRunTime: 24h}
  - id: cluster
    backend: lab.lsf.LsfBackend
    lostAfter: 2h
    options: {bin: /opt/lsf}
""")
    assert (settings.kill_wait, settings.lost_after, settings.max_body) == (60, None, 1024**2)
    box, cluster = settings.systems
    assert box.slots == Slots(processors=3, memory=2 * GB)
    assert box.environment == {"OMP_NUM_THREADS": "8", "MODE": "yes"}
    assert box.work_root("ada", "/home/ada") == "/scratch/ada"
    assert (box.kill_grace, box.lost_after, box.concurrency) == (0, None, 8)
    short, long = box.queues
    assert (short.mapped_name, short.max_requested_time, short.default_max_run_time) == ("short", 3600, 3600)
    assert (short.max_jobs, short.max_user_jobs, short.max_nodes) == (0, None, 1)
    assert (long.mapped_name, long.max_memory_per_node, long.default_max_run_time) == (
        "batch-long",
        16 * GB,
        86400,
    )
    assert (box.default_queue(), box.queue("short"), box.queue("none")) == (long, short, None)
    assert (cluster.slots, cluster.lost_after, cluster.concurrency) == (None, 7200, 8)
    assert cluster.options == {"bin": "/opt/lsf"}
    assert (settings.default_system, box.default, cluster.default) == ("box", True, False)
    assert settings.system("cluster") is cluster


def test_the_default_system_can_be_named_or_flagged(place: Place) -> None:
    assert place.load("systems: [{id: a}, {id: b, default: true}]").default_system == "b"
    settings = place.load("defaultSystem: b\nsystems: [{id: a}, {id: b}]")
    assert [system.default for system in settings.systems] == [False, True]


def test_a_local_system_without_slots_counts_nothing(place: Place) -> None:
    assert place.load("systems: [{id: a, slots: null}]").systems[0].slots is None
    assert place.load("systems: [{id: a, slots: auto}]").systems[0].slots == Slots()


@pytest.mark.parametrize(("written", "indices"), [("2", (0, 1)), ("0", ()), ("[3, 1]", (3, 1)), ("[]", ())])
def test_gpus_are_a_number_or_their_indices(place: Place, written: str, indices: tuple[int, ...]) -> None:
    slots = place.load(f"systems: [{{id: a, slots: {{gpus: {written}}}}}]").systems[0].slots
    assert slots is not None
    assert slots.gpus == indices


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("two", 'gpus: "two" will not do (expected a number of GPUs, or a list of their indices)'),
        ("-1", "gpus: -1 will not do (expected a number of GPUs, or a list of their indices)"),
        ("[0, 0]", "gpus.1: GPU 0 is there twice (expected each index once)"),
        ("[-1]", "gpus.0: -1 will not do (expected greater than or equal to 0)"),
    ],
)
def test_what_gpus_cannot_be(place: Place, written: str, fault: str) -> None:
    (told,) = place.faults(f"systems: [{{id: a, slots: {{gpus: {written}}}}}]")
    assert told.endswith(f"systems.0.slots.{fault}")


def test_settings_are_made_in_python_too() -> None:
    queue = Queue(name="q", max_jobs=3, max_memory_per_node=5, max_requested_time=60)
    system = System(id="s", queues=(queue,), slots=Slots(processors=1, memory=7, gpus=0))
    settings = Settings(state_dir=Path("/s"), socket=Path("/x"), systems=(system,))
    assert settings.default_system == "s"
    assert system.queues[0].max_memory_per_node == 5
    with pytest.raises(ValidationError):
        queue.name = "r"


# ---- several files


def test_drop_ins_are_laid_over_the_file_in_the_order_of_their_names(place: Place) -> None:
    place.write("killWait: 1\nsweep: 1", "conf.d/10.yaml")
    place.write("killWait: 2", "conf.d/20.yaml")
    place.write("# nothing but a comment", "conf.d/30.yaml")
    settings = place.load("killWait: 9\nsweep: 9\nidleTimeout: 9")
    assert (settings.kill_wait, settings.sweep, settings.idle_timeout) == (2, 1, 9)


def test_mappings_merge_lists_are_replaced_and_systems_go_by_id(place: Place) -> None:
    place.write("""
systems:
  - id: a
    environment: {Y: 2}
    queues: [{name: new}]
  - id: c
""", "conf.d/10.yaml")  # fmt: skip
    settings = place.load("""
systems:
  - {id: a, description: first, environment: {X: 1, Y: 1}, queues: [{name: old}, {name: older}]}
  - {id: b}
""")
    assert [system.id for system in settings.systems] == ["a", "b", "c"]
    first = settings.systems[0]
    assert (first.description, first.environment) == ("first", {"X": "1", "Y": "2"})
    assert [queue.name for queue in first.queues] == ["new"]


def test_a_system_per_file_named_after_it(place: Place) -> None:
    place.write("description: of its own", "systems/tower.yaml")
    place.write("id: gpu.box", "systems/other.yaml")
    place.write("systems: [{id: tower, description: laid over}]", "conf.d/1.yaml")
    settings = place.load("logLevel: debug")
    assert [(system.id, system.description) for system in settings.systems] == [
        ("gpu.box", ""),
        ("tower", "laid over"),
    ]


def test_a_fault_is_told_with_the_file_that_has_it(place: Place) -> None:
    place.write("backend: local\nqueues:\n  - name: a\n    maxJobs: x", "systems/tower.yaml")
    place.write(
        "\nsystems:\n  - id: box\n    queues:\n    - {name: b, priorty: 1}\nkillWait: soon", "conf.d/1.yaml"
    )
    assert place.faults("sweep: 0\nsystems: [{id: box, concurrency: 65, queues: [{name: b}]}]") == [
        'conf.d/1.yaml:5:17: systems.0.queues.0.priorty: there is no such option; did you mean priority?',
        "jobd.yaml:2:21: systems.0.concurrency: 65 will not do (expected less than or equal to 64)",
        'systems/tower.yaml:4:5: systems.1.queues.0.maxJobs: "x" will not do (expected a whole number)',
        'conf.d/1.yaml:6:1: killWait: "soon" is not a duration (expected seconds, or "HH:MM:SS", or a number '
        'with a unit: "30s", "15m", "24h", "7d")',
        "jobd.yaml:1:1: sweep: 0 will not do (expected greater than 0)",
    ]  # fmt: skip


def test_a_system_that_is_there_twice(place: Place) -> None:
    place.write("backend: local", "systems/a.yaml")
    message = "systems.1.id: there is another system 'a' (expected a name of its own)"
    assert place.faults("systems: [{id: a}]") == [f"systems/a.yaml:1:1: {message}"]
    (place.path / "systems/a.yaml").unlink()
    assert place.faults("systems:\n  - id: a\n  - id: a") == [f"jobd.yaml:3:5: {message}"]


def test_files_that_cannot_be_read_are_all_told(place: Place) -> None:
    place.write("a: [", "conf.d/1.yaml")
    place.write("- a", "conf.d/2.yaml")
    place.write("a: 1\na: 2", "systems/x.yaml")
    (place.path / "conf.d/3.yaml").mkdir()
    assert place.faults("mode: system") == [
        "jobd.yaml:1:1: mode: there is no such option in a file",
        "systems/x.yaml:2:1: a: this key comes twice (expected once; the first is on line 1)",
        "conf.d/1.yaml:2:1: this is not YAML: did not find expected node content, while parsing a flow node",
        "conf.d/2.yaml:1:1: this is not a mapping (expected option: value)",
        "conf.d/3.yaml: Is a directory",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_strangers_directory_beside_the_file_is_refused(place: Place) -> None:
    drop_in = place.write("systems: [{id: a, backend: evil.Backend}]", "conf.d/1.yaml")
    os.chown(drop_in.parent, OTHER, -1)
    assert place.faults("") == ["conf.d: this directory belongs to somebody else"]


# ---- faults


QUEUE = "systems:\n  - id: a\n    queues:\n      - name: q\n        "


@pytest.mark.parametrize(
    ("text", "fault", "expected"),
    [
        ("killwait: 3", "1:1: killwait: there is no such option; did you mean killWait?", ""),
        ("kill_wait: 3", "1:1: kill_wait: there is no such option; did you mean killWait?", ""),
        ("zzz: 3", "1:1: zzz: there is no such option", "one of adminGroup, alsoUsers, archiveDir, "),
        ("configFile: /x", "1:1: configFile: there is no such option in a file", ""),
        ("\nstateDir: data", "2:1: stateDir: 'data' is not absolute", "a path that starts with /"),
        ("stateDir: 5", "1:1: stateDir: 5 will not do", "a path"),
        ("socket:", "1:1: socket: null will not do", "a path"),
        (
            f"socket: /{'x' * 107}",
            f"1:1: socket: '/{'x' * 107}' is 108 bytes long",
            "at most 107: set socket or JOBD_SOCKET to a shorter path",
        ),
        ("logLevel: loud", '1:1: logLevel: "loud" will not do', "'debug', 'info', 'warning' or 'error'"),
        (
            "adminGroup: 12",
            "1:1: adminGroup: 12 will not do",
            "text, in quotes if it looks like something else",
        ),
        (
            "maxBody: 16",
            "1:1: maxBody: 16 is not a size",
            'a number with a unit, for example "16GB" or "512MB"',
        ),
        ("maxJobsPerRequest: 0", "1:1: maxJobsPerRequest: 0 will not do", "greater than or equal to 1"),
        ("maxJobsPerRequest: true", "1:1: maxJobsPerRequest: true will not do", "a whole number"),
        ("maxJobsPerRequest: 1.5", "1:1: maxJobsPerRequest: 1.5 will not do", "a whole number"),
        ("systems: []", "1:1: systems: [] will not do", "at least one"),
        ("systems:", "1:1: systems: null will not do", "a list"),
        ("systems: [5]", "1:11: systems.0: 5 will not do", "a mapping (option: value)"),
        ("systems:\n - {}", "2:4: systems.0.id: this is missing", "a value"),
        (
            "systems: [{id: a b}]",
            '1:12: systems.0.id: "a b" will not do',
            "1 to 64 letters, digits, '.', '_' and '-', a letter or digit first",
        ),
        ("systems: [{id: a, queues: []}]", "1:19: systems.0.queues: [] will not do", "at least one"),
        ("systems: [{id: a, queues: {}}]", "1:19: systems.0.queues: {} will not do", "a list"),
        (
            "systems: [{id: a, workDir: x}]",
            "1:19: systems.0.workDir: 'x' is not absolute",
            "a path that starts with / or ${HOME}",
        ),
        (
            "systems: [{id: a, workDir: '/${USER}/$x'}]",
            "1:19: systems.0.workDir: $x means nothing here",
            "${OWNER} or ${HOME}",
        ),
        ("systems: [{id: a, slots: 4}]", "1:19: systems.0.slots: 4 will not do", "a mapping (option: value)"),
        (
            "systems: [{id: a, slots: {cpus: 4}}]",
            "1:27: systems.0.slots.cpus: there is no such option",
            "one of gpus, memory, processors",
        ),
        (
            "systems: [{id: a, environment: {X: true}}]",
            "1:33: systems.0.environment.X: true will not do",
            "text: put it in quotes",
        ),
        (
            "systems: [{id: a, environment: {1X: a}}]",
            '1:33: systems.0.environment.1X: "1X" will not do',
            "a name of letters, digits and '_'",
        ),
        (
            "systems:\n- {id: a, default: true}\n- {id: b, default: true}",
            "3:11: systems.1.default: a and b are both the default system",
            "one",
        ),
        (
            "systems: [{id: a}, {id: b}]\ndefaultSystem: c",
            "2:1: defaultSystem: there is no system 'c'",
            "a, b",
        ),
        (
            "systems: [{id: a, default: true}, {id: b}]\ndefaultSystem: b",
            "2:1: defaultSystem: system a says default: true",
            "the same one",
        ),
        (
            QUEUE + "maxjobs: 1",
            "5:9: systems.0.queues.0.maxjobs: there is no such option; did you mean maxJobs?",
            "",
        ),
        (
            QUEUE + "maxJobs: -2",
            "5:9: systems.0.queues.0.maxJobs: -2 will not do",
            "greater than or equal to 0",
        ),
        (
            QUEUE + "default: perhaps",
            '5:9: systems.0.queues.0.default: "perhaps" will not do',
            "true or false",
        ),
        (
            QUEUE + "maxRequestedTime: 0",
            "5:9: systems.0.queues.0.maxRequestedTime: 0 will not do",
            "greater than 0",
        ),
        (
            QUEUE + "maxRequestedTime: 1h\n        defaultMaxRunTime: 2h",
            "6:9: systems.0.queues.0.defaultMaxRunTime: this is more than maxRequestedTime",
            "at most that",
        ),
        (
            QUEUE + "maxProcessorsPerNode: 1\n        defaultProcessorsPerNode: 2",
            "6:9: systems.0.queues.0.defaultProcessorsPerNode: this is more than maxProcessorsPerNode",
            "at most that",
        ),
        (
            QUEUE + "default: true\n      - {name: q}",
            "6:10: systems.0.queues.1.name: there is another queue 'q'",
            "a name of its own",
        ),
        (
            QUEUE + "default: true\n      - {name: r, default: true}",
            "6:19: systems.0.queues.1.default: q and r are both the default queue",
            "one",
        ),
        (
            "systems: [{id: a]",
            "1:17: this is not YAML: did not find expected ',' or '}', while parsing a flow mapping",
            "",
        ),
    ],
)
def test_a_fault_and_its_words(place: Place, text: str, fault: str, expected: str) -> None:
    (told,) = place.faults(text)
    assert told.startswith(f"jobd.yaml:{fault} (expected {expected}" if expected else f"jobd.yaml:{fault}")


def test_all_faults_at_once_and_none_twice(place: Place) -> None:
    assert [fault.split(": ")[1] for fault in place.faults("""
logLevel: loud
maxBodi: 3
systems:
  - id: a
    queues:
      - {name: a b, maxjobs: 3, maxMemoryPerNode: 16}
      - {maxJobs: many}
  - queues: []
    slots: {processors: 0}
""")] == [
        "systems.0.queues.0.name",
        "systems.0.queues.0.maxMemoryPerNode",
        "systems.0.queues.0.maxjobs",
        "systems.0.queues.1.name",
        "systems.0.queues.1.maxJobs",
        "systems.1.id",
        "systems.1.queues",
        "systems.1.slots.processors",
        "logLevel",
        "maxBodi",
    ]  # fmt: skip


def test_what_check_config_says(place: Place) -> None:
    place.write("stateDir: /data/jobd\nsystems: [{id: box, queues: [{name: a}, {name: b}]}]")
    well, words = config.check(place.path / "jobd.yaml", place.environ)
    assert well
    assert words.split("\n") == [
        f"configuration  {place.path}/jobd.yaml",
        "state          /data/jobd",
        f"socket         {place.path}/jobd/jobd.sock",
        "system         box (default), backend local, queues: a (default), b",
    ]
    place.write("sweep: 0\nkillWait: x")
    well, words = config.check(place.path / "jobd.yaml", place.environ)
    assert not well
    assert len(words.split("\n")) == 2


# ---- the examples


def uncommented(text: str) -> str:
    """The commented example with every option switched on; prose has one space after its #."""
    options, systems = text.split("#systems:\n")
    options = re.sub(r"^#(?=(  )?[a-zA-Z]+:|  #)", "", options, flags=re.MULTILINE)
    return f"{options}systems:\n{re.sub(r'^#', '', systems, flags=re.MULTILINE)}"


def test_the_example_shows_the_defaults(place: Place) -> None:
    plain = place.load((EXAMPLES / "jobd.yaml").read_text(), system=True)
    shown = place.load(uncommented((EXAMPLES / "jobd.yaml").read_text()), system=True)
    examples = {"admin_group": None, "cgroup_parent": None}
    assert shown.model_dump() | examples == plain.model_dump()
    assert plain == place.load("", system=True)


def test_the_example_has_every_option() -> None:
    from jobd import yamlfile

    shown: Any = yamlfile.parse(uncommented((EXAMPLES / "jobd.yaml").read_text()), "jobd.yaml").value
    system = shown["systems"][0]
    for model, options in (
        (Settings, shown),
        (System, system),
        (Queue, system["queues"][0]),
        (Slots, system["slots"]),
        (config.Notifications, shown["notifications"]),
    ):
        assert set(options) == {to_camel(name) for name in model.model_fields} - config.DERIVED


def test_the_examples_load_together(place: Place) -> None:
    settings = config.load(EXAMPLES / "jobd.yaml", place.environ)
    assert [queue.name for queue in settings.systems[0].queues] == ["short", "long"]
    assert settings.systems[0].default_queue().max_requested_time == 3600
