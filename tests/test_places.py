"""Where things are, for every mixture of variables and options, in real directories."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobd import places

OTHER = 54321
"""A user that is not us."""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def usual_runtime_dir() -> str | None:
    directory = f"/run/user/{os.geteuid()}"
    return directory if os.path.isdir(directory) and os.stat(directory).st_uid == os.geteuid() else None


def write_config(environ: dict[str, str], text: str, name: str = "jobd.yaml") -> Path:
    path = Path(environ["HOME"], ".config/jobd", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_with_nothing_but_a_home(environ: dict[str, str], tmp_path: Path) -> None:
    assert places.config_path(environ) == f"{tmp_path}/.config/jobd/jobd.yaml"
    assert places.state_dir(environ) == f"{tmp_path}/.local/state/jobd"
    runtime = usual_runtime_dir()
    expected = f"{runtime}/jobd/jobd.sock" if runtime else f"{tmp_path}/.local/state/jobd/jobd.sock"
    assert places.socket_path(environ) == expected


def test_without_even_that_the_account_has_a_home() -> None:
    import pwd

    assert places.home({}) == places.home({"HOME": "relative"}) == pwd.getpwuid(os.geteuid()).pw_dir


def test_xdg_directories(tmp_path: Path) -> None:
    environ = {f"XDG_{name}": f"{tmp_path}/{name}" for name in ("CONFIG_HOME", "STATE_HOME", "RUNTIME_DIR")}
    (tmp_path / "RUNTIME_DIR").mkdir()
    assert places.config_path(environ) == f"{tmp_path}/CONFIG_HOME/jobd/jobd.yaml"
    assert places.state_dir(environ) == f"{tmp_path}/STATE_HOME/jobd"
    assert places.socket_path(environ) == f"{tmp_path}/RUNTIME_DIR/jobd/jobd.sock"


@pytest.mark.parametrize("value", ["", "relative/dir"])
def test_xdg_variables_that_are_empty_or_relative_do_not_count(environ: dict[str, str], value: str) -> None:
    plain = (places.config_path(environ), places.state_dir(environ), places.socket_path(environ))
    environ |= {"XDG_CONFIG_HOME": value, "XDG_STATE_HOME": value, "XDG_RUNTIME_DIR": value}
    assert (places.config_path(environ), places.state_dir(environ), places.socket_path(environ)) == plain


def test_a_runtime_directory_that_logout_removed_still_counts(
    environ: dict[str, str], tmp_path: Path
) -> None:
    environ["XDG_RUNTIME_DIR"] = f"{tmp_path}/gone"
    assert places.socket_path(environ) == f"{tmp_path}/gone/jobd/jobd.sock"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_runtime_directory_of_somebody_else_does_not_count(environ: dict[str, str], tmp_path: Path) -> None:
    plain = places.socket_path(environ)
    environ["XDG_RUNTIME_DIR"] = f"{tmp_path}/theirs"
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", OTHER, -1)
    assert places.socket_path(environ) == plain


def test_the_systems_places() -> None:
    assert places.config_path({}, system=True) == "/etc/jobd/jobd.yaml"
    assert places.state_dir({}, system=True, written="") == "/var/lib/jobd"
    assert places.socket_path({}, system=True, written="") == "/run/jobd/jobd.sock"


@pytest.mark.parametrize("system", [False, True])
def test_jobds_own_variables_go_before_everything(tmp_path: Path, system: bool) -> None:
    environ = {
        "JOBD_CONFIG": "/a/c.yaml",
        "JOBD_STATE_DIR": "/a/s",
        "JOBD_SOCKET": "/a/x",
        "XDG_RUNTIME_DIR": "/r",
    }
    assert places.config_path(environ, system) == "/a/c.yaml"
    assert places.state_dir(environ, system, "/written") == "/a/s"
    assert places.socket_path(environ, system, "/written") == "/a/x"


def test_relative_paths_in_them_are_from_here() -> None:
    assert places.socket_path({"JOBD_SOCKET": "x.sock"}) == f"{os.getcwd()}/x.sock"


def test_options_are_found_in_the_configuration(environ: dict[str, str]) -> None:
    write_config(environ, "# stateDir: /no\nstateDir: '/data/jobd'\nlogLevel: debug\n")
    assert places.state_dir(environ) == "/data/jobd"
    write_config(environ, "socket: /data/one.sock\n", "conf.d/10.yaml")
    write_config(environ, "socket: /data/two.sock\n", "conf.d/20.yaml")
    assert places.socket_path(environ) == "/data/two.sock"


def test_the_state_directory_that_is_written_holds_the_socket(environ: dict[str, str]) -> None:
    write_config(environ, "stateDir: /data/jobd\n")
    if not usual_runtime_dir():
        assert places.socket_path(environ) == "/data/jobd/jobd.sock"


@pytest.mark.parametrize("text", ["socket: [", "socket: relative", "socket: 5", "- socket", "socket: \xff"])
def test_a_configuration_that_is_wrong_says_nothing(environ: dict[str, str], text: str) -> None:
    plain = places.socket_path(environ)
    write_config(environ, "").write_bytes(text.encode("latin-1"))
    assert places.socket_path(environ) == plain


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_strangers_drop_ins_do_not_count(environ: dict[str, str]) -> None:
    plain = places.socket_path(environ)
    drop_in = write_config(environ, "socket: /data/theirs.sock\n", "conf.d/10.yaml")
    os.chown(drop_in.parent, OTHER, -1)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        places.drop_ins(places.config_path(environ), "conf.d")
    assert places.socket_path(environ) == plain


def test_drop_ins_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    for name in ("b.yaml", "a.yml", "c.yaml~", ".hidden.yaml", "README"):
        (tmp_path / "conf.d" / name).touch()
    names = [os.path.basename(path) for path in places.drop_ins(f"{tmp_path}/jobd.yaml", "conf.d")]
    assert names == ["a.yml", "b.yaml"]
    assert places.drop_ins(f"{tmp_path}/jobd.yaml", "systems") == []


def test_it_costs_jobctl_nothing(tmp_path: Path) -> None:
    script = """if True:
        import sys
        from jobd import places
        places.socket_path({"HOME": sys.argv[1]}), places.state_dir({"HOME": sys.argv[1]})
        print(*sorted({"yaml", "pathlib", "pydantic", "dataclasses", "json"} & set(sys.modules)))
    """
    root = Path(places.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""
