"""Settings: every option from a variable and from `vblake.toml`, and `vblake config`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from builders.cli import output, refusal
from typer.core import TyperOption

from assets.commands import cli
from pipelines.cli import settings

COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
OPTIONS = [
    pytest.param(name, option, id=f"{name} {option.opts[0]}")
    for name, command in COMMANDS.items()
    for option in settings.options_of(command)
]
ARGUMENTS = {
    "sql": ["SELECT 1"],
    "describe": ["t"],
    "check": ["f"],
    "diff": ["A", "B"],
    "remove": [],
}


def value_for(option: TyperOption) -> str:
    """A text that an option takes and that is not its default."""
    if option.is_flag:
        return "true"
    for text in ("7", "json", "real"):
        try:
            option.process_value(
                typer.Context(COMMANDS["status"]), [text] if option.multiple else text
            )
        except typer.BadParameter:
            continue
        return text
    raise AssertionError(f"a value for {option.opts[0]} is missing here")


def given(command: str, option: TyperOption, **more: Any) -> tuple[Any, str]:
    context = COMMANDS[command].context_class(COMMANDS[command], info_name=command, **more)
    context.resilient_parsing = True  # other options that are required are not given
    COMMANDS[command].parse_args(context, list(ARGUMENTS.get(command, [])))
    return context.params[option.name], settings.origin(context, option)


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_of_every_command_has_a_variable_and_a_name_in_the_file(
    command: str, option: TyperOption, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    variable, name = settings.variables(option)[0], settings.name_of(option)
    assert variable in (f"VBLAKE_{name}".upper(), f"VBLAKE_{command}_{name}".upper())
    assert option.help, "vblake config and --help need it"
    text = value_for(option)
    section = "" if settings.is_shared(option) else f"[{command}]\n"
    written = text if option.is_flag else f'"{text}"'
    Path("vblake.toml").write_text(f"{section}{name} = {written}\n")
    file = settings.read_file()
    assert file is not None
    settings.check_names(file, COMMANDS)
    from_file = settings.defaults(file, COMMANDS)[command]
    value, origin = given(command, option, default_map=from_file)
    assert origin == f"file {tmp_path}/vblake.toml"
    if option.metavar not in settings.PLACES:
        monkeypatch.setenv(variable, text)
        assert given(command, option, default_map=from_file) == (value, f"environment {variable}")


def test_config_says_where_each_setting_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab").mkdir()
    file = tmp_path / "lab" / "vblake.toml"
    file.write_text(
        'lake = "vb"\nretries = 2\ntimeout = 3\nconnect-timeout = 4.5\n[sql]\nrows = 20\n'
        '[environment]\nVBLAKE_STATE = "secret place"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VBLAKE_CONFIG", "lab/vblake.toml")
    monkeypatch.setenv("VBLAKE_RETRIES", "3")
    monkeypatch.setenv("VBLAKE_TIMEOUT", "5")
    monkeypatch.setenv("VBLAKE_STATE", "")
    monkeypatch.delenv("VBLAKE_STATE")
    text = output("config", "--json", "--timeout", "6")
    found = json.loads(text)
    assert found["file"] == str(file)
    rows = {row["setting"]: (row["value"], row["from"]) for row in found["settings"]}
    assert rows["lake"] == (f"{tmp_path}/lab/vb", f"file {file}")
    assert rows["connect_timeout"] == (4.5, f"file {file}")
    assert rows["retries"] == (3, "environment VBLAKE_RETRIES")
    assert rows["timeout"] == (6.0, "flag --timeout")
    assert rows["workers"] == (None, "default")
    assert rows["sql rows"] == (20, f"file {file}")
    assert "VBLAKE_STATE" in rows
    assert "secret" not in text
    assert "sql output" in output("config", "--all")
    long = f"{tmp_path}/{'x' * 300}"
    (line,) = [line for line in output("config", "--lake", long).splitlines() if long in line]
    assert "flag --lake" in line, "piped, a setting is one line"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retrys = 3", "vblake.toml: the file has no setting 'retrys'. Did you mean 'retries'?"),
        ("[sql]\nrow = 3", "vblake.toml: vblake sql has no setting 'row'. Did you mean 'rows'?"),
        ("[sqll]", "vblake.toml: vblake has no command 'sqll'. Did you mean 'sql'?"),
        ("rows = 3", "the file has no setting 'rows'."),
        ("lake = ", "vblake.toml is not TOML: "),
        ("retries = 'many'", "/vblake.toml); expected a whole number."),
    ],
)
def test_a_file_with_a_mistake_is_refused(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vblake.toml").write_text(text)
    assert said in refusal("plan")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("VBLAKE_MOUSE", "1 2,3", "mouse is '2,3' (environment VBLAKE_MOUSE); expected a whole "),
        ("VBLAKE_ANON", "maybe", "anon is 'maybe' (environment VBLAKE_ANON); expected true or "),
        ("VBLAKE_CHECK_FORMAT", "xls", "format is 'xls' (environment VBLAKE_CHECK_FORMAT); exp"),
    ],
)
def test_a_variable_with_a_mistake_is_refused(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    command = ["check", "file"] if "CHECK" in name else ["plan"]
    assert refusal(*command).startswith(f"error: {said}")
