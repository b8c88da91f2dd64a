"""What the names of columns say: one part of the evidence `guess` weighs.

A name is compared as a whole ("userId", "USER_ID") and word by word
("billing_customer" speaks of a customer).
"""

import re
import unicodedata
from collections.abc import Iterable

USER = (
    "userid user uid customerid customer memberid member visitorid visitor "
    "fullvisitorid userpseudoid accountid account clientid client personid "
    "person reviewerid profileid subscriberid playerid readerid listenerid "
    "householdkey householdid email sessionid session cookieid playlistid pid "
    "kundennummer kundennr kundenid kunde numeroclient clienteid "
    "cliente usuario 会員番号 会員id 顧客番号 顧客id 用户id 用户"
).split()
ITEM = (
    "itemid item iid movieid movie productid product sku asin articleid "
    "article trackid track songid song bookid book isbn videoid video gameid "
    "game adid contentid content courseid course recipeid recipe newsid "
    "parentasin stockcode itemids items sequence artikelnummer artikelnr "
    "artikel produktid referenceproduit produit producto 商品番号 商品id"
).split()
TIME = (
    "timestamp time ts datetime date createdat created eventtime eventdate "
    "ratedat orderdate orderedat purchasedate purchasedat invoicedate "
    "unixreviewtime unixtime watchedat playedat when day timestamps position "
    "pos step datum zeitpunkt bestelldatum kaufdatum datecommande "
    "datedecommande fecha 日時 日付 購入日 注文日 时间 日期"
).split()
RATING = (
    "rating ratings stars score overall grade vote bewertung note puntuacion "
    "評価 评分"
).split()
EVENT = (
    "event eventtype eventname action actiontype behavior behaviour "
    "behaviortype interaction interactiontype activity"
).split()
# Whether what was shown was taken: 1 or 0, true or false.
TAKEN = (
    "click clicked isclick clicks purchase purchased conversion converted "
    "label like liked islike recommended isrecommended recommend votedup "
    "interested bought"
).split()
WEIGHT = (
    "weight strength playcount plays count quantity qty units menge anzahl "
    "quantite cantidad 数量"
).split()
TITLE = (
    "title name label productname prodname itemname headline producttitle "
    "movietitle booktitle articletitle trackname songname gamename displayname "
    "itemdescription productdescription description titel artikelname "
    "bezeichnung artikelbezeichnung produktname titre designation libelle nom "
    "titulo nombre 商品名 商品名称 书名"
).split()
USER_WORDS = frozenset(
    "user customer member visitor account client person people reviewer "
    "profile subscriber player reader listener household shopper buyer viewer "
    "patient student guest uid email session cookie playlist billing kunde "
    "kunden nutzer benutzer mitglied utilisateur cliente usuario".split()
)
ITEM_WORDS = frozenset(
    "item movie film product sku asin article track song book isbn video game "
    "ad content course recipe news stock business venue artist anime beer wine "
    "lineitem hotel restaurant listing poi location place show series podcast "
    "app goods material campaign campaignid job post page photo joke merchant "
    "upc ean creative deal offer artikel produkt produit producto "
    "buch livre libro".split()
)
TIME_WORDS = frozenset("timestamp time ts datetime date dt dat created".split())
# Of another moment than that of the interaction.
OTHER_TIMES = frozenset(
    "birth born release released signup joined registered registration "
    "update updated modified expires expiry delivery delivered shipped "
    "estimated publish published publication start started cancelled "
    "fulfilled refunded".split()
)
# What one act is called: its id is neither a user nor an item.
ACT_WORDS = frozenset(
    "order transaction invoice receipt basket impression review row index "
    "event request log comment message search query checkin payment rating "
    "vote unnamed".split()
)
# Measures and properties, which name nobody.
PROPERTY_WORDS = frozenset(
    "price cost amount total subtotal revenue value tax discount quantity qty "
    "count num number lat latitude lon lng long longitude age gender sex "
    "country city state region zip pin currency status rank position page "
    "duration seconds score rating time date year month week day hour text "
    "url language lang os device browser platform method type category group "
    "department brand offset timezone weight height size ratio percent flag "
    "menge anzahl preis quantite prix cantidad precio 数量 価格 金額 价格 "
    "helpful useful funny cool taxes shipping subject channel source medium "
    "verified vendor notes tags ip name title description label lineitems "
    "length version".split()
)
# Of types and states that take an act back or say no.
TAKEN_BACK = re.compile(
    r"(?i)cancel|refund|return|void|fail|declin|reject|dislike|unlike|block|"
    r"hide|hidden|remove|skip|unfollow|unsubscribe|delete|downvote|expired|"
    r"chargeback|not.?interested|^no$|^false$|^0$"
)
KNOWN_EVENTS = frozenset(
    "view pageview pv click buy cart fav purchase addtocart add_to_cart "
    "transaction like share play skip dislike wishlist favorite remove "
    "remove_from_cart watch listen download order complete open rate "
    "impression follow save bookmark".split()
)


def of(entity: str) -> tuple[list[str], frozenset[str]]:
    """Names of an "item" or "user", and words that hint at one."""
    return (USER, USER_WORDS) if entity == "user" else (ITEM, ITEM_WORDS)


def plain(name: str) -> str:
    """Letters and digits of a column name, bare, without a type.

    RecBole writes the type behind the name: "user_id:token".
    """
    return re.sub(r"[\W_]", "", _bare(name.split(":")[0]))


def words(name: str) -> list[str]:
    """Words of a column name: "billingCustomer_ID" has three."""
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name.split(":")[0])
    return [word for word in re.split(r"[\W_]+", _bare(name)) if word]


def _bare(name: str) -> str:
    """Lower-case letters without their accents."""
    return "".join(
        letter
        for letter in unicodedata.normalize("NFKD", name.lower())
        if not unicodedata.combining(letter)
    )


def score(name: str, whole: list[str], parts: Iterable[str]) -> float:
    """How much a name speaks for a meaning, -2 to 3.

    The names that say it go from the plainest on; the words only hint at it.
    """
    last = name.rsplit(".", 1)[-1]
    for form, points in ((name, 3.0), (last, 2.8)):
        if plain(form) in whole:
            return points - 0.5 * whole.index(plain(form)) / len(whole)
    if plain(name) == "id":
        # Of the row itself, except in a catalogue.
        return -2.0
    return 2.0 if set(words(name)) & set(parts) else 0.0


def is_id(name: str) -> bool:
    """Whether a name ends like that of an id."""
    return bool(re.search(r"(?i)(id|_key|code|_no|uuid|oid|sha1|uri)$", name))
