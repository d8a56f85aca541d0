"""Languages of texts: article 1 of the Universal Declaration of Human Rights in 33 of them, and what is in none."""

from __future__ import annotations

import pytest

from tacit.tongues import WORDS, language, languages

ARTICLE = {
    "English": "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and should "
    "act towards one another in a spirit of brotherhood.",
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt und sollen "
    "einander im Geist der Brüderlichkeit begegnen.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de conscience et "
    "doivent agir les uns envers les autres dans un esprit de fraternité.",
    "Spanish": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón y conciencia, "
    "deben comportarse fraternalmente los unos con los otros.",
    "Italian": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Essi sono dotati di ragione e di coscienza e "
    "devono agire gli uni verso gli altri in spirito di fratellanza.",
    "Portuguese": "Todos os seres humanos nascem livres e iguais em dignidade e em direitos. Dotados de razão e de consciência, devem "
    "agir uns para com os outros em espírito de fraternidade.",
    "Dutch": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren. Zij zijn begiftigd met verstand en geweten, en "
    "behoren zich jegens elkander in een geest van broederschap te gedragen.",
    "Swedish": "Alla människor är födda fria och lika i värde och rättigheter. De är utrustade med förnuft och samvete och bör handla "
    "gentemot varandra i en anda av broderskap.",
    "Danish": "Alle mennesker er født frie og lige i værdighed og rettigheder. De er udstyret med fornuft og samvittighed, og de bør "
    "handle mod hverandre i en broderskabets ånd.",
    "Norwegian": "Alle mennesker er født frie og med samme menneskeverd og menneskerettigheter. De er utstyrt med fornuft og "
    "samvittighet og bør handle mot hverandre i brorskapets ånd.",
    "Finnish": "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan. Heille on annettu järki ja omatunto, ja "
    "heidän on toimittava toisiaan kohtaan veljeyden hengessä.",
    "Polish": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni rozumem i sumieniem i "
    "powinni postępować wobec innych w duchu braterstwa.",
    "Czech": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím a mají spolu "
    "jednat v duchu bratrství.",
    "Turkish": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. Akıl ve vicdana sahiptirler ve birbirlerine karşı "
    "kardeşlik zihniyeti ile hareket etmelidirler.",
    "Hungarian": "Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az emberek, ésszel és lelkiismerettel bírván, "
    "egymással szemben testvéri szellemben kell hogy viseltessenek.",
    "Romanian": "Toate ființele umane se nasc libere și egale în demnitate și în drepturi. Ele sunt înzestrate cu rațiune și conștiință "
    "și trebuie să se comporte unele față de altele în spiritul fraternității.",
    "Indonesian": "Semua orang dilahirkan merdeka dan mempunyai martabat dan hak-hak yang sama. Mereka dikaruniai akal dan hati nurani "
    "dan hendaknya bergaul satu sama lain dalam semangat persaudaraan.",
    "Vietnamese": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi. Mọi con người đều được tạo hóa ban cho "
    "lý trí và lương tâm và cần phải đối xử với nhau trong tình bằng hữu.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью и должны "
    "поступать в отношении друг друга в духе братства.",
    "Ukrainian": "Всі люди народжуються вільними і рівними у своїй гідності та правах. Вони наділені розумом і совістю і повинні діяти у "
    "відношенні один до одного в дусі братерства.",
    "Bulgarian": "Всички хора се раждат свободни и равни по достойнство и права. Те са надарени с разум и съвест и следва да се отнасят "
    "помежду си в дух на братство.",
    "Serbian": "Сва људска бића рађају се слободна и једнака у достојанству и правима. Она су обдарена разумом и свешћу и треба једни "
    "према другима да поступају у духу братства.",
    "Arabic": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وهبوا عقلاً وضميرًا وعليهم أن يعامل بعضهم بعضًا بروح الإخاء.",
    "Persian": "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند. همه دارای عقل و وجدان هستند.",
    "Urdu": "تمام انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں۔ انہیں ضمیر اور عقل ودیعت ہوئی ہے۔",
    "Chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "Japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Hebrew": "כל בני אדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "Georgian": "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით.",
}


@pytest.mark.parametrize("name", ARTICLE)
def test_article_one(name: str) -> None:
    text = ARTICLE[name]
    assert language(text) == language(text.upper()) == language(f"  1. “{text}” 😀 \0") == name
    if name in WORDS and name not in ("Danish", "Norwegian"):  # which share half of their sentences
        first, second = (part for part in (text[: len(text) // 2].rsplit(" ", 1)[0], text[len(text) // 2 :].split(" ", 1)[1]))
        assert name in (language(first), language(second)) and {language(first), language(second)} <= {name, "unknown"}


def test_short_sentences() -> None:
    said = {
        "English": ["A man in a blue shirt is standing on a ladder.", "Where is the next station?", "don't do that again, it's not yours"],
        "German": [
            "Ein Mann steht auf einer Leiter.",
            "Wo ist der nächste Bahnhof?",
            "der Hund sieht das Meer",
            "Das habe ich nicht gesagt.",
        ],
        "French": ["Un homme est debout sur une échelle.", "Où est la prochaine gare ?", "Je n'ai pas dit ça, c'est l'autre."],
        "Spanish": ["Un hombre está de pie en la calle.", "¿Dónde está la próxima estación?"],
        "Italian": ["Un uomo è in piedi su una scala.", "Dov'è la prossima stazione?"],
        "Dutch": ["Een man staat op een ladder.", "Waar is het volgende station?"],
        "Swedish": ["Var ligger nästa station och när går tåget?"],
        "Polish": ["Mężczyzna stoi na drabinie.", "Gdzie jest następna stacja?"],
        "Russian": ["Мужчина стоит на лестнице.", "Где находится следующая станция?"],
    }
    wrong = [(name, text, language(text)) for name, texts in said.items() for text in texts if language(text) != name]
    assert not wrong


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "\x00", "12 34 56.78", "2021-03-04", "😀😀😀", "x", "ok", "Müller"),
        *("CCAGCTGCATCACAGGAGGCCAGCGAGCAGGTCTGTTCCAAGGGCC", "CCN(CC)C(=O)c1ccccc1"),
        *("for (int i = 0; i < n; i++) { x[i] = foo(y); }", "def f(x): return g(x)[0]", "<a href='x.html'>", "{'a': [1, 2]}"),
        *("α = β + 1", "\ud800", "a1b2c3 d4e5f6", "https://example.org/the/of/and", "kjhg wrtzp qqxv bnmk zzt"),
        *("!!! ??? ...", "ACGT TTGA CCAT GGTA"),
    ],
)
def test_what_is_in_no_language(text: str) -> None:
    assert language(text) == "unknown"


def test_languages_are_counted_the_most_frequent_first() -> None:
    texts = (ARTICLE[name] for name in ("German", "English", "English", "Greek", "English", "German"))
    assert list(languages(texts).items()) == [("English", 3), ("German", 2), ("Greek", 1)]
    assert languages([]) == {}


def test_decomposed_letters_and_mixed_scripts() -> None:
    import unicodedata

    for name in ("German", "Vietnamese", "Czech"):
        assert language(unicodedata.normalize("NFD", ARTICLE[name])) == name
    assert language("Das Wort 自由 steht auf dieser Seite und bedeutet Freiheit.") == "German"
    assert language("他们使用 Python 和 Linux 来处理这些数据。") == "Chinese"
    assert language("Внешний вид сайта на Django и Python можно изменить") == "Russian"
