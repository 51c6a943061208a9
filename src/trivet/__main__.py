"""``python -m trivet`` is the command ``trivet``."""

from trivet.cli.commands import main

main(prog_name="trivet")
