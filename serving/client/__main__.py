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
from pathlib import Path
from typing import Any

from serving import ids, signatures
from serving.client import (
    Query,
    RecommenderClient,
    ServingError,
    Tls,
    smoke,
    tables,
)


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    add = shared.add_argument
    add(
        "--target",
        action="append",
        metavar="[MODEL=]ADDRESS",
        help="gRPC address, default 127.0.0.1:8500; repeat for replicas or "
        "for one address a model, *=ADDRESS for the other models",
    )
    add("--timeout", type=float, default=2.0, metavar="SECONDS")
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
    )
    add("--fused", default="auto", choices=["auto", "off"])
    add(
        "--popular",
        default=_published("popular.json"),
        help="file of fallback items, default that of the release here",
    )
    add(
        "--titles",
        default=_published("titles.tsv"),
        help="JSON or id<tab>title file, default that of the release here",
    )
    add("--json", action="store_true", help="print JSON")

    query = argparse.ArgumentParser(add_help=False)
    query.add_argument("--user", default="", help="user id")
    ids.add_option(query, "--history", "latest last")
    ids.add_option(query, "--exclude", "not to answer")
    query.add_argument(
        "--feature",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="user or context feature; VALUE is JSON or else text",
    )
    query.add_argument("-k", type=int, default=10, help="items wanted")

    parser = argparse.ArgumentParser(
        prog="python -m serving.client", description=(__doc__ or "")[:72]
    )
    kinds = parser.add_subparsers(dest="command", required=True)
    for name, text in {
        "recommend": "both stages: the best items",
        "retrieve": "the first stage alone",
    }.items():
        kinds.add_parser(name, parents=[shared, query], help=text)
    rank = kinds.add_parser(
        "rank", parents=[shared, query], help="the second stage alone"
    )
    rank.add_argument("candidates", nargs="+", help="item ids to order")
    rank.add_argument("--version", type=int, help="of the model, to pin")
    rank.add_argument(
        "--in-order", action="store_true", help="score, keep the order"
    )
    similar = kinds.add_parser(
        "similar", parents=[shared], help="items nearest to an item"
    )
    similar.add_argument("item", help="its id")
    similar.add_argument("-k", type=int, default=10, help="items wanted")
    status = kinds.add_parser(
        "status", parents=[shared], help="versions the servers have"
    )
    status.add_argument("models", nargs="*", help="default: all of ours")
    check = kinds.add_parser(
        "smoke", parents=[shared], help="check a running deployment"
    )
    check.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="for the servers to come up",
    )
    bench = kinds.add_parser(
        "bench", parents=[shared], help="measure latency and throughput"
    )
    add = bench.add_argument
    add("--method", default="recommend", choices=_METHODS)
    add("--threads", type=int, default=4)
    add("--seconds", type=float, default=10.0, help="of each loop")
    add("--rate", type=float, default=200.0, help="open loop, a second")
    add("--batch", type=int, default=1, help="queries a request")
    return parser


def _published(name: str) -> str:
    """A file of the last release, if this is where it was published."""
    path = _PUBLISHED / name
    return str(path) if path.exists() else ""


_PUBLISHED = Path("artifacts/serving")
_METHODS = ["recommend", "retrieve", "rank"]


def _targets(given: list[str] | None) -> Any:
    """Reads `[MODEL=]ADDRESS` arguments into the client's targets."""
    found: dict[str, list[str]] = {}
    for text in given or ["127.0.0.1:8500"]:
        model, _, address = text.rpartition("=")
        found.setdefault(model or "*", []).append(address)
    return found


def _tls(args: argparse.Namespace) -> Tls | None:
    """Reads the TLS options; no part of them is silently left out."""
    files = (args.ca, args.certificate, args.key)
    if args.server_name and not (args.tls or any(files)):
        raise ServingError(
            "--server-name must come with --tls or --ca. Received: "
            f"{args.server_name!r} alone (from the command line), so nothing "
            "would be encrypted. Add --tls.",
            "INVALID_ARGUMENT",
        )
    if not (args.tls or any(files)):
        return None
    return Tls(*files, args.server_name)


def _features(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given:
        name, value = _pair(text, "--feature")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ServingError(
            f"{option} must be NAME=VALUE. Received: {text!r}. Write an equals "
            "sign between the two.",
            "INVALID_ARGUMENT",
        )
    return name, value


def _query(args: argparse.Namespace) -> Query:
    return Query(
        args.user,
        ids.written(args.history, "--history"),
        _features(args.feature),
        ids.written(args.exclude, "--exclude"),
    )


def _ask(client: RecommenderClient, args: argparse.Namespace) -> Any:
    if args.command == "recommend":
        return client.recommend(_query(args), args.k)
    if args.command == "retrieve":
        return client.retrieve(_query(args), args.k)
    if args.command == "rank":
        return client.rank(
            _query(args),
            args.candidates,
            version=args.version,
            in_order=args.in_order,
        )
    if args.command == "similar":
        return client.similar_items(args.item, args.k)
    if args.command == "status":
        return _status(client, args.models)
    if args.command == "smoke":
        return smoke.run(client, args.wait, args.timeout)
    return _bench(client, args)


def _status(client: RecommenderClient, models: list[str]) -> Any:
    found = client.status(models or list(signatures.SIGNATURES))
    # Who asks for a model by name must not take an empty table for "served".
    missing = sorted(set(models) - {row.model for row in found})
    if missing:
        raise ServingError(
            f"The servers must know every model that is named. Received: "
            f"{', '.join(missing)} (from the command line), of which they "
            "never had a version. Correct the name or --target, or publish.",
            "NOT_FOUND",
        )
    return found


def _bench(client: RecommenderClient, args: argparse.Namespace) -> Any:
    # Only here: what measures is not part of what applications import.
    from serving.client import load

    return load.run(
        client,
        load.Load(
            args.method, args.threads, args.seconds, args.rate, args.batch
        ),
    )


def _show(answer: Any, args: argparse.Namespace) -> None:
    titles = tables.read_titles(args.titles)
    if args.json:
        print(json.dumps(tables.document(answer, titles), indent=2))
    elif args.command == "status":
        print(tables.statuses(answer))
    elif args.command in ("smoke", "bench"):
        print(answer)
    else:
        print(tables.items(answer, titles))


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
            answer = _ask(client, args)
        _show(answer, args)
    except ServingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 1 if getattr(answer, "degraded", "") else 0


if __name__ == "__main__":
    sys.exit(main())
