"""Personal data in text: where e-mail addresses, phone numbers, cards, bank accounts and secret keys stand, to count or black them out.

Shapes, check digits and entropy decide, so names, postal addresses and passwords that are words stay where they are. What could as well
be something else is left alone: a phone number is found with + or 00 and a country code, in the North American forms, with a leading 0
and separators, or in any form after "Tel:" and the like; a bare row of digits is none. A key is found by a known beginning (AKIA, ghp_,
sk-, xoxb-, a PEM block and others), or as 20 to 128 characters that mix letters and digits with high entropy, few of the letter pairs of
words and few separators. Hashes (hexadecimal), UUIDs, DNA, SMILES, file names, whatever stands in a URL, and lines of base64 blocks are
not flagged. Message ids such as <12.ab@host.org> are written as e-mail addresses are, and found as such.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import log2

Span = tuple[int, int]

KINDS = ("iban", "card", "e-mail", "key", "phone")  # where two overlap, the first of them stays
# digits and marks of other scripts, each read as one ASCII character so that places in the text stay the same
WIDE = {0xFF01 + i: 0x21 + i for i in range(94)} | {zero + i: 48 + i for zero in (0x660, 0x6F0, 0x966) for i in range(10)}
WIDE |= {ord(c): 32 for c in "\u00a0\u2007\u202f\u3000"} | {ord(c): 45 for c in "\u2010\u2011\u2012\u2013\u2212"}
W = r"0-9A-Za-z_\u00c0-\u024f"  # of words; other scripts write without spaces and may touch a number
SIZES = {  # country -> characters of its IBAN
    w[:2]: int(w[2:])
    for w in (
        "NO15 BE16 DK18 FI18 NL18 MK19 SI19 AT20 BA20 EE20 LT20 LU20 XK20 CH21 HR21 LI21 LV21 BG22 DE22 GB22 GE22 IE22 ME22 RS22 AE23"
        " IL23 GI23 AD24 CZ24 ES24 MD24 PK24 RO24 SA24 SE24 SK24 TN24 PT25 IS26 TR26 FR27 GR27 IT27 MC27 SM27 AL28 AZ28 CY28 DO28 HU28"
        " LB28 PL28 UA29 BR29 QA29 KW30 JO30 MT31"
    ).split()
}
MAESTRO = "5018|5020|5038|5893|6304|6759|676[1-3]"
ISSUERS = {  # digits of a card -> how the issuers that have such number them
    13: "4",
    14: "30[0-5]|3[689]",
    15: "3[47]",
    16: f"4|5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720|6011|62|64[4-9]|65|35[2-8]|{MAESTRO}",
    **dict.fromkeys((17, 18), f"62|{MAESTRO}"),
    19: f"4|6011|62|64[4-9]|65|{MAESTRO}",
}
COUNTRIES = r"(?:2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|2[1-689]\d|3[578]\d|42\d|5[09]\d|6[7-9]\d|8[0578]\d|9[679]\d|7|1)"
FILES = r"(?:png|jpe?g|gif|svg|webp|bmp|pdf|html?|js|css|py|txt|zip|md|json|xml|csv)"
PAIRS = set(  # neighbouring letters that are common in European words: over half of a word's, a sixth of random ones
    "th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri ro ic ne ea ra ce li ch"
    " ll be ma si om ur ei ie ge un sc ss us el la ta di ns no ec ct rs ac ot il lo em na et pr tr ut ho am po ad ig ol ul im id pe su ag"
    " ck op ex ab ap ai tt oo ee mo wa we fi sh ue iv ke do ca".split()
)
MARK = re.compile(r"\[(?:e-mail|phone|card|iban|key)\]")

EMAIL = re.compile(rf"(?<![{W}])[{W}][{W}.%+'-]{{0,63}}+@(?:[{W}-]{{1,63}}+\.){{1,8}}(?!{FILES}\b)[A-Za-z]{{2,24}}+(?![{W}@]|\.[a-z])")
IBAN = re.compile(rf"(?<![{W}])([A-Za-z]{{2}})\d\d(?=[ -]?[0-9A-Za-z]{{4}})")
REST = {
    n: re.compile(rf"(?:[ -]?[0-9A-Za-z]{{4}}){{{n // 4 - 1}}}" + rf"[ -]?[0-9A-Za-z]{{{n % 4}}}" * (n % 4 > 0) + rf"(?![{W}])")
    for n in range(15, 32)
}
CARD = re.compile(
    rf"(?<![{W}])(?<!\d[.,])(?<!\d[ -])(?:\d{{4}}([ -])\d{{4}}\1\d{{4}}\1\d{{4}}(?:\1\d{{3}})?"
    rf"|\d{{4}}([ -])\d{{6}}\2\d{{4,5}}|\d{{13,19}})(?![{W}]|[.,]\d|[ -]\d++(?!/))"
)
KNOWN = re.compile(
    r"(?<![0-9A-Za-z])(?:(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])|gh[pousr]_[0-9A-Za-z]{36,255}|github_pat_\w{22,255}|glpat-[\w-]{20,64}"
    r"|sk-(?=[A-Za-z_-]{0,40}\d)[\w-]{20,255}|[spr]k_(?:live|test)_[0-9A-Za-z]{16,255}|xox[abeprs]-(?=[A-Za-z-]{0,40}\d)[0-9A-Za-z-]{10,255}"
    r"|AIza[\w-]{35}|hf_[0-9A-Za-z]{30,64}|npm_[0-9A-Za-z]{36}|SG\.[\w-]{16,64}\.[\w-]{16,64}"
    r"|(?<![_-])eyJ[\w-]{10,4000}+\.[\w-]{10,4000}+(?:\.[\w-]{10,1000}+)?)"
    r"|-----BEGIN (?:[A-Z]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----[\w+/=:.,\s]{20,20000}+(?:-----END)?",
    re.ASCII,
)
RUN = re.compile(r"(?<![0-9A-Za-z+/_=-])[0-9A-Za-z+/_-]{20,}+={0,2}")
BEFORE, AFTER = " \t\r\n\"'`=:([{<,;>|", " \t\r\n\"'`)]}>,.;:|"  # what may stand around a key
SPLIT, EXTRA = r"[ ./-]", r"(?: ?(?:x|ext\.?) ?\d{1,6})?+"
PHONES = (
    re.compile(
        rf"(?<![{W}+])(?<!\d[.,])(?:\+ ?|(?<!\d[ ./-])00){COUNTRIES}"
        rf"(?:{SPLIT}?(?: ?\(\d{{1,5}}\)[ -]?)?\d){{6,13}}+{EXTRA}(?![{W}]|{SPLIT}\d)"
    ),
    re.compile(
        rf"(?<![{W}+])(?<!\d[-./,])(?:(?:1[ .-]?)?\([2-9]\d\d\)[ -]{{0,2}}[2-9]\d\d[ .-]\d{{4}}"
        rf"|(?:1[-. ])?(?:[2-9]\d\d[-/ ][2-9]\d\d-\d{{4}}|[2-9]\d\d\.[2-9]\d\d\.\d{{4}})){EXTRA}(?![{W}]|[-./,]\d)"
    ),
    re.compile(
        rf"(?<![{W}+])(?<!\d[-./,:])(?<!\d )(?:\(0[1-9]\d{{0,4}}\) ?|0[1-9]\d{{0,4}}(?: ?[/-] ?|[ .]))\d{{2,8}}"
        rf"(?:([ .-])\d{{2,5}}(?:\1\d{{2,5}}){{0,3}})?(?![{W}]|[-./,: ]\d)"
    ),
    re.compile(
        r"(?i)(?<![a-z])(?:tele(?:ph|f)one?|tel|phone|fax|mobile?|handy|cell)(?: ?(?:no|nr|number))?[.:]{1,2} {0,3}"
        rf"(\(?\d(?:[ ./-]?\)?[ -]?\d){{6,14}}+)(?![{W}]|[,:]\d)"
    ),
)
DATE = re.compile(r"\(?(?:\d{1,2}[ ./-]\d{1,2}[ ./-](?:1[5-9]|20)\d\d|(?:1[5-9]|20)\d\d[ ./-]\d{1,2}[ ./-]\d{1,2})(?!\d)")


@dataclass(frozen=True)
class Found:
    """A piece of personal data: what it is, and where it stands in the text (text[start:end])."""

    kind: str
    start: int
    end: int


def _mail(m: re.Match[str]) -> Span | None:
    return None if m[0].startswith("git@") else m.span()


def _iban(m: re.Match[str]) -> Span | None:
    rest = REST[SIZES[m[1].upper()]].match(m.string, m.end()) if m[1].upper() in SIZES else None
    if rest is None:
        return None
    code = re.sub("[ -]", "", rest[0] + m[0]).upper()  # the check is over the account, then country and check digits
    digits = sum(c.isdigit() for c in code)
    return (m.start(), rest.end()) if 2 * digits >= len(code) and int("".join(str(int(c, 36)) for c in code)) % 97 == 1 else None


def _card(m: re.Match[str]) -> Span | None:
    number = [int(c) for c in m[0] if c.isdigit()]
    luhn = sum(number[-1::-2]) + sum(2 * d - 9 * (d > 4) for d in number[-2::-2])
    article = len(number) == 13 and (sum(number[::2]) + 3 * sum(number[1::2])) % 10 == 0  # EAN; an eighth of them begin as cards do
    return m.span() if luhn % 10 == 0 and not article and re.match(ISSUERS[len(number)], "".join(map(str, number))) else None


def _run(m: re.Match[str]) -> Span | None:
    run, (start, end) = m[0].rstrip("="), m.span()
    n, digits = len(run), sum(c.isdigit() for c in run[:129])
    if n > 128 or not 2 <= digits <= 0.6 * n or re.search(r"^(0x)?[0-9a-fA-F-]+$|\d{7}", run) or sum(map(run.count, "-_/+")) > n / 8:
        return None
    kinds = ["0" if c.isdigit() else "a" if c.islower() else "A" if c.isupper() else "-" for c in run]
    turns = sum(a + b in ("aA", "a0", "A0", "0a", "0A") for a, b in zip(kinds, kinds[1:], strict=False))
    pairs = [a + b for a, b in zip(run.lower(), run.lower()[1:], strict=False) if (a + b).isalpha()]
    entropy = -sum(k / n * log2(k / n) for k in Counter(run).values())
    if turns < n / 5 or sum(p in PAIRS for p in pairs) > 0.4 * len(pairs) or entropy < 0.8 * log2(min(n, 32)):
        return None
    before, after = m.string[max(0, start - 300) : start], m.string[end : end + 300]
    token = (before.rsplit(maxsplit=1) or [""])[-1] * (before[-1:].strip() != "") + run
    lines = before.split("\n")[-2:-1] + after.split("\n")[1:2]  # the one above and the one below
    alone = not before.split("\n")[-1].strip(" >|") and not after.split("\n")[0].strip()
    block = alone and any(len(line) >= 60 and RUN.fullmatch(line.strip(" >|\r")) for line in lines)
    shut = before[-1:] not in BEFORE or after[:1] not in AFTER or re.match(r"\.[a-z][a-z0-9]{1,3}\b", after)
    return None if "://" in token or "www." in token or block or shut else (start, end)


def _phone(m: re.Match[str]) -> Span | None:
    kind = PHONES.index(m.re)
    start, end = m.span(1 if kind == 3 else 0)
    said = m.string[start:end]
    parts, marks = re.findall(r"\d+", said), re.findall(r"\d\D+(?=\d)", said)
    digits = sum(map(len, parts)) - 2 * (kind == 0 and said[0] == "0")
    if digits < (7 if kind == 3 else 9) or DATE.match(said):
        return None
    if kind == 0:
        dotted = "." in said and (len(parts) == 2 or len({x[1:] for x in marks[1:]}) > 1)  # one decimal, or a row of them
        even = len(parts) > 1 and all(len(p) == 3 for p in parts[1:])
        number = (even and ("." in said or parts[-1] == "000")) or (len(parts) == 1 and said[0] == "0")
        american = re.match(r"(?:\+ ?|00)1\D{0,2}[01]", said)  # no area there begins so
        return None if dotted or number or american or len(parts) > 7 else (start, end)
    if kind == 2:
        code = re.fullmatch(r"\d{5}-\d{4}|\d{3}-\d{2}-\d{4}", said)  # post, social security
        counting = len(parts) > 3 and all(len(p) == 2 for p in parts) and parts == sorted(parts)
        return None if code or counting or (len(parts) == 2 and "." in said) or digits > 13 else (start, end)
    return start, end


LOOKS: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], Span | None]], ...] = (
    ("iban", IBAN, _iban),
    ("card", CARD, _card),
    ("e-mail", EMAIL, _mail),
    ("key", KNOWN, lambda m: m.span()),
    ("key", RUN, _run),
    *(("phone", p, _phone) for p in PHONES),
)


def find(text: str) -> list[Found]:
    """All personal data in the order of the text, none of it overlapping."""
    plain = text if text.isascii() else text.translate(WIDE)
    out: list[Found] = []
    for kind, pattern, check in LOOKS:
        found = [span for m in pattern.finditer(plain) if (span := check(m))]
        out += [Found(kind, *span) for span in found]
        if found:  # what is taken is hidden from the kinds that follow
            cuts = [0, *(cut for span in found for cut in span), len(plain)]
            pieces = [plain[i:j] for i, j in zip(cuts, cuts[1:], strict=False)]
            plain = "".join("\0" * len(piece) if i % 2 else piece for i, piece in enumerate(pieces))
    return sorted(out, key=lambda f: f.start)


def redact(text: str) -> str:
    """The text with "[e-mail]", "[phone]", "[card]", "[iban]" or "[key]" in place of each piece."""
    out, last = [], 0
    for f in find(text):
        out += [text[last : f.start], f"[{f.kind}]"]
        last = f.end
    return "".join([*out, text[last:]])


def left(text: str) -> bool:
    """Whether a redacted text says anything beside what was put in place of personal data."""
    return any(c.isalnum() for c in MARK.sub("", text))


def count(texts: Iterable[str]) -> dict[str, int]:
    """Kind -> how many are in the texts, and "texts" -> how many texts hold any."""
    out = dict.fromkeys((*KINDS, "texts"), 0)
    for text in texts:
        found = find(text)
        for f in found:
            out[f.kind] += 1
        out["texts"] += bool(found)
    return out
