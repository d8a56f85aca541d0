"""Which language a text is in: by its script, then by the words of everyday and the runs of letters that are usual in them.

Latin: 18 languages; Cyrillic: Russian, Ukrainian, Bulgarian, Serbian; Arabic script: Arabic, Persian, Urdu; Chinese, and Japanese by its
kana; other scripts stand for the language that is mostly written in them (Devanagari counts as Hindi). A language that is not among these
comes out as "unknown" or as a near relative: Malay as Indonesian, Belarusian as Russian, Japanese without kana as Chinese. What says too
little is "unknown": numbers, code, DNA, SMILES, names, most texts of one or two words. Texts without their accents are told less well.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect
from collections import Counter
from collections.abc import Iterable
from functools import cache
from math import log

import numpy as np

LOOKED = 2000  # characters of a text
# the most frequent words first, then some of everyday that show how the language spells
WORDS = {
    "English": """
the of and to a in is it that was for with on as are at this by from be not have an his her they you which or we their has were will
would there what who been its if but can do does she he i my your no more when how two up out over while into one so about than them
some time people man men woman girl boy child year day way work house water hand eye thing world life school place young old new good
great little right first small black white make know think take see come look want find give tell show ask need feel try leave call
going being playing wearing standing sitting through down off where why because before after again other should could every between
something another three street front group just very really only most much well back around during without against under own each
person company government second last long high large red blue green outside running road must shall might used number part years says
said yourself there's everyone state change until available please select enter following""",
    "German": """
der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass sie nach wird bei
einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch man sein wurde wenn ich kann wir was
ihre seine unter zwei gegen ihr mich mir kein hier schon immer sehr mann frau kinder jahr zeit haus wasser leute straße stadt welt
leben schule arbeit junge mädchen hund hand auge tag weg gut neu groß klein alt jung schwarz weiß machen gehen sehen sagen kommen
geben stehen sitzen spielen bitte möchte müssen können zwischen während ohne gruppe menschen geschichte gesellschaft ganz viele dieser
diese dieses jede einige andere nichts heute trägt spricht läuft steht sitzt hält einfach möglich wirklich deutsch gerade ihnen ihren
wieder zusammen zurück""",
    "French": """
de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec son aux d l c n s qu j comme ou
mais nous vous elle je tout être fait été deux cette ont même sa ses leur y si aussi sans on après peut avoir sous entre très où votre
homme femme enfant fille garçon temps année jour vie monde maison eau main travail pays ville rue école chose jeune vieux grand petit
nouveau bon noir blanc faire dire voir aller venir savoir pouvoir vouloir prendre donner mettre porte assis debout jouer regarde
groupe personnes gens toujours jamais encore ici depuis pendant chaque autre quand pourquoi parce bien beaucoup trois premier dernière
français question toutes notre peuvent doit était avait quelque aujourd hui contre vers chez leurs mes monsieur utilisateur fichier
nom droit vérité liberté national date initial changer femmes hommes possible suivant travailler merci valeur aucun""",
    "Spanish": """
de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me si sin sobre este ya entre cuando
todo esta ser son dos también fue había era muy años hasta desde está mi porque qué sólo han yo hay vez puede todos así nos ni parte
tiene él uno donde bien tiempo mismo ese ahora cada vida otro después te otros aunque esa eso hace otra gobierno tan durante siempre
día tanto ella tres sí dijo sido gran país según menos mundo año antes estado contra sino forma caso nada hacer general estaba poco
estos mayor ante unos les algo hombre mujer niño niña gente casa agua mano trabajo ciudad calle escuela cosa joven viejo grande
pequeño nuevo bueno negro blanco hablar ver ir venir dar decir saber querer llevar jugar sentado grupo personas aquí nunca todavía
quién cuál mucho usuario contraseña nombre archivo español actual falta favor dato datos derecho verdad libertad nacional fecha
inicial cambiar mujeres hombres podrá deberá posible siguiente mediante trabajar quiere puedo gracias""",
    "Italian": """
di e il la che in a per un è del non una i le con si da sono al come alla più dei nel gli della lo ha ma delle anche o se su questo ed
dal mi ci suo sua nella era loro io tutti due essere stato ho tra quando dalla cui quello fra questa prima ai sul degli molto perché
poi dopo così senza ancora solo chi cosa tutto quel può noi lui lei uomo donna bambino bambina ragazzo ragazza persone tempo anno anni
giorno vita mondo casa acqua mano lavoro città strada scuola giovane vecchio grande piccolo nuovo buono nero bianco fare dire vedere
andare venire sapere volere dare parlare gioca seduto gruppo davanti mentre sempre mai qui adesso oggi ogni altro altri stesso nostro
quindi invece già proprio dove quale quanto tre primo italiano parte stati fatto detto abbiamo hanno sia deve utente nome nello negli
sulla dello all dell nell attuale favore dato dati diritto verità libertà nazionale data iniziale cambiare donne uomini possibile
seguente lavorare vuole grazie valore""",
    "Portuguese": """
de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua ou ser quando muito há
nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos ter seus quem nas me esse eles estão você tinha foram
essa num nem suas meu às minha têm numa pelos elas havia seja qual será nós tenho lhe deles essas esses pelas este dele tu te vocês
vos homem mulher menino menina crianças pessoas tempo ano anos dia vida mundo casa água mão trabalho cidade rua escola coisa jovem
velho grande pequeno novo bom preto branco fazer dizer ver ir vir saber poder querer dar levar jogando sentado grupo frente enquanto
sempre nunca aqui agora hoje cada outro outra todos todas dois duas três primeiro português então porque são onde quanto ainda senha
utilizador usuário nome ficheiro informações favor dado dados direito verdade liberdade nacional atual falta mudar mulheres homens
poderá deve possível seguinte trabalhar quer obrigado data inicial valor deste""",
    "Dutch": """
de van het een in en is dat op te zijn met voor niet die aan er om dan ze maar ook als bij door hij uit nog naar of wordt worden was
tot over je heeft we ik kan dit deze hebben had hun geen meer al wat zo werd haar moet zou mijn wel veel u waar onder na zich kunnen
tussen tegen twee andere waren mensen jaar tijd man vrouw kind jongen meisje huis water hand werk stad straat school wereld leven dag
weg ding jong oud nieuw goed groot klein zwart wit maken gaan zien zeggen komen geven weten denken staan zitten spelen loopt draagt
groep voorkant terwijl altijd nooit hier daar nu vandaag elke ander ieder waarom omdat drie eerste nederlands iets niets zonder weer
samen terug alleen gewoon mogelijk gebruiker wachtwoord naam bestand moeten willen ons onze jullie hem hen zoals""",
    "Swedish": """
och i att det som en på är av för med till den har de inte om ett han men var jag sig från vi så kan när år under också efter eller nu
sin där vid mot ska skulle kommer ut får finns vara hade alla andra mycket än här då sedan över bara in blir upp även vad få två vill
ha många hur mer går sverige kronor detta nya procent skall hon utan sina något svenska allt första fick måste mellan blev bli dag
någon några sitt stora man kvinna barn pojke flicka människor tid liv världen hus vatten hand arbete stad gata skola sak ung gammal ny
god stor liten svart vit göra gå se säga komma ge veta tänka stå sitta spelar bär grupp framför medan alltid aldrig idag varje annan
varför eftersom tre mig dig oss er din ditt ingen inga användare lösenord namn fil kunde själv tillbaka tillsammans""",
    "Danish": """
og i at det er en til af på for som med de der den har ikke et om han men var jeg sig fra vi så kan når også efter eller nu sin ved
mod skal skulle kommer ud får være havde alle andre meget end her da over bare ind bliver op hvad to vil mange hvor mere går danmark
kroner dette nye hun uden noget danske alt første fik må mellem blev blive dag nogen nogle sit store hans hendes selv denne disse
derfor mand kvinde børn dreng pige mennesker tid år liv verden hus vand hånd arbejde by gade skole ting ung gammel god lille sort hvid
gøre gå se sige komme give vide tænke stå sidde spiller bærer gruppe foran mens altid aldrig hver anden hvorfor fordi tre mig dig os
jer din dit ingen bruger adgangskode navn kunne ville sammen tilbage hvordan gerne synes lige igen måske herunder følgende bruges
indtast gyldig vælg enten videre tidligere mulig muligheder længde siden ændre tilladt arbejder redigere""",
    "Norwegian": """
og i det er en til av på for som med å de den har ikke et om han men var jeg seg fra vi så kan når også etter eller nå sin ved mot
skal skulle kommer ut får være hadde alle andre mye enn her da over bare inn blir opp hva to vil mange hvor mer går norge kroner dette
nye hun uten noe norske alt første fikk må mellom ble bli dag noen sitt store hans hennes selv denne disse derfor mann kvinne barn
gutt jente mennesker tid år liv verden hus vann hånd arbeid by gate skole ting ung gammel god liten svart hvit gjøre gå se si komme gi
vite tenke stå sitte spiller bærer gruppe foran mens alltid aldri hver annen hvorfor fordi tre meg deg oss dere din ditt ingen bruker
passord navn kunne ville sammen tilbake hvordan gjerne synes igjen kanskje følgende brukes skriv gyldig velg eit ikkje frå dei enten
videre tidligere mulig muligheter lengde siden endre tillatt arbeider redigere inneholder finnes nettside blitt hjelp hvilken eneste""",
    "Finnish": """
ja on ei että oli se hän mutta ovat kun myös niin kuin tai joka sen olla sekä mukaan jo vain ole hänen jos nyt voi sitä jotka siitä
kanssa mitä vielä kaikki tämä ne minä sinä me he mikä missä miten miksi koska ennen jälkeen aina olen olet olemme ollut olisi pitää
tulee saa tässä näin siihen heidän joita jossa joihin tämän kuitenkin kaksi kolme yksi mies nainen lapsi poika tyttö ihmiset aika
vuosi vuonna päivä elämä maailma talo vesi käsi työ kaupunki katu koulu asia nuori vanha uusi hyvä suuri pieni musta valkoinen tehdä
mennä nähdä sanoa tulla antaa tietää ajatella seisoo istuu pelaa ryhmä edessä aikana koskaan täällä siellä tänään jokainen toinen
ensimmäinen suomen käyttäjä salasana nimi tiedosto ihminen kautta välillä ilman jonka jolla sillä vastaan enemmän paljon hyvin
joitakin mitään täytyy voidaan""",
    "Polish": """
w i na z do się nie że to jest o jak po ale za od przez dla są tak ma co już tym być który która oraz jego ich tego przy lub jako czy
może był była było a ze go tylko we mnie jej także tej te ten ta jeszcze bardzo gdy gdzie kiedy pod nad bez przed między został które
których mu mi ja ty my wy oni pan pani człowiek ludzie mężczyzna kobieta dziecko chłopiec dziewczyna czas rok roku lat dzień życie
świat dom woda ręka praca miasto ulica szkoła rzecz młody stary nowy dobry duży mały czarny biały robić iść widzieć mówić przyjść dać
wiedzieć myśleć stoi siedzi gra grupa podczas zawsze nigdy tutaj dzisiaj każdy inny dlaczego ponieważ dwa dwie trzy pierwszy polski
użytkownik hasło nazwa plik można należy wszystko wszystkich również więc jeśli nawet sobie teraz będzie mają swoje coś nic""",
    "Czech": """
a v se na je že to s z do o i za ale jako pro by jsou po od byl bylo které který však jeho také nebo při ve k si jak tak už podle být
jen ze není co jsem byla aby pod než mezi která tím ještě mu když jejich až má toho této kde kdy ji nad bez před proti pak my vy oni
pán paní člověk lidé muž žena dítě chlapec dívka čas rok roku let den život svět dům voda ruka práce město ulice škola věc mladý starý
nový dobrý velký malý černý bílý dělat jít vidět říci přijít dát vědět myslet stojí sedí hraje skupina během vždy nikdy tady dnes
každý jiný proč protože dva dvě tři první český uživatel heslo název soubor může můžete musí všechno všech velmi více proto pokud
nebyl tento tato tyto něco nic svůj své jsme jste budou bude mají""",
    "Turkish": """
ve bir bu da de için ile çok olarak daha gibi olan kadar ne ama o sonra en her var mi değil ya ki ben sen biz siz diye bunu şey oldu
olduğu ise veya göre tarafından hiç yok iki mı onun onu ona benim beni bana şu böyle nasıl neden çünkü ancak önce ilk son büyük küçük
yeni eski iyi genç siyah beyaz adam kadın çocuk kız erkek insanlar insan zaman yıl yıllar gün hayat dünya ev su el iş şehir sokak okul
yapmak gitmek görmek demek gelmek vermek bilmek düşünmek istemek ayakta oturuyor oynuyor duruyor grup önünde sırasında sürekli burada
bugün başka aynı üç birinci türk türkiye kullanıcı parola adı dosya olur olacak edilen ederek eden etti etmek yaptı geldi dedi vardır
değildir lütfen bütün tüm bazı arasında içinde üzerinde karşı doğru olması gerekir şimdi artık hem bile kendi""",
    "Hungarian": """
a az és hogy nem is egy van meg de ez csak volt már mint el ha még vagy azt kell minden aki ki be lehet ezt nagyon pedig sem fel le én
ő mert lesz után között nincs itt két ami te mi ti ők ezek azok amely amelyek akkor majd így úgy mit hol mikor miért hogyan ember
emberek férfi nő gyerek fiú lány idő év évben nap élet világ ház víz kéz munka város utca iskola dolog fiatal öreg új jó nagy kicsi
fekete fehér csinál megy lát mond jön ad tud gondol áll ül játszik csoport előtt alatt mindig soha ma más három első magyar
magyarország felhasználó jelszó név fájl kérem szerint lehetett voltak vannak legyen több sok valami semmi mellett felett nélkül által
során ennek annak nekem neki velük magát saját ilyen olyan egyik másik tovább most ahol amikor""",
    "Romanian": """
de și în a la cu pe nu este că o un din mai pentru care sa se fi au prin sunt după sau dar ca al ale lui ce fost am şi ei el ea
această acest într când fără foarte doar era lor cel cea cei iar dacă unei unui fie toate tot toți acesta aceasta aceste sub între
despre până peste spre eu tu noi voi bărbat femeie copil copii băiat fată oameni om timp an ani zi viață lume casă apă mână muncă oraș
stradă școală lucru tânăr bătrân nou bun mare mic negru alb face merge vedea spune veni da ști gândi vrea stă joacă grup față timpul
întotdeauna niciodată aici astăzi fiecare alt doi două trei primul român românia utilizator parolă nume fișier poate trebuie avea are
aveau nostru său multe mult bine cum unde cât deci încă astfel având""",
    "Indonesian": """
yang dan di ini itu dengan untuk tidak dari dalam akan pada juga ke adalah oleh ada saya mereka telah sudah bisa atau karena seorang
sebuah orang kami kita dia lebih tersebut dapat harus seperti anda ia tahun hari waktu para bahwa secara antara sebagai hanya kepada
serta masih saat setelah sebelum belum banyak lain sama dua tiga satu pertama semua setiap bagi jika namun tetapi atas bawah laki
perempuan wanita pria anak rumah air tangan kerja kota jalan sekolah hal muda tua baru baik besar kecil hitam putih membuat pergi
melihat mengatakan datang memberi tahu pikir berdiri duduk bermain kelompok depan selama selalu pernah sini sekarang mengapa indonesia
pengguna sandi nama berkas silakan menjadi merupakan memiliki mempunyai melakukan dilakukan digunakan terhadap tentang negara dunia
hidup beberapa sangat lagi apa siapa bagaimana""",
    "Vietnamese": """
và của là có không được cho một trong với người này các đã những để khi ở đến như về tôi từ ra vào cũng làm anh năm hay thì bị mà phải
nhiều sẽ trên theo ngày lại đó còn nhà nước đi chỉ tại rằng bạn chị em ông bà hai ba nhất rất đang sau trước đây việc thành phố đàn
phụ nữ trẻ con trai gái thời gian cuộc sống thế giới tay đường trường học điều già mới tốt lớn nhỏ đen trắng nhìn nói biết nghĩ muốn
đứng ngồi chơi nhóm luôn bao giờ hôm nay mỗi khác sao vì đầu tiên việt nam dùng mật khẩu tên tập tin xin hãy nếu nhưng hoặc giữa mọi
quyền""",
    "Russian": """
и в не на я что он с как это а по но к у из за от так же о для вы был бы все его она было мы или только ещё если они быть мне уже ты
до когда меня чтобы во может есть то ли были при нет ни даже себя под где без после этого который которые которая очень этот раз тем
кто там чем можно надо теперь их её ему ней нас вас человек люди мужчина женщина ребёнок дети мальчик девочка время год года лет день
жизнь мир дом вода рука работа город улица школа дело молодой старый новый хороший большой маленький чёрный белый делать идти видеть
говорить прийти дать знать думать стоит сидит играет группа перед всегда никогда здесь сегодня каждый другой почему потому два три
первый русский россия пользователь пароль имя файл должен также более между через должны будет является значение пожалуйста введите
новые которого тему нужно следующий отсутствует соответствует возможно людей жизни могут один другие данных сделать вопрос общество
право каждого свобода""",
    "Ukrainian": """
і в не на що з та до як це від за але його для був є про у я він також й ми ви вони вона або якщо тільки бути були а була було після
має які який щоб цей коли так по зі із над під без між через при ще вже де хто там тут чи може можна треба їх її йому нас вас людина
люди чоловік жінка дитина діти хлопець дівчина час рік року років день життя світ дім вода рука робота місто вулиця школа річ молодий
старий новий добрий великий малий чорний білий робити йти бачити говорити прийти дати знати думати стоїть сидить грає група перед
завжди ніколи сьогодні кожен інший чому тому два три перший український україна користувач пароль назва файл повинен більше будь ласка
введіть свої своїх цього цієї всі все ніхто мають іншого значення українська тему тема темна нова нові наступний потрібно можливо
людей можуть один інші даних зробити питання суспільство право кожного свобода відповідає""",
    "Bulgarian": """
на и в да се за от е с по не че като са които до но при след това или беше той тя ние те със във си му ще има този един може бъде само
към която който така още много когато между под без пред през как какво кой къде защото ако вече всички всеки друг друга ги го й им ми
ни ви бе били бил няма трябва тези тази едно една човек хора мъж жена дете деца момче момиче време година години ден живот свят дом
вода ръка работа град улица училище нещо млад стар нов добър голям малък черен бял прави отива вижда казва идва дава знае мисли стои
седи играе група винаги никога тук днес защо два две три първи български българия потребител парола име файл моля въведете повече
стойност част също българската българският новият следните възможно хората живота могат други данни число цяло темата направи въпрос
обществото право свобода начало""",
    "Serbian": """
и у је на се да за са од као није су који али из по што би до ће он она ми ви они бити био била само или када има једно а својој један
једна то не након која које сам још већ ако где како шта зашто јер због код пре после између под над без пред кроз сви све сваки други
друга му јој их га ово овај ова тај та те човек људи мушкарац жена дете деца дечак девојка време година године дан живот свет кућа
вода рука рад посао град улица школа ствар млад стар нов добар велики мали црн бео ради иде види каже долази даје зна мисли стоји седи
игра група увек никад овде данас два две три први српски србија корисник лозинка име датотека молимо унесите може морате више вредност
српска мора следеће могуће живота могу података учинити питање друштво право слобода почетак потребно""",
}
CYRILLIC = ("Russian", "Ukrainian", "Bulgarian", "Serbian")
KEPT = 100_000  # words whose probabilities are kept
TRUST = (6.0, 8.0, 10.0)  # how often letters before one, two, one, none, have to have been seen for the count to weigh half
MOST = 8.0  # of what one word says against a language
LISTED = 0.4  # share of the words of a text that are on its list
AHEAD = 3.0  # how much likelier than in the second language a text has to be, as a logarithm
USUAL = 0.25  # and how much likelier than as letters by chance, for each letter
TANGLED = 0.12  # signs of code for each letter
CODE = re.compile(r"[(){}\[\];]")
# a word between spaces and the usual marks; what else there is counts as no language
TOKEN = re.compile(r"(?<![^\s(\[\"'“”„«»‘’‚¿¡—–*>-])([^\W\d_]{1,30}+(?:['’-][^\W\d_]{1,30}+){0,5}+)(?![^\s)\]\"'“”„«»‘’.,;:!?…—–*-])")
# where scripts begin, None = of no language here
BLOCKS: list[tuple[int, str | None]] = [
    *((0x41, "Latin"), (0x250, None), (0x370, "Greek"), (0x400, "Cyrillic"), (0x530, "Armenian"), (0x590, "Hebrew"), (0x600, "Arabic")),
    *((0x700, None), (0x750, "Arabic"), (0x780, None), (0x900, "Hindi"), (0x980, "Bengali"), (0xA00, "Punjabi"), (0xA80, "Gujarati")),
    *((0xB00, "Odia"), (0xB80, "Tamil"), (0xC00, "Telugu"), (0xC80, "Kannada"), (0xD00, "Malayalam"), (0xD80, "Sinhala"), (0xE00, "Thai")),
    *(
        (0xE80, "Lao"),
        (0xF00, "Tibetan"),
        (0x1000, "Burmese"),
        (0x10A0, "Georgian"),
        (0x1100, "Korean"),
        (0x1200, "Amharic"),
        (0x1380, None),
    ),
    *((0x1780, "Khmer"), (0x1800, "Mongolian"), (0x18B0, None), (0x1E00, "Latin"), (0x1F00, "Greek"), (0x2000, None), (0x3041, "Kana")),
    *((0x3100, None), (0x3130, "Korean"), (0x3190, None), (0x31F0, "Kana"), (0x3200, None), (0x3400, "Chinese"), (0xA000, None)),
    *((0xAC00, "Korean"), (0xD7B0, None), (0xF900, "Chinese"), (0xFB00, None), (0xFB1D, "Hebrew"), (0xFB50, "Arabic"), (0xFE00, None)),
    *((0xFE70, "Arabic"), (0xFEFF, None), (0x20000, "Chinese"), (0x32000, None)),
]
STARTS = [start for start, _ in BLOCKS]


def _runs(word: str) -> list[str]:
    """Each letter of a word, and its end, after the two before."""
    word = f"  {word} "
    return [word[i : i + 3] for i in range(len(word) - 2)]


class Spelling:
    """How the languages of one script spell: a word's probability is that of its list, or of its letters, each after two others."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.letters = len(set("".join(WORDS[name] for name in names)))
        self.places, self.after, self.before = [], [], []
        for name in names:
            words = WORDS[name].split()
            self.places.append({w: i for i, w in enumerate(words)})
            self.after.append(Counter(run[k:] for w in words for run in _runs(w) for k in range(3)))
            self.before.append(Counter(run[k:2] for w in words for run in _runs(w) for k in range(3)))
        self.known: dict[str, np.ndarray] = {}
        self.steps: dict[str, np.ndarray] = {}

    def word(self, word: str) -> np.ndarray:
        """Logarithm of a word's probability in each language, and last by chance."""
        if word not in self.known:
            if len(self.known) >= KEPT:
                self.known.clear()
            chance = -log(self.letters) * (len(word) + 1)
            out = np.sum([self._step(run) for run in _runs(word)], 0) + log(1 - LISTED)
            for i, places in enumerate(self.places):
                if word in places:
                    out[i] = np.logaddexp(out[i], log(LISTED / (places[word] + 5) / log(len(places) / 5 + 1)))
            # a name or a foreign word does not outweigh the others
            self.known[word] = np.r_[np.maximum(out, out.max() - MOST), chance]
        return self.known[word]

    def _step(self, run: str) -> np.ndarray:
        """Logarithm of the probability of a letter after two others in each language."""
        if run not in self.steps:
            if len(self.steps) >= KEPT:
                self.steps.clear()
            p = np.full(len(self.names), 1 / self.letters)
            for k in (2, 1, 0):  # from the letter alone to the letter after two others
                seen, of = (np.array([c[part] for c in counts]) for counts, part in ((self.after, run[k:]), (self.before, run[k:2])))
                p = (seen + TRUST[k] * p) / (of + TRUST[k])
            self.steps[run] = np.log(p)
        return self.steps[run]


@cache
def _spelling(script: str) -> Spelling:
    return Spelling([name for name in WORDS if (name in CYRILLIC) == (script == "Cyrillic")])


def language(text: str) -> str:
    """English name of the language that a text is in, "unknown" where that is not sure."""
    text = unicodedata.normalize("NFC", text[:LOOKED]).lower()
    scripts: Counter[str | None] = Counter()
    for c, n in Counter(text).items():
        name = BLOCKS[bisect(STARTS, ord(c)) - 1][1]
        if c.isalpha() or (name and c >= "\u0900"):  # vowel signs of Indian scripts are no letters
            scripts[name] += n * (2 if name in ("Chinese", "Kana", "Korean") else 1)  # such a letter says as much as two others
    total = sum(scripts.values())
    east = scripts["Chinese"] + scripts["Kana"]
    script = max(scripts, key=lambda name: scripts[name], default=None)
    if east > total / 2:
        return "Japanese" if scripts["Kana"] > 0.05 * east else "Chinese"
    if script is None or scripts[script] <= total / 2 or scripts[script] < 4:
        return "unknown"
    if script == "Arabic":
        return _arabic(text)
    return _spelled(text, script, scripts[script]) if script in ("Latin", "Cyrillic") else script


def _arabic(text: str) -> str:
    """By the letters that only Urdu, or only Persian and Urdu, add."""
    urdu, persian = (sum(map(text.count, letters)) for letters in ("\u0679\u0688\u0691\u06ba\u06d2\u06c1\u06be", "پچژگ\u06a9\u06cc"))
    arabic = sum(map(text.count, "\u0643\u064a\u0629\u0649\u0623\u0625"))
    if urdu + persian > arabic:
        return "Urdu" if urdu > 0.02 * len(text) else "Persian"
    return "Arabic"


def _spelled(text: str, script: str, many: int) -> str:
    """By how a text's words are spelled."""
    words = [w for token in TOKEN.findall(text) for w in re.split("['’-]", token) if (w > "\u0400") == (script == "Cyrillic")]
    letters = sum(map(len, words))
    if len(words) < 2 or 2 * letters < many or len(CODE.findall(text)) > TANGLED * many:
        return "unknown"
    spelling = _spelling(script)
    scores = np.sum([spelling.word(w) for w in words], 0)
    second, best = np.argsort(scores[:-1])[-2:]
    sure = scores[best] - scores[second] >= AHEAD and scores[best] - scores[-1] >= USUAL * letters
    return spelling.names[best] if sure else "unknown"


def languages(texts: Iterable[str]) -> dict[str, int]:
    """Language -> how many texts are in it, the most frequent first."""
    return dict(Counter(map(language, texts)).most_common())
