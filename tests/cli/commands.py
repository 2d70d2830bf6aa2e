"""What every command does with what it cannot do."""

from typer.testing import Result


def assert_refused(result: Result, *said: str) -> None:
    """One line on stderr that says these things, nothing on stdout, exit code 2."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("lovasz: ")
    assert result.stderr.count("\n") == 1
    for words in said:
        assert words in result.stderr
