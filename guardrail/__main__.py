"""`guardrail` and `python -m guardrail`: runs a command and turns what went wrong into one line and an exit code."""

from __future__ import annotations

import os
import sys
import traceback


def main() -> None:
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before a command had begun
        code = _say("interrupted", 130)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """The exit code: 0 done, 1 policy not passed, 2 bad input, 3 budget, 4 internal, 130 interrupted."""
    import click

    from .cli import cli
    from .vocabulary.errors import GuardrailError, MissingExtra

    try:
        result = cli.main(args=arguments, prog_name="guardrail", standalone_mode=False)
    except GuardrailError as fault:
        return _say(str(fault), fault.exit_code)
    except ModuleNotFoundError as fault:
        missing = MissingExtra.behind(fault)
        if missing is None:
            raise
        return _say(str(missing), missing.exit_code)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.Abort as stop:
        return _say(str(stop.__cause__ or "") or "interrupted", 130)
    except click.ClickException as fault:
        return _say(fault.format_message(), 2)
    except KeyboardInterrupt as stop:
        return _say(str(stop) or "interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as fault:
        traceback.print_exc()
        return _say(f"internal error: {type(fault).__name__}: {fault}; please report it with the lines above", 4)
    return result if isinstance(result, int) else 0


def _say(message: str, code: int) -> int:
    """One message on stderr; control characters from file or column names cannot reach the terminal."""
    printable = "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in message)
    print(f"guardrail: {printable}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
