"""The application: help, exit codes, and how errors are told."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
import typer
from builders.cli import output, refusal, run
from typer.testing import CliRunner

from assets.commands import cli
from pipelines.cli.app import Commands, main
from schemas.errors import LakeError, UsageError

COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def test_version() -> None:
    from importlib.metadata import version

    assert output("--version") == f"vblake {version('vblake')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    text = output(command, "--help")
    assert f"Usage: vblake {command}" in text
    after_usage = text.split("Usage:")[1].split("\n", 1)[1]
    assert f"  vblake {command}" in after_usage


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_80_columns(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in output(command, "--help").splitlines()]
    written = COMMANDS[command].help.replace("[dim]", "").replace("[/dim]", "")
    assert [x for x in written.replace("\\[", "[").splitlines() if x.strip() not in lines] == []
    options = [line for line in lines if re.match(r"│ [ *]*--", line)]
    assert [line for line in options if re.search("<(bool|str|int)", line)] == []


def test_the_help_lists_the_commands_in_the_order_of_need() -> None:
    text = output("--help")
    wanted = ("plan", "ingest", "status", "verify", "catalog", "publish", "sql", "tables", "rules")
    positions = [text.index(f"│ {name} ") for name in wanted]
    assert positions == sorted(positions)
    assert "<bool>" not in text


@pytest.mark.parametrize("args", [["nonsense"], ["sample"]])
def test_bad_arguments_exit_with_2(args: list[str]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: vblake" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["plan", "--mouse", "abc"], "--mouse is 'abc'; expected a whole number."),
        (
            ["plan", "--experiment", "1,2"],
            "--experiment is '1,2'; expected a whole number. Give --experiment once for each.",
        ),
        (["plan", "--timeout", "soon"], "--timeout is 'soon'; expected a number."),
        (["plan", "--workers", "-1"], "--workers is '-1'; expected 1 or more."),
        (["sample", "--out", "x", "--mice", "100"], "--mice is '100'; expected 99 or less."),
        (
            ["sample", "--out", "x", "--scale", "huge"],
            "--scale is 'huge'; expected one of 'tiny', 'real'.",
        ),
    ],
)
def test_a_value_that_an_option_cannot_have_is_told_in_our_words(
    args: list[str], said: str
) -> None:
    assert refusal(*args) == f"error: {said}"


def failing(error: BaseException) -> typer.Typer:
    application = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @application.command()
    def one() -> None:
        raise error

    @application.command()
    def two() -> None:
        pass

    return application


def interrupted_query() -> RuntimeError:
    error = RuntimeError("Query interrupted")
    error.__cause__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("no such mouse"), 2, "error: no such mouse\n"),
        (LakeError("no lake"), 1, "error: no lake\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (interrupted_query(), 130, "error: interrupted\n"),
        (typer.Exit(3), 3, ""),
    ],
)
def test_errors_become_messages_and_exit_codes(
    error: BaseException, code: int, message: str
) -> None:
    result = CliRunner().invoke(failing(error), ["one"])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", message)


def test_main_apologises_for_what_should_not_happen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vblake", "one"])
    with pytest.raises(SystemExit) as caught:
        main(failing(ZeroDivisionError("oops")))
    captured = capsys.readouterr()
    assert (caught.value.code, captured.out) == (1, "")
    first, rest = captured.err.split("\n", 1)
    assert (
        first == "error: Sorry, this should not have happened (ZeroDivisionError). "
        "Please report it with what follows."
    )
    assert rest.startswith("Traceback (most recent call last):")
    assert rest.endswith("ZeroDivisionError: oops\n")


@pytest.mark.parametrize(
    ("no_color", "expected"),
    [("", "\x1b[31m\x1b[1merror:\x1b[0m no lake\n"), ("1", "error: no lake\n")],
)
def test_errors_are_red_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    no_color: str,
    expected: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["vblake", "one"])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", no_color)
    with pytest.raises(SystemExit) as caught:
        main(failing(LakeError("no lake")))
    assert (caught.value.code, capsys.readouterr().err) == (1, expected)
