"""Graphs: every step and every dependency is drawn, and no box covers another."""

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from runbook.cli.graph import chart_of
from runbook.language.checking import read_valid
from runbook.registry import discover
from runbook.report.graph import Box, Chart, mermaid, svg

SVG = "{http://www.w3.org/2000/svg}"


def shipped() -> Chart:
    path = Path(__file__).parents[2] / "runbooks" / "deploy.yaml"
    return chart_of(read_valid(path, registry=discover(), environment=None, vars_files=()))


def rectangles(text: str) -> list[list[float]]:
    """x, y, width and height of each."""
    found = ElementTree.fromstring(text).iter(f"{SVG}rect")
    return [[float(each.attrib[key]) for key in ("x", "y", "width", "height")] for each in found]


texts = st.text(st.characters(exclude_categories=["Cc", "Cs"], max_codepoint=0xFFFD), max_size=40)
"""What a runbook can hold, for which XML has no place otherwise, is an error there: RB109."""


@st.composite
def charts(draw: st.DrawFn) -> Chart:
    ids = [f"s{number}" for number in range(draw(st.integers(1, 12)))]
    boxes = tuple(
        Box(
            id=each,
            kind=draw(texts),
            effect=draw(st.sampled_from(["reads", "changes", "destroys"])),
            needs=tuple(sorted(draw(st.sets(st.sampled_from(ids[:number]))) if number else ())),
            undoes=tuple(draw(st.sets(st.sampled_from([*ids, "elsewhere"])))),
            when=draw(st.none() | texts),
        )
        for number, each in enumerate(ids)
    )
    return Chart(name=draw(texts), boxes=boxes)


@given(charts(), st.none() | charts())
def test_every_box_lies_in_the_picture_and_on_no_other(main: Chart, back: Chart | None) -> None:
    chart = Chart(name=main.name, boxes=main.boxes, rollback=back, after=main.boxes[0].id)

    text = svg(chart)
    root = ElementTree.fromstring(text)

    found = rectangles(text)
    assert len(found) == len(main.boxes) + (len(back.boxes) if back else 0)
    for x, y, width, height in found:
        assert 0 <= x <= float(root.attrib["width"]) - width
        assert 0 <= y <= float(root.attrib["height"]) - height
    for (x, y, width, height), (other_x, other_y, _, _) in combinations(found, 2):
        assert abs(x - other_x) >= width or abs(y - other_y) >= height


def test_mermaid_has_every_step_every_dependency_and_every_undoing() -> None:
    chart = shipped()
    assert chart.rollback is not None

    text = mermaid(chart)

    for number, each in enumerate([chart, chart.rollback]):
        for box in each.boxes:
            assert f'r{number}_{box.id}["{box.id}<br/>{box.kind}' in text
            for need in box.needs:
                assert f"r{number}_{need} --> r{number}_{box.id}" in text
    assert 'r0_restore_point -. "a failure after it" .-> r1' in text
    assert "r1_code -. undoes .-> r0_checkout" in text


def test_what_mermaid_would_read_as_its_own_is_quoted() -> None:
    odd = Box(id="a", kind="set", effect="reads", when='inputs.x == "<b>"')

    text = mermaid(Chart(name="deploy", boxes=(odd,)))

    assert 'r0_a["a<br/>set<br/>when inputs.x == &quot;&lt;b&gt;&quot;"]:::reads' in text
