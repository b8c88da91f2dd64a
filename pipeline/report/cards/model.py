"""A model card, with the sections of Mitchell et al. 2019."""

from __future__ import annotations

from pipeline.evaluate.evaluation import Evaluation
from pipeline.report.cards.owner import Owner
from pipeline.report.document import Block, Notes, Section, Table
from pipeline.report.found import Run
from pipeline.report.sections import origin
from pipeline.report.sections.quality import OURS, best_baseline
from pipeline.tables.schema import iso
from pipeline.terminal import report as terminal

FEW = 100


def card(run: Run, owner: Owner) -> list[Section]:
    """The sections; none before anything was measured."""
    found = run.evaluation
    if found is None:
        return []
    return [
        Section(title, "", [*facts, *owner.says(title, question)])
        for title, facts, question in (
            (
                "Model details",
                [_details(run, found)],
                "who made it, whom to write to, under which licence?",
            ),
            (
                "Intended use",
                [_use(run)],
                "for whom and what was it made, and for what must it not be "
                "used?",
            ),
            (
                "Factors",
                [_factors(run)],
                "which groups of people or items matter here that the log "
                "does not name?",
            ),
            (
                "Metrics",
                [_metrics(found)],
                "which of these stands for success in your application?",
            ),
            (
                "Evaluation data",
                [_evaluation_data(found)],
                "how does the test part differ from whom you will serve?",
            ),
            (
                "Training data",
                [_training_data(run)],
                "what should be known of it beside the data sheet?",
            ),
            (
                "Quantitative analyses",
                [_whole(found), _slices(found)],
                "what did an experiment with users show?",
            ),
            (
                "Ethical considerations",
                [_ethics(run)],
                "who may be harmed, and what is done about it?",
            ),
            (
                "Caveats and recommendations",
                [_caveats(run, found)],
                "what else must somebody know who uses it?",
            ),
        )
    ]


def _details(run: Run, found: Evaluation) -> Block:
    options = run.config
    lines = [
        "Two stages: a two-tower model retrieves "
        f"{options.index.num_candidates} candidates by the dot product of "
        f"{options.retrieval.embedding_dim}-dimensional vectors, a second "
        "model ranks them by a listwise softmax.",
        f"History encoder {options.retrieval.encoder}, at most "
        f"{options.retrieval.history_length} items; seed {options.seed}.",
        f"Bundle {found.bundle_id} of run {options.name}.",
    ]
    if "export" in run.records:
        when = origin.finished(run.records["export"].made_at)
        lines.append(f"Exported {when} UTC.")
    if found.ondevice:
        small = found.ondevice.precisions[found.ondevice.precision]
        lines.append(
            f"A distilled model of {small.bytes / 1e3:,.0f} KB "
            f"({found.ondevice.precision}) runs on devices."
        )
    return Notes(lines)


def _use(run: Run) -> Block:
    repeats = run.prepared is not None and run.prepared.repeat_consumption
    again = (
        "Items of the history may be recommended again."
        if repeats
        else "Items of the history are never recommended."
    )
    return Notes(
        [
            "Made to order items of one catalogue for people by what they "
            f"took before. {again}",
            "Scores order the items of one list. They are no measure of "
            "quality, and not comparable between lists or versions.",
            "Out of scope as far as anything was measured: decisions about "
            "people, other catalogues, items and times outside this log.",
        ]
    )


def _factors(run: Run) -> Block:
    lines = [
        "Measured apart: users with and without a history, by its length; "
        "items by their popularity; items that are new."
    ]
    if run.prepared is not None:
        users = [spec.name for spec in run.prepared.users.specs]
        lines.append(
            f"The models read these features of users: {', '.join(users)}. "
            "Quality was not measured apart by their values."
            if users
            else "The models read no feature of users beside what they took."
        )
    return Notes(lines)


def _metrics(found: Evaluation) -> Block:
    return Notes(
        [
            "NDCG@10, recall@10, recall@100 and MRR over the whole catalogue, "
            "ties never counted as hits; 95 % intervals are bootstraps over "
            "queries, differences are paired.",
            f"Protocol: {found.protocol}, seen items {found.seen}. "
            f"{found.label[0].upper()}{found.label[1:]}.",
            "All are offline: they reward what people took without the model, "
            "not what they would have taken with it.",
        ]
    )


def _evaluation_data(found: Evaluation) -> Block:
    return Notes(
        [
            f"{found.queries:,} queries of the {found.part} part of "
            f"{found.dataset}, {found.split} split; settings were chosen on "
            "validation."
        ]
    )


def _training_data(run: Run) -> Block:
    if run.prepared is None:
        return Notes(["The prepared tables of this run are not there."])
    part = run.prepared.summary["parts"]["train"]
    return Notes(
        [
            f"{part['interactions']:,} interactions of {part['users']:,} "
            f"users, up to {iso(part['last'])}. The data sheet has the rest."
        ]
    )


def _whole(found: Evaluation) -> Block:
    best = best_baseline(found)
    names = [OURS, "retrieval", "student", *([best.against] if best else [])]
    return Table(
        "Over all queries",
        ("model", "NDCG@10", "95 %", "recall@10", "95 %", "coverage@10"),
        [
            (
                name,
                f"{row.ndcg_at_10:.4f}",
                "{:.4f} to {:.4f}".format(*row.ndcg_at_10_interval),
                f"{row.recall_at_10:.4f}",
                "{:.4f} to {:.4f}".format(*row.recall_at_10_interval),
                f"{row.coverage_at_10:.3f}",
            )
            for name in names
            if (row := found.models.get(name))
        ],
        ours=OURS,
    )


def _slices(found: Evaluation) -> Block:
    return Table(
        f"{OURS} by slice",
        ("slice", "queries", "NDCG@10", "recall@10"),
        [
            (
                row.slice.replace("popularity_", "popularity tenth "),
                f"{row.users:,}",
                f"{row.ndcg_at_10:.4f}",
                f"{row.recall_at_10:.4f}",
            )
            for row in found.rows
            if row.model == OURS
        ],
    )


def _ethics(run: Run) -> Block:
    lines = [
        "What people took is personal, and a history can tell who somebody "
        "is. The exported models hold ids of items and of users known in "
        "training.",
    ]
    if run.details and run.details.taken.popularity_at_10:
        ratio = (
            run.details.variety[OURS].popularity_at_10
            / run.details.taken.popularity_at_10
        )
        lines.append(
            f"Lists hold items {ratio:.2f} times as popular as those that the "
            "same users took: shown over and over, popular items become more "
            "so."
        )
    return Notes(lines)


def _caveats(run: Run, found: Evaluation) -> Block:
    small = sorted(
        {
            row.slice
            for row in found.rows
            if row.model == OURS and row.users < FEW
        }
    )
    lines = list(terminal.warnings(found))
    if small:
        lines.append(
            f"Fewer than {FEW} queries stand behind: "
            f"{', '.join(name.replace('_', ' ') for name in small)}."
        )
    if run.config.prepare.split != "temporal":
        lines.append(
            f"The {run.config.prepare.split} split lets other people's later "
            "interactions into training; for an estimate of tomorrow use the "
            "temporal one."
        )
    lines.append("Compare a release with the live one in an experiment.")
    return Notes(lines)
