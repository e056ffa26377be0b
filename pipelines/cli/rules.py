"""The rules command."""

from __future__ import annotations

import typer

from pipelines.cli.options import JsonOption, OutputFormat, OutputOption
from pipelines.cli.terminal import print_json, print_table


def rules(as_json: JsonOption = False, output_format: OutputOption = OutputFormat.TABLE) -> None:
    """List the rules that rows are checked by. Needs no lake.

    An error holds back the rows of a table, or says that a lake needs repair. A
    warning is listed, and the rows are published. `vblake ingest --allow RULE`
    publishes rows in spite of an error, if the rule can be allowed.

    [dim]Example:[/dim]  vblake rules --format json
    """
    from schemas.checks import RULES
    from schemas.known_defects import breaking

    if as_json or output_format is OutputFormat.JSON:
        print_json(
            [
                {
                    "rule": rule.value,
                    "level": facts.level.value,
                    "can_be_allowed": facts.can_be_allowed,
                    "protects": facts.protects,
                    "known": facts.known,
                    "known_defects": breaking(rule),
                }
                for rule, facts in RULES.items()
            ]
        )
        return
    rows: list[tuple[str, ...]] = []
    for rule, facts in RULES.items():
        text = [facts.protects, facts.known and f"Known: {facts.known}"]
        if defects := breaking(rule):
            text.append(f"Known defects: {', '.join(defects)}.")
        allowed = "yes" if facts.can_be_allowed else "no"
        rows.append((rule.value, facts.level.name.lower(), allowed, "\n".join(filter(None, text))))
    print_table(("rule", "level", "--allow", "~protects"), rows)
    typer.echo("docs/tables.md explains the known defects of the released data.")
