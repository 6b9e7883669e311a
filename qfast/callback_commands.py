"""The commands of ``qfast callbacks``: what became of deliveries, and once more."""

from __future__ import annotations

import argparse
import json

from qfast import render
from qfast.client import Client

STATES = ("owed", "delivered", "given_up")


def show(arguments: argparse.Namespace) -> int:
    """List deliveries."""
    filters = {key: getattr(arguments, key) for key in ("job_ids", "state", "limit", "before")}
    rows = Client(arguments.url).get_callbacks(**{key: value for key, value in filters.items() if value is not None})
    print(json.dumps(rows) if arguments.json else render.callbacks(rows))
    return 0


def replay(arguments: argparse.Namespace) -> int:
    """Deliver once more; fails when nothing was found to deliver."""
    rows = Client(arguments.url).replay_callbacks(
        arguments.webhook_ids or None, job_ids=arguments.job_ids, delivered=arguments.delivered
    )
    print(json.dumps(rows) if arguments.json else "\n".join(row["webhook_id"] for row in rows) or "none")
    return 0 if rows else 1


def add_commands(added: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    """The commands with their flags."""
    commands = added.add_subparsers(metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="show deliveries, those of the newest job first", parents=[shared])
    listing.add_argument("--job", dest="job_ids", action="append", metavar="JOB", help="those of this job")
    listing.add_argument("--state", action="append", choices=STATES)
    listing.add_argument("--limit", type=int, default=20, metavar="N", help="(20)")
    listing.add_argument("--before", metavar="WEBHOOK-ID", help="the page after this delivery")
    listing.set_defaults(command=show)
    again = commands.add_parser("replay", help="deliver once more, under the same id", parents=[shared])
    again.add_argument("webhook_ids", metavar="WEBHOOK-ID", nargs="*", help="deliveries in any state")
    again.add_argument(
        "--job", dest="job_ids", action="append", metavar="JOB", help="what was not delivered of this job"
    )
    again.add_argument("--delivered", action="store_true", help="of jobs also what was delivered")
    again.set_defaults(command=replay)
