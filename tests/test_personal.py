"""Personal data in text: published numbers are found, one wrong digit and what only looks like them are not, and nothing makes it slow."""

from __future__ import annotations

import random
import string

import pytest

from tacit.personal import KINDS, Found, count, find, left, redact

PROSE = """The meeting of 2021-03-04 (03.04.2021, 04/03/2021 at 12:30:59) moved to 1999-12-31T23:59:59.123+01:00; in 1990 1991 1992 1993
it was as in 1914-1918. It cost $1,234.56, 1.234.567,89 EUR or 12 000 000 in all, +20 000 000 more than in 2004, +12.345.678,
3.14159265358979. Version 10.2.3-45 of build 20210304123456 runs at 192.168.10.12 and 255.255.255.0,
port 8080, not at 2001:0db8:85a3::8a2e:0370:7334.
ISBN 978-3-16-148410-0, ISBN 0-306-40615-2 and 9783161484100 say so; EAN 4006381333931; ZIP 02139-4307; room 0.123; score 3-2, 98-102.
The draw was 05 12 23 34 45 and the table 4111 5222 6333 7444 8555; +123.456789 -0.123456 +98.7654321 +1.5;
1234567890123456; 0.4111111111111111.
See https://example.org/a/b3Jd9fK2lQ8zX5vN1mW7cR4t?id=AbC123xYz987QwErTy55, src/tacit/data/sources/documents2.py,
IMG_20040103_123456_HDR-2.jpeg, commit 6f1ed002ab5595859014ebf0951522d9ab5595ab, 550e8400-e29b-41d4-a716-446655440000,
#a1b2c3, a logo@2x.png and git@github.com:owner/name.
Donaudampfschifffahrtsgesellschaftskapitän2004, Win32GetVersionExtended2003Service, pneumonoultramicroscopicsilicovolcanoconiosis,
CC1=CC=C(C=C1)C2=CC(=NN2C3=CC=C(C=C3)S(=O)(=O)N)C(F)(F)F, MKTAYIAKQRQISFVKSHFSRQLEERLGLAEVLLN, GATTACAGATTACAGATTACA, follow @somebody."""


def kinds(text: str) -> list[str]:
    return [f.kind for f in find(text)]


@pytest.mark.parametrize(
    "number",
    [
        *("4111 1111 1111 1111", "5500 0000 0000 0004", "5500-0000-0000-0004", "378282246310005", "3782 822463 10005"),
        *("4111111111111111", "4222222222222", "6011111111111117", "3530111333300000", "30569309025904", "2223003122003222"),
    ],
)
def test_a_card_is_found_by_its_check_digit(number: str) -> None:
    assert redact(f"pay with {number}, please") == "pay with [card], please"
    for i in [i for i, c in enumerate(number) if c.isdigit()][1:]:
        wrong = number[:i] + str((int(number[i]) + 1) % 10) + number[i + 1 :]
        assert kinds(wrong) == [], wrong


@pytest.mark.parametrize(
    "number",
    [
        *("DE89 3704 0044 0532 0130 00", "GB29 NWBK 6016 1331 9268 19", "FR14 2004 1010 0505 0001 3M02 606"),
        *("DE89370400440532013000", "NL91 ABNA 0417 1643 00", "CH93 0076 2011 6238 5295 7", "NO93 8601 1117 947"),
        *("MT84 MALT 0110 0001 2345 MTLC AST0 01S",),
    ],
)
def test_an_account_is_found_by_its_length_and_remainder(number: str) -> None:
    assert redact(f"IBAN: {number}. Thanks") == "IBAN: [iban]. Thanks"
    assert kinds(f"{number} BIC COBADEFFXXX")[0] == "iban"
    for i in [i for i, c in enumerate(number) if c.isdigit()]:
        assert "iban" not in kinds(number[:i] + str((int(number[i]) + 1) % 10) + number[i + 1 :])
    assert "iban" not in kinds(number[:-1])


@pytest.mark.parametrize(
    "said",
    [
        *("+49 30 1234567", "+4930123456", "0049 30 1234567", "(415) 555-0132", "415-555-0132", "1-800-555-0132"),
        *("415.555.0132", "+1 (415) 555-0132", "+44 (0)20 7946 0958", "020 7946 0958", "030/1234567", "(030) 123 45 67"),
        *("0171-1234567", "+33 1 23 45 67 89", "+34 912 345 678", "01 44 27 67 38", "(415) 555-0132 x17", "+358-71-162020"),
        *("06-12345678",),
    ],
)
def test_phone_numbers_in_their_usual_forms(said: str) -> None:
    assert redact(f"Please call {said}, or write.") == "Please call [phone], or write."
    assert redact(f"({said})") == "([phone])"


def test_a_word_before_it_makes_any_form_a_phone_number() -> None:
    assert redact("Tel.: 555 1234, Fax: 555-1235; Telefon: 12 34 56 78") == "Tel.: [phone], Fax: [phone]; Telefon: [phone]"
    assert redact("555 1234, 12 34 56 78") == "555 1234, 12 34 56 78"
    assert redact("phone: 03.04.2021") == "phone: 03.04.2021"


@pytest.mark.parametrize(
    "address",
    ["john@example.com", "j.o'neil+news@mail.example.co.uk", "müller@bücher.example", "a_b-c%d@x-y.museum", "1993Apr5.12@news.example.edu"],
)
def test_mail_addresses(address: str) -> None:
    assert redact(f"Write to <{address}>, {address}. And {address}") == "Write to <[e-mail]>, [e-mail]. And [e-mail]"


def test_what_is_no_mail_address() -> None:
    for said in ("logo@2x.png", "git@github.com:a/b", "@somebody", "a@b", "user@host", "pkg@1.2.3", "a @ b.com", "@@@", "x@.com"):
        assert kinds(said) == [], said


@pytest.mark.parametrize(
    "secret",
    [
        *("AKIAIOSFODNN7EXAMPLE", "ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2", "sk-proj-abc123DEF456ghi789jkl012"),
        *("xoxb-123456789012-abcdefGHIJ", "hf_aB3dEaB3dEaB3dEaB3dEaB3dEaB3dEaB3dE"),
        *("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P", "k3j9x8d72mq0z5v1p4c6"),
        *("Zx9Kq2Lm8Vb4Tn6Rw1Yp", "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEAx9f8Zq2\nLm8Vb4Tn6Rw1Yp\n-----END"),
    ],
)
def test_keys_by_their_beginning_or_their_entropy(secret: str) -> None:
    assert redact(f'API_KEY="{secret}"') == 'API_KEY="[key]"'


def test_most_random_keys_are_found_and_no_hash() -> None:
    rng = random.Random(0)
    letters = string.ascii_letters + string.digits
    for size, least in ((20, 0.75), (32, 0.9), (40, 0.95), (64, 0.97)):
        assert sum(kinds("".join(rng.choices(letters, k=size))) == ["key"] for _ in range(300)) / 300 >= least
        assert not any(kinds("".join(rng.choices("0123456789abcdef", k=size))) for _ in range(100))
        assert not any(
            "key" in kinds("".join(rng.choices(alphabet, k=size))) for alphabet in ("ACGT", "0123456789", "ab1") for _ in range(100)
        )


def test_blocks_of_base64_are_no_keys() -> None:
    rng = random.Random(1)
    lines = ["".join(rng.choices(string.ascii_letters + string.digits + "+/", k=64)) for _ in range(20)]
    assert kinds("\n".join(lines)) == [] and kinds("\n".join(f"> {line}" for line in lines)) == []
    assert kinds(lines[0]) == ["key"]


def test_ordinary_prose_holds_nothing() -> None:
    assert [(f.kind, PROSE[f.start : f.end]) for f in find(PROSE)] == []


def test_rows_of_numbers_hold_nothing() -> None:
    rng = random.Random(0)
    for _ in range(1500):
        sign = rng.choice(["", "+"])
        assert find(" ".join(f"{rng.gauss(0, 100):{sign}.{rng.randint(0, 9)}f}" for _ in range(12))) == []
        assert find(" ".join(str(rng.randint(0, 9999)) for _ in range(12))) == []
        assert find(" ".join(f"{rng.randint(0, 99999):05d}" for _ in range(12))) == []
        assert find(".".join(str(rng.randint(0, 255)) for _ in range(4))) == []


def test_pieces_come_in_order_and_the_more_specific_kind_wins() -> None:
    text = "bob@example.com +49 30 1234567, 4111 1111 1111 1111, DE89 3704 0044 0532 0130 00 tel: 378282246310005"
    found = find(text)
    assert [f.kind for f in found] == ["e-mail", "phone", "card", "iban", "card"]
    assert all(a.end <= b.start for a, b in zip(found, found[1:], strict=False))
    assert found[0] == Found("e-mail", 0, 15) and redact(redact(text)) == redact(text)


def test_counts_and_what_is_left() -> None:
    texts = (t for t in ["a@b.co and c@d.co", "nothing", "", "card 4111 1111 1111 1111", "\0"])
    assert count(texts) == {"e-mail": 2, "phone": 0, "card": 1, "iban": 0, "key": 0, "texts": 2}
    assert list(count([])) == [*KINDS, "texts"]
    assert not left(" [e-mail], [phone]!") and left("[e-mail] x") and not left("")


def test_other_scripts_and_strange_characters() -> None:
    assert redact("电话：010-12345678。") == "电话：[phone]。"
    assert redact("ＴＥＬ：０３－１２３４－５６７８") == "ＴＥＬ：[phone]"
    assert redact("卡号４１１１ １１１１ １１１１ １１１１。") == "卡号[card]。"
    assert redact("هاتف: +٤٩ ٣٠ ١٢٣٤٥٦٧") == "هاتف: [phone]"
    assert redact("שלחו אל bob@example.com 😀\0+49\u00a030\u00a01234567\ud800") == "שלחו אל [e-mail] 😀\0[phone]\ud800"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "part",
    [
        "a",
        "1",
        "1-",
        "a@",
        "@",
        "a.",
        "@a.",
        "(",
        "+1",
        "0",
        "01 ",
        "A1",
        "eyJ-",
        "DE12",
        "-",
        "tel:",
        "ü@",
        "sk-",
        "+(0)",
        "x1/",
        "\0",
        "９",
        "4111 ",
    ],
)
def test_long_texts_of_one_kind_take_no_time(part: str) -> None:
    size = 1_000_000 if part in ("a", "1", "1-", "a@", "@") else 50_000
    assert find(part * (size // len(part))) == []
