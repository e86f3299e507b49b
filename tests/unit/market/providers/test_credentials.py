"""Keys in every form people have them, and in every form they break them."""

import base64
import json
import traceback

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from core.errors import CredentialsError
from core.settings import load_settings
from market.providers.credentials import Signer, load_signer, parse_private_key


def raw(key):
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return seed, seed + key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def same(item, other):
    form = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return item.public_key().public_bytes(*form) == other.public_key().public_bytes(*form)


@pytest.mark.parametrize("form", [PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text,
        lambda text: text.replace("\n", "\\n"),
        lambda text: text.replace("\n", " "),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.strip(),
        lambda text: f'"{text.strip()}"',
        lambda text: f"  {text}  ",
        lambda text: text.replace("\n", "").replace("KEY-----", "KEY-----\n", 1),
        lambda text: text.replace("\n", "\\\\n"),
        lambda text: text.replace("\n", "\\r\\n"),
        lambda text: f"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{text}",
        lambda text: f'"{text.strip()}",',
        lambda text: f"\ufeff{text}",
    ],
)
def test_ec_pem_is_read_as_people_paste_it(ec_key, pem, form, spoil):
    assert same(parse_private_key(spoil(pem(ec_key, form)), "X"), ec_key)


def test_ed25519_pem_is_read(ed_key, pem):
    assert same(parse_private_key(pem(ed_key), "X"), ed_key)


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text,
        lambda text: f" {text}\n",
        lambda text: f"{text[:20]}\n{text[20:]}",
        lambda text: text.rstrip("="),
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: f'"{text}",',
    ],
)
def test_ed25519_base64_of_32_or_64_bytes_is_read(ed_key, half, spoil):
    text = base64.b64encode(raw(ed_key)[half]).decode()
    assert same(parse_private_key(spoil(text), "X"), ed_key)


def broken_keys(ec_key, ed_key, pem):
    good = pem(ec_key)
    lines = good.splitlines()
    encrypted = ec_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")).decode()
    other_curve = pem(ec.generate_private_key(ec.SECP384R1()))
    seed, both = raw(ed_key)
    return {
        "no end line": "\n".join(lines[:-1]),
        "a line lost": "\n".join([lines[0], *lines[2:]]),
        "a character changed": good.replace(lines[1][10], "!", 1),
        "encrypted": encrypted,
        "another curve": other_curve,
        "rsa": pem(rsa.generate_private_key(65537, 2048)),
        "public key": ec_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "no base64": "my secret passphrase: correct horse battery staple!",
        "short base64": base64.b64encode(seed[:20]).decode(),
        "halves of two keys": base64.b64encode(both[:32] + bytes(32)).decode(),
    }


@pytest.mark.parametrize(
    "which",
    [
        "no end line",
        "a line lost",
        "a character changed",
        "encrypted",
        "another curve",
        "rsa",
        "public key",
        "no base64",
        "short base64",
        "halves of two keys",
    ],
)
def test_broken_key_is_refused_by_the_name_of_its_setting_and_never_shown(ec_key, ed_key, pem, which, tmp_path):
    secret = broken_keys(ec_key, ed_key, pem)[which]
    settings = load_settings(desk_home=tmp_path, coinbase_api_key="k", coinbase_api_secret=secret)
    with pytest.raises(CredentialsError, match=r"COINBASE_API_SECRET .*(; paste a PEM|make a new API key)") as raised:
        load_signer(settings)
    shown = "".join(traceback.format_exception(raised.value)) + repr(settings)
    pieces = [piece for piece in secret.split() if len(piece) > 12 and "-----" not in piece]
    assert not any(piece in shown for piece in pieces)


@pytest.mark.parametrize("field", ["name", "id"])
def test_key_file_of_either_age_is_read(tmp_path, ec_key, pem, field):
    file = tmp_path / "key.json"
    file.write_text(json.dumps({field: "organizations/a/apiKeys/b", "privateKey": pem(ec_key)}))
    signer = load_signer(load_settings(desk_home=tmp_path, coinbase_key_file=file))
    assert signer is not None and signer.name == "organizations/a/apiKeys/b"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", " ", "\r\n"])
def test_key_file_with_byte_order_mark_and_loose_ends_is_read(tmp_path, ec_key, pem, mark, end):
    file = tmp_path / "key.json"
    secret = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + pem(ec_key)
    content = json.dumps({"name": f"organizations/a/apiKeys/b{end}", "privateKey": secret.replace("\n", "\\n")})
    file.write_text(mark + content, encoding="utf-8")
    signer = load_signer(load_settings(desk_home=tmp_path, coinbase_key_file=file))
    assert signer is not None and signer.name == "organizations/a/apiKeys/b"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_key_file_of_a_windows_shell_is_read(tmp_path, ec_key, pem, encoding):
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"id": "2c3d4e5f", "privateKey": pem(ec_key)}), encoding=encoding)
    signer = load_signer(load_settings(desk_home=tmp_path, coinbase_key_file=file))
    assert signer is not None and signer.name == "2c3d4e5f"


@pytest.mark.parametrize("form", ["{name}", '"{name}",', "{name},", "{name}\\n", "\ufeff{name}", " '{name}'\r\n"])
def test_key_name_is_read_as_people_paste_it(tmp_path, ec_key, pem, form):
    name = "organizations/a/apiKeys/b"
    settings = load_settings(
        desk_home=tmp_path, coinbase_api_key=form.format(name=name), coinbase_api_secret=pem(ec_key)
    )
    signer = load_signer(settings)
    assert signer is not None and signer.name == name


@pytest.mark.parametrize(
    "content", [None, "", "[" * 100_000, "[]", "{}", '{"name": "x"}', '{"name": 1, "privateKey": 2}', "not json"]
)
def test_key_file_that_is_none_is_refused_by_name(tmp_path, content):
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CredentialsError, match="COINBASE_KEY_FILE"):
        load_signer(load_settings(desk_home=tmp_path, coinbase_key_file=file))


def test_broken_key_in_a_key_file_is_refused_by_name(tmp_path):
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"name": "x", "privateKey": "nothing"}))
    with pytest.raises(CredentialsError, match="privateKey in COINBASE_KEY_FILE"):
        load_signer(load_settings(desk_home=tmp_path, coinbase_key_file=file))


def test_signer_as_text_shows_the_end_of_the_name_only(ec_key):
    assert repr(Signer("organizations/0a1b/apiKeys/2c3d4e5f", ec_key)) == "Signer(...3d4e5f, ES256)"
