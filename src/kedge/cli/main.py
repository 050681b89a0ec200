"""Entry point: run one command, and map each error to one message and one exit code."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence

import typer

from kedge import errors
from kedge.cli.app import DISCOVER, INSPECT, app
from kedge.cli.commands import name_of, register
from kedge.cli.driver_log import filter_driver_log
from kedge.cli.interrupts import Stopped, ignore_interrupts
from kedge.cli.streams import guarded
from kedge.cli.terminal import Declined, emit, whisper
from kedge.model.secrets import redact, secrets_of_address, secrets_of_environment
from kedge.support.interrupts import interruptible, shielded

_CODES: tuple[tuple[type[errors.KedgeError], int], ...] = (
    (errors.Misuse, 2),
    (errors.Conflict, 3),
    (errors.Retryable, 4),
    (errors.Corruption, 5),
    (errors.RolledBack, 6),
    (errors.NotPermitted, 6),
    (errors.OutcomeUnknown, 6),
)
_STEPS_SAVED = (
    "stopped. Completed steps are saved. To see the current state: kedge status. To finish the remaining steps: "
    "kedge recover"
)
_STOPPED_IN = {
    **dict.fromkeys(("rollback", "purge", "recover", "reinstate", "promote"), _STEPS_SAVED),
    "migrate-store": "stopped. Copied data is kept. To resume, run the same command again; to cancel, add --abandon",
    "upgrade": "stopped. Completed steps are saved. To resume, run the same command again",
    "launch": "stopped. The launch stands where it is, and nothing watches it. To resume, run the same command again",
    "backfill": "stopped. Stored vectors are kept. To resume, run the same command again",
}
STOPPED, DEFECT, USAGE, OUTPUT_LOST, BROKEN_PIPE = 130, 70, 2, 74, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    The first Ctrl-C ends the command. Pressed again, it stops neither the report of what was done, nor, in the program
    itself (without `argv`), what is left to do before the process ends.
    """
    arguments = _command_first(list(sys.argv[1:] if argv is None else argv))
    handler, codes = signal.getsignal(signal.SIGINT), list[int]()
    try:
        shielded(lambda: codes.append(_main(arguments)))
    except KeyboardInterrupt:  # pressed again
        if not codes:
            raise
    finally:
        if argv is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
    return codes[0]


def _main(arguments: list[str]) -> int:
    with guarded() as (out, _):
        code = _run(arguments)
        out.flush()
        if out.lost is None:
            return code
        if not isinstance(out.lost, BrokenPipeError):  # a reader that has gone needs no message
            whisper(f"kedge: cannot write to stdout ({out.lost.strerror or out.lost}); the output is lost", "red")
        if code or not _shows(arguments):
            return code  # it says what the command did, whatever became of its output
        return BROKEN_PIPE if isinstance(out.lost, BrokenPipeError) else OUTPUT_LOST


def _run(arguments: list[str]) -> int:
    filter_driver_log()
    as_json = "--json" in (arguments[: arguments.index("--")] if "--" in arguments else arguments)
    try:
        register(arguments[0] if arguments else None)
        code = interruptible(app, args=arguments, prog_name="kedge", standalone_mode=False)
        ignore_interrupts()
        if code == STOPPED:  # how typer reports Ctrl-C
            return _fail(as_json, "Interrupted", _interrupted(arguments), STOPPED)
    except Declined:
        return STOPPED
    except Stopped as stopped:
        return _fail(as_json, "Interrupted", _after_ctrl_c(str(stopped)), STOPPED)
    except errors.KedgeError as error:
        return _fail(as_json, type(error).__name__, str(error), exit_code(error))
    except (KeyboardInterrupt, typer.Abort):  # how older versions of typer report Ctrl-C
        return _fail(as_json, "Interrupted", _interrupted(arguments), STOPPED)
    except Exception as error:  # noqa: BLE001 - the process's edge: report it and exit non-zero
        return _other(as_json, error)
    return int(code or 0)


def _shows(arguments: Sequence[str]) -> bool:
    """Return whether the output is all that the command does; of others, and of `export`, the exit code tells."""
    shows = {INSPECT, DISCOVER}
    tells = {name_of(command) for command in app.registered_commands if command.rich_help_panel not in shows} | {
        "export"
    }
    return tells.isdisjoint(arguments[:1])


def _command_first(arguments: list[str]) -> list[str]:
    """Move --db and --json behind the command if they were typed before it."""
    early: list[str] = []
    while arguments and (arguments[0] in {"--db", "--json"} or arguments[0].startswith("--db=")):
        taken = 2 if arguments[0] == "--db" else 1
        early += arguments[:taken]
        arguments = arguments[taken:]
    return [*arguments[:1], *early, *arguments[1:]]


def exit_code(error: errors.KedgeError) -> int:
    """Return the exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), DEFECT)


def _fail(as_json: bool, kind: str, message: str, code: int) -> int:  # noqa: FBT001 - private, and read at a glance
    ignore_interrupts()
    message = redact(message, _typed_secrets())
    if as_json:
        emit({"error": {"kind": kind, "message": message}})
    else:
        whisper(f"kedge: {message}", "red")
    return code


def _other(as_json: bool, error: Exception) -> int:  # noqa: FBT001
    format_message = getattr(error, "format_message", None)
    if format_message is not None:  # a usage error that typer found
        context = getattr(error, "ctx", None)
        hint = "" if context is None or as_json else f"; see `{context.command_path} --help`"
        return _fail(as_json, "Usage", " ".join(format_message().split()).rstrip(".") + hint, USAGE)
    sys.stderr.write(redact("".join(traceback.format_exception(error)), _typed_secrets()))
    message = f"{type(error).__name__}: {error}; this is a bug in Kedge, please report it with the lines above"
    return _fail(as_json, "Defect", message, DEFECT)


def _typed_secrets() -> list[str]:
    """Return the secrets of the addresses on the command line and in the environment."""
    return [
        *(secret for word in sys.argv[1:] for secret in secrets_of_address(word)),
        *secrets_of_environment(os.environ),
    ]


def _interrupted(arguments: Sequence[str]) -> str:
    return _after_ctrl_c(next((said for command, said in _STOPPED_IN.items() if command in arguments), "stopped"))


def _after_ctrl_c(message: str) -> str:
    if sys.stderr.isatty():
        sys.stderr.write("\n")  # after the terminal's ^C
    return message


if __name__ == "__main__":
    sys.exit(main())
