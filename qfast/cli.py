"""The command line: ``qfast serve`` runs a server, the other commands are a client's.

Exit status: 0 done; 1 refused, failed or not final in time; 2 wrong usage or an unreadable file; 3 no server answers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qfast import __version__, callback_commands, errors, render
from qfast.client import Client, ConnectionError, JobFailed
from qfast.job import FINAL
from qfast.key_commands import add_commands
from qfast.sources import FORMATS, MAX_BYTES, SourceError, described, read_file, read_source

DONE, FAILED, USAGE, NO_SERVER = 0, 1, 2, 3
PROGRAM_TYPES = ("qasm", "qasm2", "qasm3", "qubo")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    arguments = parser().parse_args(argv)
    try:
        status = int(arguments.command(arguments))
        sys.stdout.flush()
        return status
    except ConnectionError as error:
        return _fail(arguments, {"code": None, "message": str(error)}, str(error), NO_SERVER)
    except errors.RpcError as error:
        return _fail(arguments, error.as_dict(), render.rpc_error(error.as_dict()), FAILED)
    except TimeoutError as error:
        return _fail(arguments, {"code": None, "message": str(error)}, str(error), FAILED)
    except (SourceError, UsageError, errors.ConfigurationInvalid, TypeError, ValueError) as error:
        return _fail(arguments, {"code": None, "message": str(error)}, f"qfast: {error}", USAGE)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return 130


class UsageError(ValueError):
    """What was asked for on the command line makes no sense."""


def _fail(arguments: argparse.Namespace, error: dict[str, Any], text: str, status: int) -> int:
    if getattr(arguments, "json", False):
        print(json.dumps({"error": error}))
    else:
        print(text, file=sys.stderr)
    return status


def _show(arguments: argparse.Namespace, value: Any, text: Callable[[Any], str]) -> None:
    print(json.dumps(value) if arguments.json else text(value))


def _client(arguments: argparse.Namespace) -> Client:
    return Client(arguments.url)


def _job_id(client: Client, text: str) -> str:
    """The id, or that of the job submitted last for ``last``."""
    if text != "last":
        return text
    newest = client.get_jobs(limit=1)
    if not newest:
        raise errors.NotFound("there are no jobs, so there is no last one")
    return str(newest[0]["job_id"])


# ---------------------------------------------------------------------- the commands


def serve(arguments: argparse.Namespace) -> int:
    """Run a server until it is told to stop."""
    from qfast.serve import Settings, SettingsError
    from qfast.serve import serve as run

    try:
        settings = Settings.load(vars(arguments), dict(os.environ), Path.cwd()).resolved()
    except SettingsError as error:
        raise UsageError(str(error)) from error
    run(settings)
    return DONE


def submit(arguments: argparse.Namespace) -> int:
    """Submit files as one job."""
    sources: list[Any] = []
    notes: list[str] = []
    how = {"file_format": arguments.file_format, "maximize": arguments.maximize}
    for name in arguments.files:
        if name == "-":
            read = read_source("stdin", sys.stdin.buffer.read(MAX_BYTES + 1), arguments.code_type, **how)
        else:
            read = read_file(name, arguments.code_type, **how)
        sources += read.sources
        notes += read.notes
    if len({isinstance(source, str) for source in sources}) > 1:
        raise UsageError("one job holds either programs or matrices, not both")
    fields = {key: getattr(arguments, key) for key in _FIELDS if getattr(arguments, key) is not None}
    for note in notes:
        print(note, file=sys.stderr)
    fields |= described(notes, fields)
    options = dict(arguments.driver_option or [])
    if arguments.seed is not None:
        options["seed"] = arguments.seed
    if options:
        fields["driver_options"] = options
    if arguments.transpiler_option:
        fields["transpiler_options"] = dict(arguments.transpiler_option)
    if arguments.callback:
        fields["callbacks"] = [
            {"name": "callback", "type": "results", "method": "post", "url": url} for url in arguments.callback
        ]
    client = _client(arguments)
    job = client.submit_job(sources, arguments.code_type, **fields)
    if arguments.wait or arguments.timeout is not None:
        return _show_results(arguments, client, job["job_id"])
    _show(arguments, job, lambda job: f"{job['job_id']}  {job['job_status']}")
    return DONE


# options of `submit` that are fields of submit_job as they stand
_FIELDS = (
    *("backend", "shots", "job_priority", "job_name", "job_id", "transpiler", "tags", "description", "profiling"),
    *("dry_run", "max_execution_time"),
)


def status(arguments: argparse.Namespace) -> int:
    """Show one job without its results."""
    client = _client(arguments)
    _show(arguments, client.get_job_status(_job_id(client, arguments.job_id)), render.job)
    return DONE


def results(arguments: argparse.Namespace) -> int:
    """Show one job's results."""
    client = _client(arguments)
    return _show_results(arguments, client, _job_id(client, arguments.job_id))


def _show_results(arguments: argparse.Namespace, client: Client, job_id: str) -> int:
    if arguments.wait or arguments.timeout is not None:
        client.wait(job_id, arguments.timeout)
    job = client.get_job_results(job_id)
    _show(arguments, job, render.results)
    return FAILED if job["job_status"] in FINAL and job["job_status"] != "COMPLETED" else DONE


def jobs(arguments: argparse.Namespace) -> int:
    """List jobs, newest first."""
    filters = {key: getattr(arguments, key) for key in _FILTERS if getattr(arguments, key) is not None}
    _show(arguments, _client(arguments).get_jobs(**filters), render.jobs)
    return DONE


_FILTERS = ("job_status", "backend", "code_type", "job_name", "tags", "limit", "before")


def cancel(arguments: argparse.Namespace) -> int:
    """Cancel jobs."""
    return _several(arguments, "cancel_jobs")


def delete(arguments: argparse.Namespace) -> int:
    """Delete jobs."""
    return _several(arguments, "delete_jobs")


def _several(arguments: argparse.Namespace, verb: str) -> int:
    """The verb for each job; fails when one was left out."""
    client = _client(arguments)
    asked = [_job_id(client, text) for text in arguments.job_ids]
    done = getattr(client, verb)(asked, arguments.force)
    _show(arguments, done, lambda rows: "\n".join(f"{row['job_id']}  {row['job_status']}" for row in rows) or "none")
    left = [job_id for job_id in dict.fromkeys(asked) if job_id not in {row["job_id"] for row in done}]
    if left and not arguments.json:
        why = (
            "unknown, final, or running and not forced"
            if verb == "cancel_jobs"
            else "unknown, or running and not forced"
        )
        print(f"left out ({why}): {', '.join(left)}", file=sys.stderr)
    return FAILED if left else DONE


def update(arguments: argparse.Namespace) -> int:
    """Change a queued job."""
    client = _client(arguments)
    given = ((key, getattr(arguments, key)) for key in ("job_priority", "job_name", "description"))
    fields = {key: value for key, value in given if value is not None}
    if not fields:
        raise UsageError("nothing to change: give --priority, --name or --description")
    _show(arguments, client.update_job(_job_id(client, arguments.job_id), **fields), render.job)
    return DONE


def set_results(arguments: argparse.Namespace) -> int:
    """Bring the results of a job on an asynchronous backend."""
    name = arguments.file
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        rows = json.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {error}") from error
    client = _client(arguments)
    answer = client.set_job_results(_job_id(client, arguments.job_id), rows if isinstance(rows, list) else [rows])
    _show(arguments, answer, render.job)
    return DONE


def devices(arguments: argparse.Namespace) -> int:
    """List the backends, or change the status of one."""
    client = _client(arguments)
    if arguments.status is None:
        _show(arguments, client.devices(), render.devices)
        return DONE
    if arguments.name is None:
        raise UsageError("devices: --status needs the NAME of a device")
    device = client.call("update_device", {"name": arguments.name, "status": arguments.status})
    _show(arguments, device, lambda entry: render.devices({entry["name"]: entry}))
    return DONE


def health(arguments: argparse.Namespace) -> int:
    """Tell whether the server takes jobs."""
    client = _client(arguments)
    try:
        with urllib.request.urlopen(f"{client.url}/readyz", timeout=5) as answer:  # noqa: S310 - http or https, by Client
            state = json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            state = json.loads(refusal.read() or b"{}")
    except OSError as error:
        raise ConnectionError(f"no qfast server answers at {client.url} ({error})") from None
    _show(arguments, state, lambda entry: str(entry.get("status")))
    return DONE if state.get("status") == "ok" else FAILED


def demo(arguments: argparse.Namespace) -> int:
    """Run sample jobs on a server of its own."""
    from qfast.demo import demo as run

    try:
        return run()
    except JobFailed as error:
        print(render.results(error.job), file=sys.stderr)
    except RuntimeError as error:
        print(f"qfast: {error}", file=sys.stderr)
    return FAILED


# ---------------------------------------------------------------------- the flags


def parser() -> argparse.ArgumentParser:
    """All commands with their flags."""
    root = argparse.ArgumentParser(
        prog="qfast", description="A quantum job service: OpenQASM circuits and QUBO matrices."
    )
    root.add_argument("--version", action="version", version=f"qfast {__version__}")
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--url", help="the server (default: QFAST_URL, else http://127.0.0.1:8088)")
    shared.add_argument("--json", action="store_true", help="print the server's answer as one line of JSON")

    def command(name: str, run: Callable[[argparse.Namespace], int], client: bool = True) -> argparse.ArgumentParser:
        line = (run.__doc__ or "").rstrip(".")
        added = commands.add_parser(name, help=line, description=line + ".", parents=[shared] if client else [])
        added.set_defaults(command=run)
        return added

    _serve_flags(command("serve", serve, client=False))
    _submit_flags(command("submit", submit))
    command("status", status).add_argument("job_id", metavar="JOB", help="an id, or last")
    showing = command("results", results)
    showing.add_argument("job_id", metavar="JOB", help="an id, or last")
    _wait_flag(showing)
    _list_flags(command("jobs", jobs))
    for name, run in (("cancel", cancel), ("delete", delete)):
        added = command(name, run)
        added.add_argument("job_ids", metavar="JOB", nargs="+", help="ids, or last")
        added.add_argument("--force", action="store_true", help="running jobs as well")
    changing = command("update", update)
    changing.add_argument("job_id", metavar="JOB", help="an id, or last")
    changing.add_argument("--priority", dest="job_priority", type=int, metavar="1..10", help="1 runs first")
    changing.add_argument("--name", dest="job_name")
    changing.add_argument("--description")
    setting = command("set-results", set_results)
    setting.add_argument("job_id", metavar="JOB", help="an id, or last")
    setting.add_argument("file", metavar="FILE", help="JSON: a list with the result of each source; - for stdin")
    listing = command("devices", devices)
    listing.add_argument("name", nargs="?", metavar="NAME", help="a device")
    listing.add_argument("--status", choices=("online", "offline", "maintain"), help="offline: drain it, take no jobs")
    add_commands(commands.add_parser("keys", help="Make, list and remove API keys"))
    callback_commands.add_commands(commands.add_parser("callbacks", help="List and replay deliveries"), shared)
    command("health", health)
    command("demo", demo, client=False)
    return root


def _serve_flags(added: argparse.ArgumentParser) -> None:
    added.add_argument("--host", help="address to bind (127.0.0.1); others than loopback need keys, and TLS or a proxy")
    added.add_argument("--port", help="TCP port, 0 for a free one (8088)")
    added.add_argument("--data-dir", metavar="DIR", help="where jobs are kept (the platform's user data folder)")
    added.add_argument("--store", help="kind of store (sqlite)")
    added.add_argument("--devices", metavar="FILE", help="TOML file that describes the backends")
    added.add_argument("--keys", metavar="FILE", help="API keys, made by `qfast keys`; without it no key is needed")
    added.add_argument(
        "--webhook-key", metavar="FILE", help="secrets that sign callbacks (webhook.key in the data folder)"
    )
    added.add_argument("--tls-cert", metavar="FILE", help="PEM, with the chain")
    added.add_argument("--tls-key", metavar="FILE", help="PEM")
    added.add_argument("--behind-proxy", action="store_true", default=None, help="a proxy in front ends TLS")
    added.add_argument("--max-queued", metavar="N", help="jobs that wait or run; more are refused (1,000,000)")
    added.add_argument("--connections-per-address", metavar="N", help="256 where strangers connect; else any number")
    added.epilog = "Each flag is also a variable, QFAST_HOST and so on, and a key of ./qfast.toml; in that order."


def _submit_flags(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "files", metavar="FILE", nargs="+", help="OpenQASM, or a matrix, graph or model (see --format); - is stdin"
    )
    added.add_argument("--format", dest="file_format", choices=FORMATS, help="default: told by ending and content")
    sense = added.add_mutually_exclusive_group()
    sense.add_argument("--maximize", action="store_true", default=None, help="negate the matrix")
    sense.add_argument("--minimize", dest="maximize", action="store_false", default=None, help="(default)")
    added.add_argument("--code-type", choices=PROGRAM_TYPES, help="default: told by the file")
    added.add_argument("--backend", help="default: dummy, a simulator and solver")
    added.add_argument("--shots", type=int, help="of a circuit; for a QUBO, independent reads")
    added.add_argument("--priority", dest="job_priority", type=int, metavar="1..10", help="1 runs first (5)")
    added.add_argument("--name", dest="job_name")
    added.add_argument("--description")
    added.add_argument("--tag", dest="tags", action="append", metavar="TAG")
    added.add_argument("--job-id", metavar="UUID", help="the same id again gives the same job")
    added.add_argument("--seed", type=int, help="same as --driver-option seed=...")
    added.add_argument("--driver-option", type=_option, action="append", metavar="KEY=VALUE")
    added.add_argument("--transpiler", help="cmss, qiskit or dummy")
    added.add_argument("--transpiler-option", type=_option, action="append", metavar="KEY=VALUE")
    added.add_argument("--profiling", action="append", metavar="STAGE", help="such as driver:run, or all")
    added.add_argument("--max-execution-time", type=float, metavar="SECONDS")
    added.add_argument("--callback", action="append", metavar="URL", help="is sent the results by POST")
    added.add_argument("--dry-run", action="store_true", default=None, help="check against the backend, but simulate")
    _wait_flag(added)


def _list_flags(added: argparse.ArgumentParser) -> None:
    added.add_argument("--status", dest="job_status", action="append", type=str.upper, metavar="STATUS")
    added.add_argument("--backend")
    added.add_argument("--code-type", choices=PROGRAM_TYPES)
    added.add_argument("--name", dest="job_name")
    added.add_argument("--tag", dest="tags", action="append", metavar="TAG", help="jobs that have all of them")
    added.add_argument("--limit", type=int, default=20, metavar="N", help="(20)")
    added.add_argument("--before", metavar="JOB", help="the page after this job")


def _wait_flag(added: argparse.ArgumentParser) -> None:
    added.add_argument("--wait", action="store_true", help="wait until the job is final and show its results")
    added.add_argument("--timeout", type=float, metavar="SECONDS", help="wait, but give up after so long (status 1)")


def _option(text: str) -> tuple[str, Any]:
    """``key=value``, the value as JSON where it is JSON, else as text."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
