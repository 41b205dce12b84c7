"""``silences add|list|show|expire|import|export``: what pages nobody for a while, and why."""

import argparse
import getpass
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from consumer.cli.arguments import add_config, text
from consumer.cli.confirmation import add_arguments, agreed, require_somebody
from consumer.cli.silences_file import read_silences_file
from consumer.cli.silences_held import Silenced, pages_at_end, read_silenced
from consumer.cli.silences_preview import preview
from consumer.cli.silences_shown import listed, not_there, said, show_list, show_one, silence_facts
from consumer.cli.terminal import age, complain, counted, plain, show_facts, show_json
from consumer.cli.times import moment_of
from consumer.cli.with_configuration import UsageError
from consumer.cli.with_kafka import Partitions, run_with_kafka
from consumer.config import Config
from consumer.config.durations import seconds
from consumer.kafka.clients import KafkaClients, close_producer, start_producer
from consumer.service.build import build_pipelines
from consumer.silences.known import KnownSilences
from consumer.silences.reader import read_silences
from consumer.silences.records import encode, to_json
from consumer.silences.silence import EVERY_PROVIDER, InvalidSilence, Match, Silence, SilenceStatus
from providers.errors import Mistake
from providers.table import PROVIDERS
from state.facts import LABEL
from state.violation import SEVERITY_BY_LABEL

_FIELDS: Final = {
    "--guard": "guard",
    "--tenant": "tenant_id",
    "--session": "session_id",
    "--agent": "agent_id",
    "--resource": "resource",
    "--event-type": "event_type",
}
"""The option that gives each field of a match."""

_OPTIONS: Final = {"reason": "--reason", "created_by": "--by", "id": "--id", "expires_at": "--for", "match": "--guard"}
"""Which option to look at for a field of a silence that is not valid."""

SEND_SECONDS = 30.0
_ID_BYTES = 5


def add_parser(subparsers: Any) -> None:
    """Add the command to the parser of ``clawdstrike-alerting``; its ``func`` is ``main``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "silences", help="page nobody about some events for a while"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser(
        "add",
        help="page nobody about these events until then",
        description="Writes a silence to its topic. Events are matched by the time of their records; what still goes "
        "on at the end of the silence is told then.",
    )
    for option, field in _FIELDS.items():
        add.add_argument(
            option, metavar="TEXT", dest=field, type=text, help=f"the event's {field}; * is any number of characters"
        )
    add.add_argument(
        "--label",
        metavar="NAME=TEXT",
        type=text,
        action="append",
        default=[],
        help="a label; can be given several times",
    )
    add.add_argument("--severity", choices=tuple(SEVERITY_BY_LABEL), help="at most this severity")
    add.add_argument("--include-critical", action="store_true", help="critical events as well")
    end = add.add_mutually_exclusive_group(required=True)
    end.add_argument("--for", metavar="TIME", dest="lasts", type=_lasts, help="how long: 30m, 2h, 7d at most")
    end.add_argument("--until", metavar="WHEN", type=_moment, help="until when, as RFC 3339")
    add.add_argument(
        "--from", metavar="WHEN", dest="begins", type=_moment, help="from when, as RFC 3339 (default: now)"
    )
    add.add_argument("--reason", metavar="TEXT", type=text, required=True, help="why, for people")
    add.add_argument("--by", metavar="NAME", type=text, help="who does it, for people (default: you and this host)")
    add.add_argument("--provider", choices=tuple(PROVIDERS), help="only at this one (default: at all)")
    add.add_argument("--id", metavar="ID", type=text, help="of the silence (default: one that is new)")
    listing = actions.add_parser("list", help="those that hold, or will")
    listing.add_argument("--all", action="store_true", help="also those that are over")
    show = actions.add_parser("show", help="all that is known of one")
    show.add_argument("id", metavar="ID", type=text)
    expire = actions.add_parser("expire", help="end a silence now: what it holds back and still goes on is told")
    expire.add_argument("id", metavar="ID", type=text)
    bring = actions.add_parser("import", help="write silences that `export` has printed")
    bring.add_argument("file", metavar="SILENCES", help="JSON: a list of silences; - is standard input")
    export = actions.add_parser("export", help="print all silences that hold, or will, as JSON")
    export.add_argument("--all", action="store_true", help="also those that are over")
    for action in (listing, show):
        action.add_argument("--json", action="store_true", help="for programs")
    for action in (add, expire, bring):
        add_arguments(action)
    for action in (add, listing, show, expire, bring, export):
        add_config(action)
    parser.set_defaults(func=main)


def main(args: argparse.Namespace) -> int:
    """Exit code 0; 1 if there is no such silence, Kafka is out of reach or the answer was no; 2 for the arguments."""
    now = round(time.time(), 3)  # as precisely as it is written down
    wanted: list[Silence] = []

    def topics(config: Config) -> Sequence[str]:
        if args.action in _CHANGES:
            wanted.extend(_CHANGES[args.action](args, config, now))  # a mistake is told before Kafka is asked
            require_somebody(args)
        own = [config.kafka.topics.silences]
        return [*own, config.kafka.topics.events] if args.action == "add" else own

    def states(config: Config) -> Sequence[str]:
        return [config.kafka.state_topic(name) for name in config.pipelines] if args.action in _LOOKS else []

    async def act(config: Config, clients: KafkaClients, partitions: Partitions) -> int:
        known, wrong = await read_silences(clients, partitions[config.kafka.topics.silences])
        complain(wrong)
        match args.action:
            case "add":
                return await _add(args, config, clients, partitions, known, wanted[0], now)
            case "import":
                refuse_others(wanted, known)
                return await _write(args, config, clients, wanted, f"import {counted(len(wanted), 'silence')}")
            case "expire":
                silenced = await read_silenced(config, clients, partitions)
                return await _expire(args, config, clients, known, silenced, now)
            case "show":
                return show_one(args, known, await read_silenced(config, clients, partitions), now)
            case "list":
                return show_list(args, known, await read_silenced(config, clients, partitions), now)
            case _:
                show_json([to_json(one) for one in listed(args, known, now)])
                return 0

    return run_with_kafka(args, topics, act, states)


# arguments


def _lasts(argument: str) -> float:
    try:
        lasts = seconds(argument)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if lasts <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return lasts


def _moment(argument: str) -> float:
    """RFC 3339, and nothing else: how long ago is not meant here."""
    try:
        seconds(argument)
    except ValueError:
        return moment_of(argument, 0.0)
    raise argparse.ArgumentTypeError("must be RFC 3339, such as 2026-12-24T18:00:00Z; --for takes how long")


def _new(args: argparse.Namespace, config: Config, now: float) -> Sequence[Silence]:
    """The silence that is asked for. Raises `UsageError` if it would be none."""
    terms = {field: given for field in _FIELDS.values() if (given := getattr(args, field)) is not None}
    for label in args.label:
        name, equals, value = label.partition("=")
        if not equals or not name:
            raise UsageError(f"--label {label}: must be NAME=TEXT")
        terms[f"{LABEL}{name}"] = value
    if args.provider is not None and args.provider not in config.pipelines:
        raise UsageError(f"exporters.alerting.{args.provider}: is not configured")
    begins = now if args.begins is None else args.begins
    ends = begins + args.lasts if args.until is None else args.until
    if ends <= now:
        raise UsageError(f"{'--for' if args.until is None else '--until'}: the silence would be over already")
    severity = None if args.severity is None else SEVERITY_BY_LABEL[args.severity]
    if args.severity == "critical" and not args.include_critical:
        raise UsageError("--severity critical: needs --include-critical")
    try:
        return [
            Silence(
                args.id or secrets.token_hex(_ID_BYTES),
                args.provider or EVERY_PROVIDER,
                Match(terms, severity),
                args.reason,
                args.by or _user(),
                now,
                round(begins, 3),
                round(ends, 3),
                include_critical=args.include_critical,
            )
        ]
    except InvalidSilence as error:
        option = "--until" if error.field == "expires_at" and args.until is not None else _OPTIONS.get(error.field)
        raise UsageError(f"{option or error.field}: {error.reason}") from None


def _imported(args: argparse.Namespace, config: Config, now: float) -> Sequence[Silence]:
    """The silences of a file. Raises `Mistake` if one of them is none, names no provider of these, or is over."""
    name, silences = read_silences_file(args.file)
    for number, one in enumerate(silences):
        if one.scope != EVERY_PROVIDER and one.scope not in config.pipelines:
            raise Mistake(f"{name}: [{number}].scope: {plain(one.scope)} is no provider that is configured")
        if one.status is SilenceStatus.ACTIVE and one.expires_at <= now:
            raise Mistake(f"{name}: [{number}].expires_at: lies in the past")
    return silences


def _ended(args: argparse.Namespace, config: Config, now: float) -> Sequence[Silence]:
    """Which one is ended is known when the topic was read."""
    return ()


_CHANGES: Final = {"add": _new, "import": _imported, "expire": _ended}
"""The actions that write, and what they are to write as far as the arguments say."""


_LOOKS: Final = ("list", "show", "expire")
"""The actions that say what is held back."""


def _user() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


# what is done


async def _add(
    args: argparse.Namespace,
    config: Config,
    clients: KafkaClients,
    partitions: Partitions,
    known: KnownSilences,
    silence: Silence,
    now: float,
) -> int:
    if known.get(silence.id) is not None:
        raise UsageError(f"--id: there is a silence {plain(silence.id)} already")
    pipelines = build_pipelines(config)
    found = await preview(clients, partitions[config.kafka.topics.events], pipelines, silence, now)
    if not args.json:
        show_facts(silence_facts(silence, now).items())
        print(said(found, now))
    seen = {"matched": found.matched, "alertable": found.alertable, "problems": found.problems}
    return await _write(args, config, clients, [silence], "silence these", seen)


def refuse_others(silences: Sequence[Silence], known: KnownSilences) -> None:
    """Raises `Mistake` if the id of one of them is that of another silence, which would hold nothing any longer. One
    that only ends at another time may be written again."""
    for silence in silences:
        before = known.get(silence.id)
        if before is not None and not silence.goes_on_from(before):
            raise Mistake(f"there is a silence {plain(silence.id)} already, and it is another one: give this a new id")


async def _expire(
    args: argparse.Namespace,
    config: Config,
    clients: KafkaClients,
    known: KnownSilences,
    silenced: Silenced,
    now: float,
) -> int:
    silence = known.get(args.id)
    if silence is None:
        complain([not_there(args.id, known)])
        return 1
    if now >= silence.expires_at:
        if args.json:
            show_json({"written": False, "silences": [to_json(silence)]})
        else:
            print(plain(f"nothing to do: {silence.id} is over since {age(now - silence.expires_at)}"))
        return 0
    pages = pages_at_end(silence, known, silenced, config, now)
    if not args.json:
        show_facts(silence_facts(silence, now).items())
        print(f"its end brings {counted(pages, 'page')}")
    return await _write(args, config, clients, [silence.ended(now)], "end it now", {"pages": pages})


async def _write(
    args: argparse.Namespace,
    config: Config,
    clients: KafkaClients,
    silences: Sequence[Silence],
    what: str,
    seen: Mapping[str, object] | None = None,
) -> int:
    """Write the silences to their topic, if that is wanted. Raises what the clients raise if Kafka does not answer as
    it should."""
    if not (args.dry_run or args.yes) and not await agreed(what):
        complain(["nothing was written"])
        return 1
    if not args.dry_run:
        producer = clients.producer()
        try:
            await start_producer(producer)
            sending = [
                await producer.send(config.kafka.topics.silences, value, key) for key, value in map(encode, silences)
            ]
            for one in sending:
                await one
        finally:
            await close_producer(producer, SEND_SECONDS)
    if args.json:
        show_json({"written": not args.dry_run, "silences": [to_json(one) for one in silences], **(seen or {})})
    elif args.dry_run:
        print("nothing was written")
    else:
        for one in silences:
            print(plain(f"{one.id}: written to {config.kafka.topics.silences}"))
    return 0
