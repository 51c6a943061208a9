"""The reference, made from the commands: ``make docs`` writes it to docs/reference.md."""

from __future__ import annotations

from collections.abc import Iterator

import click

from trivet.cli.commands import main

INTRODUCTION = """\
# Reference

`make docs` writes this page from the commands.

Every option can be set in three ways: `--port 80` on the command line, `TRIVET_SERVE_PORT=80` in
the environment, and `port = 80` under `[serve]` in `trivet.toml`. The command line wins over the
environment, the environment over the file, and the file over the default.

In the environment, the name of a variable holds the whole command: `TRIVET_BATCH_PREDICT_INPUT`,
`TRIVET_MODELS_LIST_MODELS_DIR`. In the file, a key at the top applies to every command that has the
option, and the tables `[train.params]` and `[train.kinds]` stand for `--param NAME=VALUE` and
`--kind COLUMN=KIND`. To use another file: `trivet --config FILE ...`, or `TRIVET_CONFIG`.

`trivet train` leaves out settings of the file that are for another table or estimator, and says so
on stderr:

- With `--target` on the command line, the flags describe the table. Only `models-dir` is still
  taken from the file. To train on another file with the same columns, give `--data` alone.
- `features` and `[train.params]` are for the estimator that the file names, and for no other
  `--estimator`. All three are for the pipeline that the file names, and for no other `--pipeline`.

`trivet batch-predict` does not write the predictions for another `--input` to the `output` that the
file names beside its own `input`: it asks for an `--output`.

| exit code | |
|---|---|
| 0 | done |
| 1 | trouble that one line on stderr explains |
| 2 | a wrong option or argument |
| 3 | more rows were rejected than `--max-rejected` allows |
| 130 | a batch run was stopped by Ctrl-C or SIGTERM |
| 141 | what reads the output has ended, such as `head` |
"""


def sections(path: str, group: click.Group) -> Iterator[str]:
    """What ``--help`` prints for each command of a group."""
    for name, command in group.commands.items():
        whole = f"{path} {name}"
        if isinstance(command, click.Group):
            yield from sections(whole, command)
        else:
            settings = main.context_settings
            context = click.Context(command, info_name=whole, terminal_width=100, **settings)
            yield f"## {whole}\n\n```\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    click.echo("\n".join([INTRODUCTION, *sections("trivet", main)]), nl=False)
