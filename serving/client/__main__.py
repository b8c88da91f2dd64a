"""`python -m serving.client`: ask running model servers from a shell.

    python -m serving.client recommend --target 127.0.0.1:8500 --user 42
    python -m serving.client similar 50 --titles titles.tsv
    python -m serving.client status --json
    python -m serving.client smoke --target retrieval=a:8500 --target *=b:8500
    python -m serving.client bench --seconds 10 --rate 500

Exit status: 0 answered, 1 degraded answer (recommend, smoke), 2 error.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from serving import ids, signatures
from serving.client import (
    InvalidRequest,
    ModelNotFound,
    Query,
    RecommenderClient,
    ServingError,
    Tls,
)
from serving.client.command import load, smoke, tables

_PUBLISHED = Path("artifacts/serving")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.client", description=(__doc__ or "")[:72]
    )
    kinds = parser.add_subparsers(dest="command", required=True)
    shared, query = _shared(), _about_query()

    def command(
        name: str,
        text: str,
        ask: Callable[[RecommenderClient, argparse.Namespace], object],
        *parents: argparse.ArgumentParser,
    ) -> Callable[..., argparse.Action]:
        added = kinds.add_parser(name, parents=[shared, *parents], help=text)
        added.set_defaults(ask=ask)
        return added.add_argument

    command(
        "recommend",
        "both stages: the best items",
        lambda client, args: client.recommend(_query(args), args.k),
        query,
    )
    command(
        "retrieve",
        "the first stage alone",
        lambda client, args: client.retrieve(_query(args), args.k),
        query,
    )
    add = command("rank", "the second stage alone", _rank, query)
    add("candidates", nargs="+", help="item ids to order")
    add("--version", type=int, help="of the model, to pin")
    add("--in-order", action="store_true", help="score, keep the order")
    add = command(
        "similar",
        "items nearest to an item",
        lambda client, args: client.similar_items(args.item, args.k),
    )
    add("item", help="its id")
    add("-k", type=int, default=10, help="items wanted")
    add = command("status", "versions the servers have", _status)
    add("models", nargs="*", help="default: all of ours")
    add = command(
        "smoke",
        "check a running deployment",
        lambda client, args: smoke.run(client, args.wait, args.timeout),
    )
    waiting = "for the servers to come up"
    add("--wait", type=float, default=0.0, metavar="SECONDS", help=waiting)
    add = command("bench", "measure latency and throughput", _bench)
    text = "which question"
    add("--method", default="recommend", choices=load.METHODS, help=text)
    add("--threads", type=int, default=4, help="that ask at once")
    add("--seconds", type=float, default=10.0, help="of each loop")
    add("--rate", type=float, default=200.0, help="open loop, a second")
    add("--batch", type=int, default=1, help="queries a request")
    return parser


def _shared() -> argparse.ArgumentParser:
    """The options of every command."""
    parser = argparse.ArgumentParser(add_help=False)
    add = parser.add_argument
    add(
        "--target",
        action="append",
        metavar="[MODEL=]ADDRESS",
        help="gRPC address, default 127.0.0.1:8500; repeat for replicas or "
        "for one address a model, *=ADDRESS for the other models",
    )
    waiting = "of a whole question"
    add("--timeout", type=float, default=2.0, metavar="SECONDS", help=waiting)
    add("--tls", action="store_true", help="encrypt, trust the system's CAs")
    add("--ca", default="", help="PEM file of CAs to trust; implies --tls")
    add("--certificate", default="", help="PEM file of the client's own")
    add("--key", default="", help="PEM file of its private key")
    add("--server-name", default="", help="name in the server's certificate")
    add(
        "--header",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="metadata of every call, such as authorization=...; repeat",
    )
    add("--label", default="", help="ask for the versions with this label")
    add(
        "--retrieval-model",
        default=signatures.RETRIEVAL,
        choices=[signatures.RETRIEVAL, signatures.RETRIEVAL_EXACT],
        help="the first stage",
    )
    text = "both stages in one call, where the servers have that model"
    add("--fused", default="auto", choices=["auto", "off"], help=text)
    for option, name, text in (
        ("--popular", "popular.json", "file of fallback items"),
        ("--titles", "titles.tsv", "JSON or id<tab>title file"),
    ):
        # Of the last release, if this is where it was published.
        path = _PUBLISHED / name
        default = str(path) if path.exists() else ""
        text += ", default that of the release here"
        add(option, default=default, help=text)
    add("--json", action="store_true", help="print JSON")
    return parser


def _about_query() -> argparse.ArgumentParser:
    """The options that make a query."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--user", default="", help="user id")
    ids.add_option(parser, "--history", "latest last")
    ids.add_option(parser, "--exclude", "not to answer")
    parser.add_argument(
        "--feature",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="user or context feature; VALUE is JSON or else text",
    )
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="items that have any of the values of a feature, commas between; "
        "repeat for more features",
    )
    parser.add_argument("-k", type=int, default=10, help="items wanted")
    return parser


def _targets(given: list[str] | None) -> dict[str, list[str]]:
    """Reads `[MODEL=]ADDRESS` arguments into the client's targets."""
    found: dict[str, list[str]] = {}
    for text in given or ["127.0.0.1:8500"]:
        model, _, address = text.rpartition("=")
        found.setdefault(model or "*", []).append(address)
    return found


def _tls(args: argparse.Namespace) -> Tls | None:
    """Reads the TLS options; no part of them is silently left out."""
    files = (args.ca, args.certificate, args.key)
    if args.tls or any(files):
        return Tls(*files, args.server_name)
    if args.server_name:
        raise InvalidRequest(
            "--server-name must come with --tls or --ca. Received: "
            f"{args.server_name!r} alone (from the command line), so nothing "
            "would be encrypted. Add --tls."
        )
    return None


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequest(
            f"{option} must be NAME=VALUE. Received: {text!r}. Write an equals "
            "sign between the two."
        )
    return name, value


def _query(args: argparse.Namespace) -> Query:
    features: dict[str, object] = {}
    for text in args.feature:
        name, value = _pair(text, "--feature")
        try:
            features[name] = json.loads(value)
        except ValueError:
            features[name] = value
    filters: dict[str, list[str]] = {}
    for text in args.filter:
        name, value = _pair(text, "--filter")
        filters.setdefault(name, []).extend(ids.written([value], "--filter"))
    return Query(
        args.user,
        ids.written(args.history, "--history"),
        features,
        ids.written(args.exclude, "--exclude"),
        filters=filters,
    )


def _rank(client: RecommenderClient, args: argparse.Namespace) -> object:
    return client.rank(
        _query(args),
        args.candidates,
        version=args.version,
        in_order=args.in_order,
    )


def _status(client: RecommenderClient, args: argparse.Namespace) -> object:
    found = client.status(args.models or list(signatures.SIGNATURES))
    # Who asks for a model by name must not take an empty table for "served".
    missing = sorted(set(args.models) - {row.model for row in found})
    if missing:
        raise ModelNotFound(
            f"The servers must know every model that is named. Received: "
            f"{', '.join(missing)} (from the command line), of which they "
            "never had a version. Correct the name or --target, or publish."
        )
    return found


def _bench(client: RecommenderClient, args: argparse.Namespace) -> object:
    given = (args.method, args.threads, args.seconds, args.rate, args.batch)
    return load.run(client, load.Load(*given))


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        with RecommenderClient(
            _targets(args.target),
            timeout_seconds=args.timeout,
            tls=_tls(args),
            metadata=[_pair(text, "--header") for text in args.header],
            version_label=args.label,
            retrieval_model=args.retrieval_model,
            fused=args.fused,
            popular=args.popular or (),
        ) as client:
            answer = args.ask(client, args)
        titles = tables.read_titles(args.titles)
        if args.json:
            print(json.dumps(tables.document(answer, titles), indent=2))
        else:
            print(tables.shown(answer, titles))
    except ServingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 1 if getattr(answer, "degraded", "") else 0


if __name__ == "__main__":
    sys.exit(main())
