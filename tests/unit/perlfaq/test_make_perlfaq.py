"""The perlfaq maker: its pod parser on the format's corners, and the whole script on Debian's real files."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(os.environ.get("SLIPWAY_SOURCE", Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(SOURCE / "packaging"))
import make_perlfaq as maker  # noqa: E402


def markdown(pod):
    return maker.render(maker.parse_formatting(pod))


@pytest.mark.parametrize("pod, expected", [
    ("plain $a < $b and A->b", "plain $a < $b and A->b"),
    ("C<print>", "`print`"),
    ("C<< $a->b >>", "`$a->b`"),
    ("C<<< a >> b >>>", "`a >> b`"),
    ("C<<foo> bar", "`<foo` bar"),
    ("B<bold I<both>> end", "**bold *both*** end"),
    ("E<lt>E<gt>E<amp>E<sol>E<verbar>", "<>&/|"),
    ("E<233>E<0xe9>E<0351>E<eacute>", "éééé"),
    ("C<E<lt>STDINE<gt>>", "`<STDIN>`"),
    ("F</etc/passwd> S<no break> X<index entry>Z<>", "/etc/passwd no break "),
    ("L<perlre>", "`perlre`"),
    ("L<perlop/\"Floating-point Arithmetic\">", '"Floating-point Arithmetic" in `perlop`'),
    ("L</Section>", '"Section"'),
    ("L<the docs|perlfunc/sort>", "the docs"),
    ("L<CVEs|https://example.org/x?a=b>", "[CVEs](https://example.org/x?a=b)"),
    ("L<https://example.org/>", "https://example.org/"),
    ("C<a ` b>", "``a ` b``"),
    ("C<never closed", "`never closed`"),
])
def test_formatting_codes(pod, expected):
    assert markdown(pod) == expected


def blocks(body):
    sections = maker.questions("=head1 Top\n\n=head2 Q?\n\n" + body, "test")
    return sections[0].blocks


def test_paragraphs_are_reflowed_and_questions_are_plain():
    sections = maker.questions("=head2 Why does C<x>\nfail?\nX<x>\n\nOne\nparagraph.\n\nTwo.\n")
    assert sections[0].question == "Why does x fail?"
    assert sections[0].blocks == ["One paragraph.", "Two."]


def test_verbatim_paragraphs_join_in_one_fence_and_keep_their_codes_and_inner_indent():
    assert blocks("    if (C<1>) {\n\tb;\n\n    }\n\ntext\n") == ["```\nif (C<1>) {\n    b;\n\n}\n```", "text"]


def test_lists_bullets_numbers_labels_nesting_and_code():
    pod = ("=over 4\n\n=item *\n\nfirst\n\nmore\n\n=item * second\n\n=item 3.\n\nthird\n\n=item label\n\n"
           "=over\n\n=item 1\n\n   code\n\n=back\n\n=back\n\nafter\n")
    assert blocks(pod) == ["- first", "  more", "- second", "3. third", "- label", "  1.", "    ```\n    code\n    ```",
                           "after"]


def test_what_is_not_pod_is_left_out():
    text = "junk\n\n=head2 Q\n\nA\n\n=begin html\n\n<b>x</b>\n\n=end html\n\n=for comment hidden\n\n=cut\n\ncode\n\n=pod\n\nB\n"
    assert maker.questions(text)[0].blocks == ["A", "B"]


def test_a_heading_above_ends_the_question():
    sections = maker.questions("=head2 Q\n\nA\n\n=head1 AUTHOR\n\nnot an answer\n")
    assert sections[0].blocks == ["A"]


def test_back_without_over_names_the_line():
    with pytest.raises(maker.PodError, match="test:7"):
        blocks("x\n\n=back\n")


def test_the_real_perlfaq(tmp_path):
    output = tmp_path / "perlfaq.jsonl"
    done = subprocess.run([sys.executable, SOURCE / "packaging/make_perlfaq.py", "--output", output],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert 290 <= len(rows) <= 340
    assert {row["source"] for row in rows} == {f"perlfaq{n}" for n in range(1, 10)}
    assert all(set(row) == {"question", "answer", "source", "credit"} for row in rows)
    credited = [row for row in rows if row["credit"]]
    assert len(credited) > 70 and all("contributed by" in row["credit"] for row in credited)
    assert not any(row["answer"].startswith("(contributed") for row in rows)
    assert len({row["question"] for row in rows}) == len(rows)
    by_question = {row["question"]: row["answer"] for row in rows}
    assert "```\nprintf(\"%.3f\", 3.1415926535);" in by_question[
        "Does Perl have a round() function? What about ceil() and floor()? Trig functions?"]
    assert not any("E<lt>" in row["question"] or "X<" in row["question"] for row in rows)


def test_a_missing_file_fails_with_its_name(tmp_path):
    done = subprocess.run([sys.executable, SOURCE / "packaging/make_perlfaq.py", "--output", tmp_path / "x.jsonl",
                           tmp_path / "none.pod"], capture_output=True, text=True)
    assert done.returncode == 1 and "none.pod" in done.stderr
    assert not (tmp_path / "x.jsonl").exists()
