"""Table of the commands: a call imports the module of its command only, `kedge --help` imports all."""

from importlib import import_module

from typer.models import CommandInfo

from kedge.cli.app import app
from kedge.cli.help import PlainCommand

_MODULES = {  # in the order of `kedge --help`
    "status": "inspect", "health": "health", "slo": "slo", "fleet": "fleet", "plan": "rollback", "log": "inspect",
    "show": "show", "diff": "inspect", "assignment": "inspect",
    "sessions": "sessions", "verdicts": "message_verdicts", "metrics": "metrics",
    "verify": "verify", "peers": "peers", "gates": "gates", "drift": "drift", "export": "export",
    "deploy": "deploy", "canary": "deploy", "backfill": "backfill", "promote": "deploy", "settle": "deploy",
    "launch": "launch", "stop": "stop",
    "rollback": "rollback", "reinstate": "rollback", "replay": "replay",
    "rewind": "session_changes", "undo-rewind": "session_changes", "purge": "rollback", "recover": "rollback",
    "reconcile": "reconcile",
    "drill": "drill", "fsck": "fsck", "snapshot": "settings", "level": "settings", "ladder": "ladder",
    "retention": "retention", "collection": "settings", "observe": "metrics",
    "load": "ingest", "import": "ingest", "optimize": "retention", "refresh": "settings",
    "end-session": "session_changes", "fork-session": "session_changes",
    "scan": "scan", "traces": "traces", "map": "map", "readiness": "readiness",
    "migrate-store": "migrate", "upgrade": "upgrade", "roles": "roles",
}  # fmt: skip
_PLACES = {name: place for place, name in enumerate(_MODULES)}


def register(name: str | None = None) -> None:
    """Add a command to the application, and those of its module; add all where no command has this name."""
    module = _MODULES.get(name or "")
    for each in dict.fromkeys(_MODULES.values() if module is None else (module,)):
        import_module(f"kedge.cli.{each}")
    for command in app.registered_commands:
        command.cls = PlainCommand
    app.registered_commands.sort(key=lambda command: _PLACES[name_of(command)])


def name_of(command: CommandInfo) -> str:
    """Return the name of a command, as a user types it."""
    return command.name or (command.callback.__name__.replace("_", "-") if command.callback else "")
