"""Graphs: every step and every dependency is drawn, and no box covers another."""

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import HealthCheck, given, settings
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


texts = st.text(st.characters(codec="utf-8"), max_size=40)


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


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(charts(), st.none() | charts())
def test_every_box_lies_in_the_picture_and_on_no_other(main: Chart, back: Chart | None) -> None:
    chart = Chart(name=main.name, boxes=main.boxes, rollback=back, after=main.boxes[0].id)

    text = svg(chart)
    root = ElementTree.fromstring(text)

    assert text.rfind("<path") < text.find("<rect")
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


FINALLY = """\
runbook: v1
name: deploy
steps:
  - {id: look, uses: wait, with: {for: 1s}}
  - parallel:
      - steps:
          - for_each: {in: [x, y], as: n, steps: [{id: do, uses: command, with: {argv: [a]}}]}
      - {id: use, uses: runbook, with: {runbook: other.yaml}}
finally:
  - {id: tidy, uses: wait, with: {for: 1s}, when: "env.name ==\n  'a\\a'"}
  - {id: told, uses: wait, with: {for: 1s}}
on_failure: {runbook: rollback.yaml}
"""
OTHER = """\
runbook: v1
name: other
steps:
  - parallel: [{id: p, uses: wait, with: {for: 1s}}, {id: q, uses: wait, with: {for: 1s}}]
"""
ROLLBACK = """\
runbook: v1
name: rollback
for: deploy.yaml
steps: [{id: back, uses: wait, with: {for: 1s}, undoes: [do]}]
finally: [{id: last, uses: wait, with: {for: 1s}}]
"""


def test_edges_lead_from_all_that_ends_to_finally_and_from_what_undoes_to_every_copy(
    tmp_path: Path,
) -> None:
    for name, text in (("deploy", FINALLY), ("other", OTHER), ("rollback", ROLLBACK)):
        (tmp_path / f"{name}.yaml").write_text(text)
    path = tmp_path / "deploy.yaml"
    bundle = read_valid(path, registry=discover(), environment=None, vars_files=())

    chart = chart_of(bundle)
    lines = [line.strip() for line in mermaid(chart).splitlines()]

    edges = [tuple(line.split(" --> ")) for line in lines if " --> " in line]
    assert edges == [
        ("r0_look", "r0_do_x"),
        ("r0_do_x", "r0_do_y"),
        ("r0_look", "r0_use_p"),
        ("r0_look", "r0_use_q"),
        ("r0_do_y", "r0_tidy"),
        ("r0_use_p", "r0_tidy"),
        ("r0_use_q", "r0_tidy"),
        ("r0_tidy", "r0_told"),
        ("r1_back", "r1_last"),
    ]
    assert [line for line in lines if "undoes" in line] == [
        "r1_back -. undoes .-> r0_do_x",
        "r1_back -. undoes .-> r0_do_y",
    ]
    assert ElementTree.fromstring(svg(chart)).tag == f"{SVG}svg"
