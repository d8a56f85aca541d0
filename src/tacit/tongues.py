"""Which language a text is in: by its script, then by the small words that every sentence needs."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

WORDS = {
    "English": "the of and a to in is that it was for with as on are this be at by from have not you which his but they or an i we he she "
    "her their there what who how where when did does do can will would has had been its one two into up out over my your so if",
    "German": "der die das und ist in den von zu mit sich des auf für nicht ein eine dem im es auch als an werden aus er dass sie einem einer",
    "French": "le la les de des et est en un une du que qui dans pour pas sur au avec ce il elle sont nous vous mais ou cette aux par",
    "Spanish": "el la los las de del y es en un una que por con para no se su al lo como más pero sus este está son muy ha",
    "Italian": "il lo la gli le di del della e è in un una che per con non si sono da nel alla come anche più ma questo dei sul",
    "Portuguese": "o a os as de do da dos das e é em um uma que por com para não se no na ao mais como mas foi são seu sua pelo",
    "Dutch": "de het een en van is in op te dat die niet voor met zijn er aan ook als bij om maar wordt naar nog over uit hij",
    "Swedish": "och att det i en som på är av för med den till inte har de ett om vi jag från men var så kan under hon",
    "Danish": "og at det i en som på er af for med den til ikke har de et om vi jeg fra men var så kan efter hun der",
    "Norwegian": "og at det i en som på er av for med den til ikke har de et om vi jeg fra men var så kan etter hun ble",
    "Finnish": "ja on ei että se oli hän mutta kun ovat myös tai kuin niin sen joka ole olla mukaan jos vain sekä",
    "Polish": "i w na z do się nie że jest to o jak po ale za od przez dla są tak ma już tym być który oraz",
    "Czech": "a v na se je že to s z do o i za ale jako pro by jsou po od byl které však jeho také nebo při",
    "Turkish": "ve bir bu da de için ile çok olarak daha gibi olan kadar ne ama o sonra en her var mi değil",
    "Hungarian": "a az és hogy nem is egy van meg de ez csak volt már mint el ha még vagy azt kell minden",
    "Romanian": "și de în a la cu pe nu este că o un din mai pentru care sa se fi au prin sunt după sau dar",
    "Indonesian": "yang dan di ini itu dengan untuk tidak dari dalam akan pada juga ke adalah oleh ada saya mereka telah sudah",
    "Vietnamese": "và của là có không được cho một trong với người này các đã những để khi ở đến như về",
    "Russian": "и в не на что с по это как он из за к но от так же у было для был все его она",
    "Ukrainian": "і в не на що з та до як це від за але його для був є про у я він також",
    "Bulgarian": "и в на не да се от за е с по че като са които до но при след това или беше",
    "Serbian": "и у је на се да за од са као није су то који али из по што би са до",
}  # fmt: skip
SETS = {name: frozenset(words.split()) for name, words in WORDS.items()}
SCRIPTS = {"GREEK": "Greek", "HEBREW": "Hebrew", "DEVANAGARI": "Hindi", "THAI": "Thai", "HANGUL": "Korean", "ARMENIAN": "Armenian"}
SCRIPTS |= {"GEORGIAN": "Georgian", "BENGALI": "Bengali", "TAMIL": "Tamil", "TELUGU": "Telugu"}
MARKS = {"German": "äöüß", "French": "çêèàùœ", "Spanish": "ñ¿¡", "Portuguese": "ãõ", "Swedish": "åäö", "Danish": "æøå", "Norwegian": "æøå"}
MARKS |= {"Polish": "łąęśżź", "Czech": "řěůčž", "Turkish": "ığşç", "Hungarian": "őű", "Romanian": "șțăâ", "Finnish": "äö"}
MARKS |= {"Vietnamese": "ươđạảấầậẻềếệịọốộớờợụứừự", "Ukrainian": "іїєґ", "Russian": "ыэё", "Serbian": "јљњћђ", "Bulgarian": "ъщ"}
LOOKED = 2000  # characters of a text


def language(text: str) -> str:
    """English name of the language, "unknown" where a text is too short or says too little."""
    text = text[:LOOKED]
    letters = [c for c in text if c.isalpha()]
    if len(letters) < 3:
        return "unknown"
    scripts: Counter[str] = Counter()
    for c, n in Counter(letters).items():
        scripts[_script(c)] += n
    script, share = scripts.most_common(1)[0]
    if scripts["HIRAGANA"] + scripts["KATAKANA"] >= 0.05 * len(letters) and scripts["CJK"] + scripts["HIRAGANA"] + scripts[
        "KATAKANA"
    ] > 0.5 * len(letters):
        return "Japanese"
    if script == "CJK":
        return "Chinese"
    if script in SCRIPTS:
        return SCRIPTS[script]
    if script == "ARABIC":
        return "Urdu" if set(text) & set("ٹڈڑںے") else "Persian" if set(text) & set("پچژگ") else "Arabic"
    if script not in ("LATIN", "CYRILLIC") or share < 0.5 * len(letters):
        return "unknown"
    words = re.findall(r"[^\W\d_]+", text.lower())
    kinds = [n for n in SETS if (n in ("Russian", "Ukrainian", "Bulgarian", "Serbian")) == (script == "CYRILLIC")]
    scores = {
        n: sum(w in SETS[n] for w in words) / max(1, len(words)) + 2 * sum(c in MARKS.get(n, "") for c in text.lower()) / len(letters)
        for n in kinds
    }
    best, second = sorted(scores, key=lambda n: -scores[n])[:2]
    sure = scores[best] >= 0.1 and scores[best] > scores[second] and (len(words) >= 3)
    return best if sure else "unknown"


def languages(texts: Iterable[str]) -> dict[str, int]:
    """How many texts are in each language, the most frequent first."""
    return dict(Counter(map(language, texts)).most_common())


def _script(c: str) -> str:
    return "LATIN" if c.isascii() else unicodedata.name(c, "UNKNOWN").split(" ")[0].split("-")[0]
