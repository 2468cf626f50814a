from prometheus_client.openmetrics.parser import text_string_to_metric_families

from supervisor.core.exposition import Scene
from supervisor.core.histogram import SECONDS, Exemplar, Tally
from supervisor.core.totals import GroupTotals
from supervisor.parent.metrics.rendering import Format, render
from tests.unit.test_exposition import RUNNING, group, snapshot

ID = "0af7651916cd43dd8448eb211c80319c"


def traced() -> Scene:
    tally = Tally(SECONDS)
    tally.note(0.002)
    totals = GroupTotals(handled=tally.frozen(), exemplars=(Exemplar(0.002, ID, 1700.5),))
    return Scene(snapshot(group(RUNNING)), groups={"orders": totals})


def test_a_bucket_names_the_trace_of_its_last_call() -> None:
    page = render(traced(), Format.OPENMETRICS).plain.decode()

    families = {family.name: family for family in text_string_to_metric_families(page)}  # type: ignore[no-untyped-call]
    found = [sample for sample in families["kafka_supervisor_handler_seconds"].samples if sample.exemplar]
    assert [(one.labels["le"], one.exemplar.labels, one.exemplar.value) for one in found if one.exemplar] == [
        ("0.0025", {"trace_id": ID}, 0.002)
    ]


def test_the_text_format_has_no_exemplars() -> None:
    assert ID not in render(traced(), Format.PLAIN).plain.decode()
