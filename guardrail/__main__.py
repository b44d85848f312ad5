"""`guardrail` and `python -m guardrail`: runs a command and turns what went wrong into one line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback

from .interrupts import wait_for_imports

_NO_PLACE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
}
"""What the system says of a place somebody named, and not of a fault of ours."""


def main() -> None:
    wait_for_imports()
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
    except OSError as fault:
        if fault.errno not in _NO_PLACE:
            return _internal(fault)
        return _say(f"{fault.filename or 'a file'}: {fault.strerror}; see that the place is a folder, may be written to and has room", 2)
    except Exception as fault:
        return _internal(fault)
    return result if isinstance(result, int) else 0


def _internal(fault: Exception) -> int:
    traceback.print_exc()
    return _say(f"internal error: {type(fault).__name__}: {fault}; please report it with the lines above", 4)


def _say(message: str, code: int) -> int:
    """One message on stderr; control characters from file or column names cannot reach the terminal."""
    printable = "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in message)
    print(f"guardrail: {printable}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
