"""Which tokens the exchange takes, and which it refuses: all with the same words, for a reason it only counts."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from core.errors import ConfigError
from market.exchange.app import BASE_PATH
from market.exchange.auth import TokenChecker, load_public_key

PATH = f"{BASE_PATH}/key_permissions"
NOW = int(time.time())


@pytest.fixture
def verdict(key_pair, make_token):
    """Return a function that makes a token with changes and says why it is refused ('' when taken)."""
    algorithm, private, public = key_pair

    def judge(signer=None, **changes):
        checker = TokenChecker({"key/1": public}, wall=lambda: float(NOW) + 0.5)
        defaults = {"nbf": NOW, "exp": NOW + 120}
        token = make_token(signer or private, algorithm, PATH, **{**defaults, **changes})
        checker.accepts("GET", PATH, f"Bearer {token}")
        return next(iter(checker.refusals), "")

    return judge


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iss": "coinbase-cloud"},
        {"aud": ["retail_rest_api_proxy"]},
        {"uri": None, "uris": [f"GET api.coinbase.com{PATH}"]},
        {"nbf": NOW - 5, "exp": NOW + 115},
        {"nbf": NOW - 119, "exp": NOW + 1},
    ],
)
def test_good_token_is_taken(verdict, changes):
    assert verdict(**changes) == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"nbf": NOW + 1}, "not yet valid"),
        ({"nbf": NOW - 120, "exp": NOW}, "expired"),
        ({"nbf": NOW - 5, "exp": NOW + 116}, "lives too long"),
        ({"nbf": None}, "times missing"),
        ({"exp": None}, "times missing"),
        ({"iss": "someone"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"sub": "key/2"}, "kid is not sub"),
        ({"header_kid": "key/2"}, "unknown key"),
        ({"header_kid": None}, "unknown key"),
        ({"header_nonce": None}, "nonce missing"),
        ({"uri": f"POST api.coinbase.com{PATH}"}, "uri"),
        ({"uri": f"GET https://api.coinbase.com{PATH}"}, "uri"),
        ({"uri": f"GET api.coinbase.com{PATH}?limit=1"}, "uri"),
        ({"uri": f"GET 127.0.0.1{PATH}"}, "uri"),
        ({"uri": None}, "uri"),
    ],
)
def test_bad_token_is_refused(verdict, changes, reason):
    assert verdict(**changes) == reason


def test_token_of_another_key_is_refused(verdict, key_pair):
    kind = ec.generate_private_key(ec.SECP256R1()) if key_pair[0] == "ES256" else ed25519.Ed25519PrivateKey.generate()
    assert verdict(signer=kind) == "bad signature or form"


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer abc", "Basic abc", "Bearer a.b.c"])
def test_no_token_at_all_is_refused(key_pair, header):
    assert not TokenChecker({"key/1": key_pair[2]}).accepts("GET", PATH, header)


def test_token_used_twice_is_refused(key_pair, make_token):
    algorithm, private, public = key_pair
    checker = TokenChecker({"key/1": public})
    token = make_token(private, algorithm, PATH)
    assert checker.accepts("GET", PATH, f"Bearer {token}")
    assert not checker.accepts("GET", PATH, f"Bearer {token}")
    assert checker.refusals == {"nonce used before": 1}


def test_token_opens_the_private_twin_whatever_the_exchanges_present(make_exchange, ask, key_pair, make_token):
    algorithm, private, public = key_pair
    exchange = make_exchange(checker=TokenChecker({"key/1": public}))
    headers = {"authorization": f"Bearer {make_token(private, algorithm, PATH)}"}
    assert ask(exchange, "/key_permissions", headers=headers).json()["can_view"] is True


def test_public_key_file_is_read(tmp_path, key_pair):
    file = tmp_path / "key.pem"
    file.write_bytes(key_pair[2].public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    raw = Encoding.X962 if key_pair[0] == "ES256" else Encoding.Raw
    form = PublicFormat.UncompressedPoint if key_pair[0] == "ES256" else PublicFormat.Raw
    assert load_public_key(file).public_bytes(raw, form) == key_pair[2].public_bytes(raw, form)


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_file_without_a_public_key_is_refused(tmp_path, content):
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="holds no public key"):
        load_public_key(file)


def test_public_key_of_another_kind_is_refused(tmp_path):
    keys = (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048))
    for key in keys:
        file = tmp_path / "key.pem"
        file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        with pytest.raises(ConfigError, match=r"neither P-256 nor Ed25519"):
            load_public_key(file)
