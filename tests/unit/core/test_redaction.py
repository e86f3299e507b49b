"""No secret part of a URL is ever shown, and the place that a person must look at always is."""

from __future__ import annotations

import pytest

from core.redaction import HIDDEN, redact, redact_uri


@pytest.mark.parametrize(
    ("url", "text", "left"),
    [
        ("tgram://123456:ABCdef/42", "POST https://api.telegram.org/bot123456:ABCdef/send failed, 429 for 42", "429"),
        ("ntfy://mytopic", "Failed to send ntfy notification to topic 'mytopic': 403", "403"),
        (
            "ntfy://user:pw@ntfy.example.org/top",
            "top refused at ntfy.example.org for user pw, error=500",
            "ntfy.example.org",
        ),
        (
            "json://localhost:80/SECRET/?client_secret=abc&sig=x%2Fy",
            "no SECRET abc x/y x%2Fy at http://host:SECRET/",
            "",
        ),
        ("json://localhost/;token=tok", "connection to http://localhost/;token=tok refused, tok", "http://localhost/"),
    ],
)
def test_no_part_of_a_url_but_scheme_and_host_is_shown(url: str, text: str, left: str) -> None:
    shown = redact(text, [url])
    for part in ("ABCdef", "123456", "mytopic", "top ", "SECRET", "abc", "x/y", "x%2F", "tok", "pw", "bot", "for 42"):
        assert part not in shown, shown
    assert left in shown


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/desk/a b.json?x=hush", f"s3://bucket/desk/a b.json?{HIDDEN}"),
        ("s3://key:hush@bucket/desk", f"s3://{HIDDEN}@bucket/desk"),
        ("file:///srv/desk", "file:///srv/desk"),
        ("abfs://container@account/x", "abfs://container@account/x"),
        ("abfs://account:hush@container/x", f"abfs://{HIDDEN}@container/x"),
        ("https://host/x?signature=hush", f"https://host/{HIDDEN}"),
        ("http://store:9000/hush/", f"http://store:9000/{HIDDEN}"),
        ("http://store:hush/", f"http://store:{HIDDEN}/"),
        ("http://store:9000/", "http://store:9000/"),
        ("https://user:hush@host.example", f"https://host.example/{HIDDEN}"),
        ("tgram://123:hush/4", f"tgram://{HIDDEN}"),
        ("/srv/desk", "/srv/desk"),
    ],
)
def test_uri_is_shown_but_for_what_may_be_secret(uri: str, shown: str) -> None:
    assert redact_uri(uri) == shown
    assert "hush" not in redact(f"asked {uri} in vain", [uri])


def test_short_topic_is_hidden_as_a_word_only() -> None:
    assert redact("a warning of a topic", ["ntfy://a"]) == f"{HIDDEN} warning of {HIDDEN} topic"
